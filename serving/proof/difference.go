package proof

import (
	"fmt"
	"strings"

	"github.com/slipway-dev/slipway"
)

// Difference is the first request to which the native engine does not say what
// the original library says. Its texts are bounded.
type Difference struct {
	Golden   bool   // it is a golden request; else its rows were drawn
	Row      int    // number of the golden request, or of its first row among the drawn ones; from 1
	Request  string // the body: of one row, where one row alone shows the difference
	Path     string // within the answer: "[0].score"; "" is the whole
	Expected string // what the original said: JSON, or "refused: …"
	Got      string // what the native engine said
}

// String returns one line: "drawn row 17: expected 1, got 2 for {…}".
func (d *Difference) String() string {
	what := "drawn row"
	if d.Golden {
		what = "golden request"
	}
	at := ""
	if d.Path != "" {
		at = " at " + d.Path
	}
	return fmt.Sprintf("%s %d%s: expected %s, got %s for %s", what, d.Row, at, d.Expected, d.Got, d.Request)
}

// at completes the number of the row; d may be nil.
func (d *Difference) at(first int, golden bool) *Difference {
	if d != nil {
		d.Row, d.Golden = d.Row+first, golden
	}
	return d
}

// Bounds on a difference's texts, in bytes.
const (
	maxShown   = 400
	maxRequest = 4000
)

func newDifference(request []byte, path, expected, got string) *Difference {
	return &Difference{Request: short(string(request), maxRequest), Path: path, Expected: short(expected, maxShown), Got: short(got, maxShown)}
}

// said returns an answer, or that there is none, in one line.
func (r reply) said() string {
	switch {
	case r.err == nil:
		return short(string(r.answer), maxShown)
	case slipway.CodeOf(r.err) == slipway.Invalid:
		return "refused: " + r.err.Error()
	}
	return "failed: " + r.err.Error()
}

func short(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}
