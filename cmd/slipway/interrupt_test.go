package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlflow"
	"github.com/slipway-dev/slipway/mlmodel"
)

// interruptedTarget presses Ctrl-C as soon as the target was told to serve
// something else.
type interruptedTarget struct {
	slipway.Target
	cancel context.CancelCauseFunc
}

func (t interruptedTarget) Act(ctx context.Context, a slipway.Action) error {
	err := t.Target.Act(ctx, a)
	t.cancel(errInterrupted)
	return err
}

// interruptedModels presses Ctrl-C during the download.
type interruptedModels struct {
	modelRegistry
	cancel context.CancelCauseFunc
}

func (m interruptedModels) Download(ctx context.Context, v mlflow.Version, dir string, progress func(done, total int64)) ([]mlmodel.File, error) {
	m.cancel(errInterrupted)
	return m.modelRegistry.Download(ctx, v, dir, progress)
}

func TestInterruptedDeploy(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		wrap func(*ports, context.CancelCauseFunc)
		said string
	}{
		{"before anything moved", func(w *ports, cancel context.CancelCauseFunc) {
			models := w.models
			w.models = func() (modelRegistry, error) {
				m, err := models()
				return interruptedModels{m, cancel}, err
			}
		}, "interrupted; nothing was changed"},
		{"when the target had moved", func(w *ports, cancel context.CancelCauseFunc) {
			w.target = interruptedTarget{w.target, cancel}
		}, "iris 1 serves and is verified"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := twoVersions(t)
			deploy := []string{"deploy", "models:/iris@champion", "--image", w.vars["IMAGES"] + "/iris", "--to", "local://" + w.vars["ADDRESS"]}
			if code, text := w.slipway(t.Context(), nil, deploy...); code != exitLive {
				t.Fatalf("exit code %d\n%s", code, text)
			}
			if err := w.client.SetAlias(t.Context(), "iris", "champion", "2"); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			start := time.Now()
			code, text := w.slipway(ctx, func(to *ports) { test.wrap(to, cancel) }, deploy...)
			if code != exitInterrupted || !strings.Contains(text, test.said) {
				t.Errorf("exit code %d, want %d and %q in\n%s", code, exitInterrupted, test.said, text)
			}
			if took := time.Since(start); took > 30*time.Second {
				t.Errorf("it took %s", took)
			}
			if _, text := w.slipway(t.Context(), nil, "status", "local://"+w.vars["ADDRESS"]); !strings.Contains(text, "iris 1, since") || !strings.Contains(text, "2 of 2 ready") || strings.Contains(text, "quarantined") {
				t.Errorf("status afterwards:\n%s", text)
			}
		})
	}
}

// twoVersions is a world whose model registry has iris 1, promoted, and iris 2.
func twoVersions(t *testing.T) *world {
	t.Helper()
	w, err := newWorld(t.TempDir(), buildServer(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	for _, dir := range []string{"iris-1", "iris-2"} {
		if _, err := w.client.Register(t.Context(), "iris", w.vars["MODELS"]+"/"+dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.client.SetAlias(t.Context(), "iris", "champion", "1"); err != nil {
		t.Fatal(err)
	}
	return w
}

// slipway runs a command line in this process and returns its exit code and
// all it said. wrap, which may be nil, gets hold of the ports.
func (w *world) slipway(ctx context.Context, wrap func(*ports), args ...string) (int, string) {
	var out bytes.Buffer
	p := &program{stdin: strings.NewReader(""), stdout: &out, stderr: &out, getenv: w.getenv}
	p.connect = func(s settings) (*ports, error) {
		to, err := p.wire(s)
		if err == nil && wrap != nil {
			wrap(to)
		}
		return to, err
	}
	return p.execute(ctx, args), out.String()
}
