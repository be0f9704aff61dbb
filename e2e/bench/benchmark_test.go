//go:build bench

package bench_test

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// benchmark runs one of the packages' own benchmarks in a process of its own
// and returns its metrics by unit: "ns/op", "allocs/op", "VmHWM-MB".
func benchmark(t *testing.T, pkg, name string, args ...string) map[string]float64 {
	t.Helper()
	args = append([]string{"test", "-run", "^$", "-bench", "^Benchmark" + name + "$", "-benchmem"}, args...)
	cmd := exec.CommandContext(t.Context(), "go", append(args, pkg)...)
	cmd.Dir, cmd.Env = root(t), append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	for line := range strings.Lines(string(out)) {
		if fields := strings.Fields(line); strings.HasPrefix(line, "Benchmark"+name) && len(fields) > 3 {
			return metrics(t, fields[2:])
		}
	}
	t.Fatalf("no result of %s in\n%s", name, out)
	return nil
}

func metrics(t *testing.T, fields []string) map[string]float64 {
	t.Helper()
	m := map[string]float64{}
	for i := 0; i+1 < len(fields); i += 2 {
		v, err := strconv.ParseFloat(fields[i], 64)
		if err != nil {
			t.Fatal(err)
		}
		m[fields[i+1]] = v
	}
	return m
}

func TestAllocations(t *testing.T) {
	ours, theirs := benchmark(t, "./serving", "Iris"), benchmark(t, "./serving", "EncodingJSON")
	row(t, "handler alone, against encoding/json", "", "%.1f of %.1f µs = %.2f", ours["ns/op"]/1e3, theirs["ns/op"]/1e3, ours["ns/op"]/theirs["ns/op"])
	row(t, "allocations a request, against encoding/json", "", "%.0f of %.0f", ours["allocs/op"], theirs["allocs/op"])
}

func TestLargeModel(t *testing.T) {
	m := benchmark(t, "./oci", "LargeModel", "-tags", "e2e", "-benchtime", "1x")
	row(t, "a model of 2 GB, peak memory of build and push", "< 200 MB", "%.0f MB (%.0f s + %.0f s)", m["VmHWM-MB"], m["build-s"], m["push-s"])
}
