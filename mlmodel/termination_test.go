package mlmodel_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway/mlmodel"
)

func TestTermination(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é<\x1b", 3000)
	for name, test := range map[string]struct{ in, want mlmodel.Termination }{
		"whole": {
			mlmodel.Termination{Kind: "golden-differs", Message: "golden prediction 2 differs", Evidence: "request   [[1]]\ngot       \"<b>\"", Hint: "slipway explain"},
			mlmodel.Termination{Kind: "golden-differs", Message: "golden prediction 2 differs", Evidence: "request   [[1]]\ngot       \"<b>\"", Hint: "slipway explain"},
		},
		"escapes and lines": {
			mlmodel.Termination{Kind: "crashed", Message: "a\x1b[2J\nb\u202e", Evidence: "\x00x\r\ny", Hint: " a\n b "},
			mlmodel.Termination{Kind: "crashed", Message: "a[2J b", Evidence: "x\ny", Hint: "a b"},
		},
	} {
		got, ok := mlmodel.DecodeTermination(test.in.Encode())
		if diff := cmp.Diff(test.want, got); diff != "" || !ok {
			t.Errorf("%s: %v (-want +got):\n%s", name, ok, diff)
		}
	}
	for _, huge := range []mlmodel.Termination{
		{Kind: "crashed", Message: long},
		{Kind: "crashed", Message: "m", Evidence: long, Hint: long},
		{Kind: "crashed", Message: long, Evidence: strings.Repeat("\"\\", 9000), Hint: long},
	} {
		text := huge.Encode()
		got, ok := mlmodel.DecodeTermination(text)
		if !ok || len(text) > mlmodel.MaxTermination || len(text) < mlmodel.MaxTermination/4 || got.Message == "" {
			t.Errorf("%d bytes, %v: %.200q", len(text), ok, text)
		}
	}
}

func TestWhatIsNoTermination(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "{}", "null", "[]", `"x"`, "panic: out of flour", `{"kind":"crashed"}`, `{"kind":"Crashed!","message":"x"}`, `{"kind":"","message":"x"}`,
		`{"kind":"crashed","message":"x"} and more`, `{"kind":"crashed","message":"` + strings.Repeat("x", 5000) + `"}`, `{"kind":1,"message":"x"}`, `{"kind":"crashed","message":"\u001b"}`,
	} {
		if got, ok := mlmodel.DecodeTermination([]byte(text)); ok || got != (mlmodel.Termination{}) {
			t.Errorf("%.80q: %+v", text, got)
		}
	}
}

func FuzzTermination(f *testing.F) {
	f.Add([]byte(`{"kind":"golden-differs","message":"m","evidence":"e\nf","hint":"h"}`))
	f.Add([]byte(`{"kind":"crashed","message":"\u001b[2J\u2028x"}`))
	f.Fuzz(func(t *testing.T, log []byte) {
		got, ok := mlmodel.DecodeTermination(log)
		if !ok {
			return
		}
		for _, text := range []string{got.Message, got.Evidence, got.Hint} {
			if !utf8.ValidString(text) || strings.ContainsAny(text, "\x1b\x00\r\u202e") || len(text) > 2*mlmodel.MaxTermination {
				t.Errorf("%q", text)
			}
		}
		again, ok := mlmodel.DecodeTermination(got.Encode())
		if ok && again.Kind != got.Kind || !ok && len(got.Encode()) > mlmodel.MaxTermination {
			t.Errorf("%+v became %+v, %v", got, again, ok)
		}
	})
}
