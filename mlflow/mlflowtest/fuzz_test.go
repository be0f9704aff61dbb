package mlflowtest_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/slipway-dev/slipway/mlflow/mlflowtest"
)

func FuzzToken(f *testing.F) {
	for _, s := range []string{"", "eyJvZmZzZXQiOiAxfQ==", "zzz", "eyJvZmZzZXQiOiAtMX0=", "e30=", "bnVsbA=="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if offset, err := mlflowtest.ParseToken(s); err == nil && offset < 0 {
			t.Fatalf("%q gives %d", s, offset)
		}
	})
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{"", "name='iris'", "name = 'a' and tags.`x.y` LIKE '%b_'", "name = iris or name = 'x'", "version_number >= 3", "tags.a != \"b\"", "name ILIKE '(%'", "and and"} {
		f.Add(s)
	}
	f.Fuzz(func(_ *testing.T, s string) {
		mlflowtest.ParseVersionFilter(s) //nolint:errcheck // that it returns is all
	})
}

func FuzzProxyPath(f *testing.F) {
	for _, s := range []string{"a/b", "..%2f..", "%252e%252e/x", "a%", "/x", "a#b", "a/%2e%2e/b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := mlflowtest.SafePath(s); err == nil && (strings.HasPrefix(p, "/") || slices.Contains(strings.Split(p, "/"), "..")) {
			t.Fatalf("%q became %q", s, p)
		}
	})
}
