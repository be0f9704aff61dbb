package pipeline_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway/e2e/pipeline"
)

func TestExpressions(t *testing.T) {
	t.Parallel()
	names := map[string]any{
		"variables":  map[string]any{"Count": "0", "step.status": "unverified", "empty": ""},
		"parameters": map[string]any{"retry": true, "model": "next", "connections": map[string]any{"acr": "acr-connection"}},
	}
	for expression, want := range map[string]any{
		`'it''s'`:                    "it's",
		`1.5`:                        1.5,
		`TRUE`:                       true,
		`variables['step.status']`:   "unverified",
		`variables.count`:            "0",
		`variables.nothing`:          nil,
		`variables.nothing.deeper`:   nil,
		`parameters.connections.acr`: "acr-connection",
		`eq(variables['step.status'], 'UNVERIFIED')`:    true,
		`eq(variables.nothing, '')`:                     true, // '' becomes null
		`ne(variables.nothing, '0')`:                    true, // '0' does not
		`ne(variables.count, '0')`:                      false,
		`eq(1, '1')`:                                    true,
		`eq('1', 1)`:                                    true,
		`eq(true, 'no')`:                                true, // any text is true
		`eq(0, false)`:                                  true,
		`and(true, ne(variables.empty, ''))`:            false,
		`and(false, nonsense.of.it)`:                    false, // not looked at
		`or('', 'x', nonsense)`:                         true,
		`not(or(variables.nothing, ''))`:                true,
		`in('B', 'a', 'b')`:                             true,
		`in('c', 'a', 'b')`:                             false,
		`coalesce(variables.nothing, '', 'last')`:       "last",
		`coalesce(variables.nothing, '')`:               nil,
		`lower(parameters.retry)`:                       "true",
		` and( eq( parameters.model , 'next' ),true ) `: true,
	} {
		got, err := pipeline.Evaluate(expression, names)
		if err != nil {
			t.Errorf("%s: %v", expression, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", expression, diff)
		}
	}
}

func TestExpressionsThatAreRefused(t *testing.T) {
	t.Parallel()
	for expression, want := range map[string]string{
		``:                        "not understood",
		`'open`:                   "not understood",
		`eq('a')`:                 "no function eq of 1",
		`eq('a', 'b'`:             "want",
		`eq('a', 'b'))`:           "left over",
		`startsWith('a', 'b')`:    "no function startswith",
		`variable.x`:              "no variable here",
		`variables[`:              "not understood",
		`succeeded()`:             "no function succeeded",
		`'text'.length`:           "has no length",
		`eq(variables, 'x')`:      "cannot be compared",
		`1 == 1`:                  "left over",
		`variables.*.x`:           "left over",
		strings.Repeat("not(", 9): "not understood",
	} {
		if got, err := pipeline.Evaluate(expression, map[string]any{"variables": map[string]any{}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, %v, want an error with %q", expression, got, err, want)
		}
	}
}

func FuzzExpression(f *testing.F) {
	f.Add(`and(succeeded(), ne(variables['a.b'], ''))`)
	f.Add(`$[ coalesce(x.y['z'], 'it''s', -1.5) ]`)
	f.Fuzz(func(t *testing.T, text string) {
		_, _ = pipeline.Evaluate(text, map[string]any{"x": map[string]any{"y": "z"}})
	})
}
