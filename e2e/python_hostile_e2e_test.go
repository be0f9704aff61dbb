//go:build e2e

package e2e_test

import (
	"regexp"
	"testing"

	"github.com/slipway-dev/slipway"
)

// A model that behaves badly where the image is built is refused for what it
// does, within its limits, and nothing of it is left.
func TestE2EHostileModelsAtBuild(t *testing.T) {
	t.Parallel()
	mark := newMark()
	tests := []struct {
		name, body string
		env        string
		said, fix  string
	}{
		{"takes memory", "x = []\nwhile True:\n    x.append(bytearray(16 << 20))", "SLIPWAY_WORKER_MEMORY=700M", "more than 700 MiB of memory", "SLIPWAY_WORKER_MEMORY"},
		{"takes too long", "import subprocess\nsubprocess.run(['sleep', '" + mark + "'])", "SLIPWAY_TIMEOUT=3s", "no answer within 3s", "SLIPWAY_TIMEOUT"},
		{"ends its process now and then", "import os\nModel.n = getattr(Model, 'n', 0) + 1\nif Model.n == 3:\n    print('so long')\n    os._exit(9)\nreturn model_input['x']",
			"X=1", "golden prediction 3", "input_example"},
		{"ends its process and says why", "import os\nprint('so long')\nos._exit(9)", "X=1", "so long\n", "input_example"},
		{"answers what is not JSON", "return object()", "X=1", "JSON", "input_example"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newTidy(t)
			got := w.refused(1, []string{tt.said}, "deploy", private(t, written(t, doubling(tt.body))), "--name", "x", "--env", tt.env)
			if !regexp.MustCompile(`fix: .*` + tt.fix).MatchString(got.stderr) {
				t.Errorf("the way out does not name %s\n%s", tt.fix, got)
			}
			w.tidy(mark)
		})
	}
}

// A model that is odd and does no harm is released, and what it started ends
// with it.
func TestE2EOddModelsAreReleased(t *testing.T) {
	t.Parallel()
	mark := newMark()
	tests := []struct {
		name, body, answer, said string
	}{
		{"leaves children behind", "import subprocess\nsubprocess.Popen(['sleep', '" + mark + "'], start_new_session=True)\nreturn model_input['x'].to_numpy() * 2", `\[2\.0\]`, "proved"},
		{"prints 50 MB", "import sys\nif not hasattr(Model, 'said'):\n    Model.said = [sys.stdout.write('x' * (1 << 20)) for i in range(50)]\nreturn model_input['x'].to_numpy() * 2", `\[2\.0\]`, "proved"},
		{"answers at random", "import random\nreturn model_input['x'].to_numpy() + random.random()", `\[1\.\d+\]`, "nondeterministic: only the shape"},
		{"answers NaN", "return model_input['x'].to_numpy() * float('nan')", `\[NaN\]`, "proved"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newTidy(t)
			w.want(0, []string{tt.said, "is live"}, "deploy", private(t, written(t, doubling(tt.body))), "--name", "x", "--env", "SLIPWAY_WORKERS=1")
			if r := w.record().Live; r.Golden != slipway.Proved || r.Engine != "python" {
				t.Errorf("%+v", r)
			}
			text := w.post(`{"dataframe_split": {"columns": ["x"], "data": [[1.0]]}}`)
			if !regexp.MustCompile(`"predictions": ?` + tt.answer).MatchString(text) {
				t.Errorf("it answers %s", text)
			}
			if log := w.replicaLogs(); len(log) > 4<<20 {
				t.Errorf("%d bytes of log", len(log))
			}
			w.want(0, nil, "stop", w.target())
			w.tidy(mark)
		})
	}
}
