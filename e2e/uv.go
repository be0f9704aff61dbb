package e2e

import "testing"

// UV returns the path of the uv that makes the Python environments of tests,
// in the Cache.
func UV(t testing.TB) string {
	t.Helper()
	base, version := systemPython(t)
	return installUV(t, base, version)
}
