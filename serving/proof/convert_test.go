package proof_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/serving/proof"
)

const forest = `{"class": "sklearn.ensemble._forest.RandomForestClassifier", "sklearn": "1.5.2", "skops": "0.16.0"}`

func TestReadConversion(t *testing.T) {
	t.Parallel()
	want := proof.Conversion{Class: "sklearn.ensemble._forest.RandomForestClassifier", Sklearn: "1.5.2", Skops: "0.16.0"}
	for name, c := range map[string]struct {
		stdout, err string
	}{
		"stored":                    {"\n" + forest + "\n", ""},
		"after what was printed":    {"{\"error\": \"no\"}\n\xff" + strings.Repeat("x", 1<<20) + "\n" + forest + "\n\n", ""},
		"refused":                   {`{"error": "not scikit-learn: the model is a pipe.Pipe"}`, "not scikit-learn: the model is a pipe.Pipe"},
		"refused in a stranger way": {`{"error": "a\n\u001b[31mb\u202e  c"}`, "a [31mb c"},
		"nothing":                   {"", "ended without saying why"},
		"killed in the middle":      {forest[:30], "ended without saying why"},
		"something else":            {"Killed", "ended without saying why"},
		"a list":                    {"[1]", "ended without saying why"},
		"an endless line":           {`{"error": "` + strings.Repeat("x", 1<<20) + `"}`, "ended without saying why"},
		"no class":                  {`{"sklearn": "1.5.2", "skops": "0.16.0"}`, "does not say what it stored"},
		"another class":             {strings.Replace(forest, "sklearn.", "evil.", 1), "does not say what it stored"},
		"null":                      {"null", "does not say what it stored"},
	} {
		got, err := proof.ReadConversion([]byte(c.stdout))
		switch {
		case c.err != "":
			if slipway.CodeOf(err) != slipway.Invalid || !strings.HasSuffix(err.Error(), c.err) {
				t.Errorf("%s: %v", name, err)
			}
		case err != nil:
			t.Errorf("%s: %v", name, err)
		default:
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
	}
}

// FuzzReadConversion reads what a hostile model can print: an error or texts
// that are short, valid and of one line.
func FuzzReadConversion(f *testing.F) {
	for _, seed := range []string{forest, "x\n" + forest, `{"error": "why"}`, `{"error": "\ud800\n"}`, "", "{}", "\xff\n{", `{"class": 1}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, stdout []byte) {
		c, err := proof.ReadConversion(stdout)
		text := c.Class + c.Sklearn + c.Skops
		if err != nil {
			text = err.Error()
		}
		if len(text) > 3*500 || !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return r == '\n' || unicode.IsControl(r) }) {
			t.Errorf("%q", text)
		}
		if err == nil && (c.Class == "" || c.Sklearn == "" || c.Skops == "") {
			t.Errorf("%+v", c)
		}
	})
}
