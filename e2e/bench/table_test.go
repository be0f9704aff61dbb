//go:build bench

package bench_test

import (
	"fmt"
	"os"
	"testing"
)

// row prints one figure of the table with what is asked of it. It never judges.
func row(t *testing.T, what, bar, format string, args ...any) {
	t.Helper()
	fmt.Fprintf(os.Stdout, "  %-46s %-34s %s\n", what, fmt.Sprintf(format, args...), bar)
}
