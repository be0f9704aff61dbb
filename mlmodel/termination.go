package mlmodel

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
)

// MaxTermination is how much of a termination log Kubernetes keeps, in bytes.
const MaxTermination = 4096

// The kinds of a Termination.
const (
	TerminationGolden  = "golden-differs" // a golden prediction did not come out as it should: starting again does not help
	TerminationCrashed = "crashed"        // anything else
)

// Termination is what a model server says of its own end. It writes it as
// JSON to its termination log, where Kubernetes, or the supervisor of one
// machine, reads it.
type Termination struct {
	Kind     string `json:"kind"`
	Message  string `json:"message"`            // one sentence
	Evidence string `json:"evidence,omitempty"` // what shows it; may have several lines
	Hint     string `json:"hint,omitempty"`     // what mends it
}

// Encode returns the log's content, at most MaxTermination bytes: what is too
// long is cut, the longest part first.
func (t Termination) Encode() []byte {
	t = t.clean(MaxTermination)
	for {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		// It holds nothing but text.
		_ = e.Encode(t)
		if b.Len() <= MaxTermination {
			return b.Bytes()
		}
		t = t.clean(max(len(t.Evidence), len(t.Message), len(t.Hint)) * 3 / 4)
	}
}

// clean bounds each part but the kind and takes out what a terminal would obey.
func (t Termination) clean(limit int) Termination {
	t.Message = strings.Join(strings.Fields(plain(t.Message, limit)), " ")
	t.Evidence = plain(t.Evidence, limit)
	t.Hint = strings.Join(strings.Fields(plain(t.Hint, limit)), " ")
	return t
}

// plain is text without what a terminal would obey, of at most limit bytes.
func plain(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t':
			return r
		case r < ' ', r >= 0x7f && r <= 0x9f, r == 0x2028, r == 0x2029, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
	const ellipsis = "…"
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:max(0, limit-len(ellipsis))], "") + ellipsis
	}
	return strings.TrimSpace(text)
}

var terminationKind = regexp.MustCompile(`^[a-z]+(-[a-z]+){0,4}$`)

// DecodeTermination reads what a model server said of its end. Anything may
// write to a termination log: what is not ours is not ok.
func DecodeTermination(log []byte) (t Termination, ok bool) {
	log = bytes.TrimSpace(log)
	if len(log) == 0 || len(log) > MaxTermination || log[0] != '{' || json.Unmarshal(log, &t) != nil {
		return Termination{}, false
	}
	t = t.clean(MaxTermination)
	if len(t.Kind) > 40 || !terminationKind.MatchString(t.Kind) || t.Message == "" {
		return Termination{}, false
	}
	return t, true
}
