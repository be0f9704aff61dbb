package mlmodel

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Difference is the first place where an answer is not the expected one.
type Difference struct {
	Path string // within the answer: "[0].score"; "" is the whole
	Want string // JSON, bounded
	Got  string // JSON, bounded
}

// String returns one line: "at [0]: expected 1, got 2".
func (d *Difference) String() string {
	at := ""
	if d.Path != "" {
		at = "at " + d.Path + ": "
	}
	return at + "expected " + d.Want + ", got " + d.Got
}

// Compare returns the first difference between an expected answer and one that
// was given, or nil. Both are in the form of Prediction.Answer; bare NaN and
// Infinity tokens are read too.
//
// Whole numbers, texts, booleans and the shape must be equal. Other numbers
// are equal when they differ by no more than g.Tolerance times the greater of
// the two, or by no more than a thousandth of that of the greatest number in
// the expected answer (what is left of terms that cancel out carries no
// information). NaN equals NaN. For a nondeterministic model only shape, type
// and finiteness count.
func Compare(want, got json.RawMessage, g Golden) *Difference {
	w, errWant := decodeAnswer(want)
	v, errGot := decodeAnswer(got)
	if errWant != nil || errGot != nil {
		return &Difference{Want: brief(want), Got: brief(got)}
	}
	c := comparison{tolerance: g.Tolerance, loose: g.Nondeterministic}
	if c.tolerance == 0 {
		c.tolerance = ToleranceFloat64
	}
	c.floor = c.tolerance * 1e-3 * greatest(w)
	return c.values("", w, v)
}

// decodeAnswer keeps numbers as they are written, so that whole numbers of 64
// bits are compared exactly.
func decodeAnswer(raw json.RawMessage) (any, error) {
	d := json.NewDecoder(bytes.NewReader(quoteBareNumbers(raw)))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	return v, err
}

type comparison struct {
	tolerance float64
	floor     float64
	loose     bool
	share     float64  // see CompareRows; 0: the floor is that of the whole
	largest   *float64 // see CompareRows; may be nil
}

func (c comparison) values(path string, want, got any) *Difference {
	if w, ok := asNumber(want); ok {
		g, ok := asNumber(got)
		if !ok || !c.numbers(w, g) {
			return difference(path, want, got)
		}
		return nil
	}
	switch w := want.(type) {
	case []any:
		return c.lists(path, w, got)
	case map[string]any:
		return c.mappings(path, w, got)
	case string:
		if g, ok := got.(string); ok && (c.loose || w == g) {
			return nil
		}
	case bool:
		if g, ok := got.(bool); ok && (c.loose || w == g) {
			return nil
		}
	case nil:
		if got == nil {
			return nil
		}
	}
	return difference(path, want, got)
}

func (c comparison) lists(path string, want []any, got any) *Difference {
	list, ok := got.([]any)
	if !ok || len(list) != len(want) {
		return difference(path, want, got)
	}
	if path != "" {
		c = c.row(want)
	}
	for i := range want {
		if d := c.values(path+"["+strconv.Itoa(i)+"]", want[i], list[i]); d != nil {
			return d
		}
	}
	return nil
}

func (c comparison) mappings(path string, want map[string]any, got any) *Difference {
	m, ok := got.(map[string]any)
	if !ok || len(m) != len(want) {
		return difference(path, want, got)
	}
	for _, key := range sortedKeys(want) {
		value, ok := m[key]
		if !ok {
			return difference(path, want, got)
		}
		if d := c.values(path+"."+key, want[key], value); d != nil {
			return d
		}
	}
	return nil
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// answerNumber is a number as it was written and as a float64.
type answerNumber struct {
	text  string
	value float64
}

func (n answerNumber) whole() bool { return n.text != "" && !strings.ContainsAny(n.text, ".eE") }

// asNumber takes numbers and the texts that stand for what JSON lacks.
func asNumber(v any) (answerNumber, bool) {
	switch v := v.(type) {
	case json.Number:
		f, _ := strconv.ParseFloat(v.String(), 64) // beyond float64: an infinity, as it should be
		return answerNumber{v.String(), f}, true
	case string:
		if slices.Contains(bareNumbers, v) {
			f, _ := strconv.ParseFloat(v, 64)
			return answerNumber{"", f}, true
		}
	}
	return answerNumber{}, false
}

func (c comparison) numbers(want, got answerNumber) bool {
	w, g := want.value, got.value
	if math.IsNaN(w) || math.IsNaN(g) {
		return math.IsNaN(w) && math.IsNaN(g)
	}
	if math.IsInf(w, 0) || math.IsInf(g, 0) {
		return w == g
	}
	if c.loose || w == g && !want.whole() {
		return true
	}
	if want.whole() && got.whole() {
		return want.text == got.text
	}
	diff := math.Abs(w - g)
	if diff > c.floor && diff > c.tolerance*max(math.Abs(w), math.Abs(g)) {
		return false
	}
	c.note(w, g)
	return true
}

// greatest returns the greatest magnitude of the finite numbers in an answer.
func greatest(v any) float64 {
	most := 0.0
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			most = max(most, greatest(item))
		}
	case map[string]any:
		for _, item := range v {
			most = max(most, greatest(item))
		}
	default:
		if n, ok := asNumber(v); ok && !math.IsNaN(n.value) && !math.IsInf(n.value, 0) {
			most = math.Abs(n.value)
		}
	}
	return most
}

func difference(path string, want, got any) *Difference {
	return &Difference{Path: path, Want: brief(want), Got: brief(got)}
}

const briefLimit = 120

// brief returns a value as bounded JSON.
func brief(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		text = fmt.Appendf(nil, "%.120q", v)
	}
	if len(text) > briefLimit {
		return string(bytes.ToValidUTF8(text[:briefLimit], nil)) + "…"
	}
	return string(text)
}
