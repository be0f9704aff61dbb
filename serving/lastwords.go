package serving

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

// goldenDiffers is that a golden prediction came out otherwise.
type goldenDiffers struct {
	number  int // from 1
	request json.RawMessage
	how     *mlmodel.Difference
	by      string // who expects it; may be empty
}

// Error says in one sentence which golden prediction differs and how.
func (e *goldenDiffers) Error() string {
	by, at := "", ""
	if e.by != "" {
		by = " (" + e.by + ")"
	}
	if e.how.Path != "" {
		at = "at " + e.how.Path + ": "
	}
	return fmt.Sprintf("golden prediction %d differs: request %s: %sexpected %s%s, got %s", e.number, short(string(e.request), 300), at, e.how.Want, by, e.how.Got)
}

// evidence puts request, expected and got below each other.
func (e *goldenDiffers) evidence() string {
	by, at := "", ""
	if e.by != "" {
		by = "   (" + e.by + ")"
	}
	if e.how.Path != "" {
		at = "   at " + e.how.Path
	}
	return fmt.Sprintf("request   %s\nexpected  %s%s\ngot       %s%s", short(string(e.request), 300), e.how.Want, by, e.how.Got, at)
}

// goldenUnanswered is that the model did not answer a golden prediction.
type goldenUnanswered struct {
	number  int // from 1
	request json.RawMessage
	err     error
}

func (e *goldenUnanswered) Error() string {
	return fmt.Sprintf("the model does not answer golden prediction %d, %s: %v", e.number, short(string(e.request), 200), e.err)
}

func (e *goldenUnanswered) Unwrap() error { return e.err }

// LastWords is the error that ended a server, as it is written to the
// termination log.
func LastWords(err error) mlmodel.Termination {
	var differs *goldenDiffers
	var unanswered *goldenUnanswered
	switch {
	case errors.As(err, &differs):
		return mlmodel.Termination{
			Kind: mlmodel.TerminationGolden, Message: fmt.Sprintf("golden prediction %d differs", differs.number),
			Evidence: differs.evidence(), Hint: "slipway explain",
		}
	case errors.As(err, &unanswered):
		return mlmodel.Termination{
			Kind: mlmodel.TerminationGolden, Message: fmt.Sprintf("the model does not answer golden prediction %d", unanswered.number),
			Evidence: fmt.Sprintf("request   %s\ngot       %v", short(string(unanswered.request), 300), unanswered.err), Hint: "slipway explain",
		}
	}
	var shown interface{ Evidence() string }
	var known *slipway.Error
	if errors.As(err, &shown) && errors.As(err, &known) {
		return mlmodel.Termination{Kind: mlmodel.TerminationCrashed, Message: known.Op + ": " + known.Message, Evidence: shown.Evidence(), Hint: slipway.HintOf(err)}
	}
	return mlmodel.Termination{Kind: mlmodel.TerminationCrashed, Message: err.Error(), Hint: slipway.HintOf(err)}
}
