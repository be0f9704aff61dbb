package serving_test

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/serving"
	"github.com/slipway-dev/slipway/serving/sklearn"
)

func open(t *testing.T, dir string) *mlmodel.Model {
	t.Helper()
	m, err := mlmodel.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMakeGolden(t *testing.T) {
	t.Parallel()
	ask := func(request, answer string) mlmodel.Prediction {
		p := mlmodel.Prediction{Request: json.RawMessage(request)}
		if answer != "" {
			p.Answer = json.RawMessage(answer)
		}
		return p
	}
	one, two := `{"inputs":[{"x":1}]}`, `{"inputs":[{"x":1},{"x":2.25}]}`
	for name, test := range map[string]struct {
		user    []mlmodel.Prediction
		source  slipway.GoldenSource
		answers []string
		fails   string // a part of the error
	}{
		"the model's own":      {nil, slipway.SelfChecked, []string{"[1.0]", "[3.0]", "[5.0]", "[7.0]", "[9.0]"}, ""},
		"all answers given":    {[]mlmodel.Prediction{ask(one, "[2]"), ask(two, "[2.0, 4.5]")}, slipway.Proved, []string{"[2]", "[2.0, 4.5]"}, ""},
		"one answer given":     {[]mlmodel.Prediction{ask(one, "[2.000000001]"), ask(two, "")}, slipway.SelfChecked, []string{"[2.000000001]", "[2.0, 4.5]"}, ""},
		"a wrong answer":       {[]mlmodel.Prediction{ask(one, ""), ask(two, "[2.0, 4.4]")}, "", nil, "golden prediction 2 differs: request " + two + ": at [1]: expected 4.4, got 4.5"},
		"a request that fails": {[]mlmodel.Prediction{ask(`{"inputs":[{"x":"1"}]}`, "")}, "", nil, `golden prediction 1, {"inputs":[{"x":"1"}]}: predicting: Row 1, column "x": "1" is not a double.`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, err := serving.MakeGolden(context.Background(), open(t, modelDir(t, oneColumn)), double{}, test.user)
			if test.fails != "" {
				if slipway.CodeOf(err) != slipway.Invalid || !strings.Contains(err.Error(), test.fails) {
					t.Errorf("%v lacks %q", err, test.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var answers []string
			for _, p := range g.Predictions {
				answers = append(answers, string(p.Answer))
			}
			if d := cmp.Diff(test.answers, answers); d != "" || g.Source != test.source || g.Nondeterministic || g.Tolerance != 1e-9 {
				t.Errorf("%+v\n%s", g, d)
			}
			if err := serving.CheckGolden(context.Background(), open(t, modelDir(t, oneColumn)), double{}, g); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestMakeGoldenUnchecked(t *testing.T) {
	t.Parallel()
	g, err := serving.MakeGolden(context.Background(), &mlmodel.Model{}, double{}, nil)
	if err != nil || g.Source != slipway.Unchecked || len(g.Predictions) != 0 {
		t.Errorf("%+v, %v", g, err)
	}
}

// TestMakeGoldenNondeterministic asks a model that answers otherwise each time.
func TestMakeGoldenNondeterministic(t *testing.T) {
	t.Parallel()
	m := open(t, modelDir(t, oneColumn))
	dice := double{func(_ context.Context, b *serving.Batch) (*serving.Output, error) {
		return &serving.Output{Shape: []int{b.Rows}, Floats: []float64{rand.Float64()}}, nil
	}}
	g, err := serving.MakeGolden(context.Background(), m, dice, nil)
	if err != nil || !g.Nondeterministic {
		t.Fatalf("%+v, %v", g, err)
	}
	if err := serving.CheckGolden(context.Background(), m, dice, g); err != nil {
		t.Error(err)
	}
}

// TestMakeGoldenOfModel makes and checks those of a real model; that it
// refuses is left out where the request was made up.
func TestMakeGoldenOfModel(t *testing.T) {
	t.Parallel()
	m := open(t, "testdata/models/sklearn-skops")
	p, err := sklearn.New().Load(context.Background(), m)
	if err != nil {
		t.Fatal(err)
	}
	g, err := serving.MakeGolden(context.Background(), m, p, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(g.Predictions) != 5 || string(g.Predictions[0].Answer) != "[0]" || string(g.Predictions[1].Answer) != "[0]" {
		t.Errorf("%+v", g)
	}
	g.Predictions[4].Answer = json.RawMessage("[7]")
	if err := serving.CheckGolden(context.Background(), m, p, g); err == nil || !strings.Contains(err.Error(), "golden prediction 5 differs") {
		t.Error(err)
	}
}

// TestMadeRequestsMayBeRefused leaves out a made request that the model
// refuses, but not a row of its own example.
func TestMadeRequestsMayBeRefused(t *testing.T) {
	t.Parallel()
	picky := double{func(_ context.Context, b *serving.Batch) (*serving.Output, error) {
		if b.Columns[0].Floats[0] > 4 {
			return nil, slipway.Errorf(slipway.Invalid, "predicting", "found unknown categories")
		}
		return &serving.Output{Shape: []int{b.Rows}, Floats: b.Columns[0].Floats}, nil
	}}
	g, err := serving.MakeGolden(context.Background(), open(t, modelDir(t, oneColumn)), picky, nil)
	if err != nil || len(g.Predictions) != 4 {
		t.Errorf("%+v, %v", g, err)
	}
	m := open(t, "testdata/models/sklearn-skops")
	if _, err := serving.MakeGolden(context.Background(), m, picky, nil); slipway.CodeOf(err) != slipway.Invalid || !strings.Contains(err.Error(), "golden prediction 1") || slipway.HintOf(err) == "" {
		t.Error(err)
	}
}
