package serving

import (
	"context"
	"encoding/json"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

// goldenCount is how many golden predictions an image carries when the user
// gives none.
const goldenCount = 5

// onceKey marks the context of golden predictions.
type onceKey struct{}

// Once reports whether a Predictor is asked for a golden prediction. One that
// breaks the engine is not to be asked again, though a second try might go
// well: whoever asks wants to know.
func Once(ctx context.Context) bool { return ctx.Value(onceKey{}) != nil }

func once(ctx context.Context) context.Context { return context.WithValue(ctx, onceKey{}, true) }

// MakeGolden makes the golden predictions of a model, asking it twice for
// each. user holds the user's own requests, with the answers they know; nil
// takes the rows of the model's example, filled up from its signature.
//
// An answer of the user that the model does not give is an error of code
// Invalid that names prediction, expected and got. Answers that the user left
// out are the model's. The source is Proved when the user gave all answers,
// Unchecked when there is nothing to ask, else SelfChecked. By is left to the
// caller, who knows the engine's and the file's name.
func MakeGolden(ctx context.Context, m *mlmodel.Model, p Predictor, user []mlmodel.Prediction) (mlmodel.Golden, error) {
	g := mlmodel.Golden{SchemaVersion: mlmodel.GoldenSchema, Source: slipway.SelfChecked, Tolerance: m.Tolerance()}
	a := newAnswerer(m, p, Strict)
	ctx = once(ctx)
	asked := user
	if user == nil {
		var err error
		if asked, err = a.ownRequests(ctx, m); err != nil {
			return mlmodel.Golden{}, err
		}
	}
	answers, err := a.answers(ctx, asked)
	if err != nil {
		return mlmodel.Golden{}, err
	}
	again, err := a.answers(ctx, asked)
	if err != nil {
		return mlmodel.Golden{}, err
	}
	g.Nondeterministic = differ(answers, again, g)
	if err := confirm(asked, answers, g); err != nil {
		return mlmodel.Golden{}, err
	}
	given := 0
	for i, p := range asked {
		if p.Answer != nil {
			given++
		}
		g.Predictions = append(g.Predictions, mlmodel.Prediction{Request: p.Request, Answer: orElse(p.Answer, answers[i])})
	}
	switch {
	case len(asked) == 0:
		g.Source = slipway.Unchecked
	case given == len(asked):
		g.Source = slipway.Proved
	}
	return g, nil
}

func orElse(answer, own json.RawMessage) json.RawMessage {
	if answer == nil {
		return own
	}
	return answer
}

// ownRequests are the model's example and what was made beside it. The model
// must answer its own example; a made request that it refuses is left out.
func (a *answerer) ownRequests(ctx context.Context, m *mlmodel.Model) ([]mlmodel.Prediction, error) {
	examples, err := m.Examples()
	if err != nil {
		return nil, err
	}
	requests, err := m.Requests(goldenCount)
	if err != nil {
		return nil, err
	}
	var asked []mlmodel.Prediction
	for i, request := range requests {
		_, err := a.golden(ctx, request)
		if i >= len(examples) && slipway.CodeOf(err) == slipway.Invalid {
			continue
		}
		if err != nil {
			failed := unanswered(i, request, err)
			if slipway.HintOf(err) == "" {
				failed = failed.WithHint("log the model again with an input_example that it can predict, or give --golden FILE")
			}
			return nil, failed
		}
		asked = append(asked, mlmodel.Prediction{Request: request})
	}
	return asked, nil
}

func (a *answerer) answers(ctx context.Context, asked []mlmodel.Prediction) ([]json.RawMessage, error) {
	answers := make([]json.RawMessage, len(asked))
	for i, p := range asked {
		answer, err := a.golden(ctx, p.Request)
		if err != nil {
			return nil, unanswered(i, p.Request, err)
		}
		answers[i] = answer
	}
	return answers, nil
}

func unanswered(i int, request json.RawMessage, err error) *slipway.Error {
	return &slipway.Error{Op: "making the golden predictions", Code: slipway.CodeOf(err), Err: &goldenUnanswered{i + 1, request, err}}
}

// differ reports whether any answer is not the same the second time.
func differ(first, second []json.RawMessage, g mlmodel.Golden) bool {
	for i := range first {
		if mlmodel.Compare(first[i], second[i], g) != nil {
			return true
		}
	}
	return false
}

// confirm checks the answers that the user gave.
func confirm(asked []mlmodel.Prediction, answers []json.RawMessage, g mlmodel.Golden) error {
	for i, p := range asked {
		if p.Answer == nil {
			continue
		}
		if d := mlmodel.Compare(p.Answer, answers[i], g); d != nil {
			return &slipway.Error{Op: "making the golden predictions", Code: slipway.Invalid, Err: &goldenDiffers{number: i + 1, request: p.Request, how: d},
				Hint: "the model does not answer as the golden file says: mend one of them"}
		}
	}
	return nil
}

// CheckGolden asks the model for its golden predictions and reports the first
// that comes out otherwise: code Invalid, with request, expected and got.
func CheckGolden(ctx context.Context, m *mlmodel.Model, p Predictor, g mlmodel.Golden) error {
	a := newAnswerer(m, p, Strict)
	ctx = once(ctx)
	for i, want := range g.Predictions {
		got, err := a.golden(ctx, want.Request)
		if err != nil {
			return &slipway.Error{Op: "checking the golden predictions", Code: slipway.CodeOf(err), Err: &goldenUnanswered{i + 1, want.Request, err}}
		}
		if d := mlmodel.Compare(want.Answer, got, g); d != nil {
			return &slipway.Error{Op: "checking the golden predictions", Code: slipway.Invalid, Err: &goldenDiffers{i + 1, want.Request, d, g.By}}
		}
	}
	return nil
}
