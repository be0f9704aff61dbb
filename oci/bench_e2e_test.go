//go:build e2e

package oci_test

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/oci"
	"github.com/slipway-dev/slipway/pack"
)

// BenchmarkLargeModel builds and pushes a model of 2 GB that does not compress,
// to a real image registry, and reports the most memory this process ever had.
// Run it alone, for that figure is of the process:
//
//	go test -tags e2e -run '^$' -bench LargeModel -benchtime 1x ./oci
func BenchmarkLargeModel(b *testing.B) {
	const size, limit = 2 << 30, 200 // bytes, MB
	config := packing(b, map[string]string{"MLmodel": "x"})
	fillFile(b, filepath.Join(config.ModelDir, "weights"), size)
	config.CacheDir = filepath.Join(filepath.Dir(config.ModelDir), "cache")
	repository := e2e.StartImageRegistry(b) + "/large"
	for b.Loop() {
		start := time.Now()
		img, err := pack.Image(b.Context(), config)
		if err != nil {
			b.Fatal(err)
		}
		built := time.Now()
		p, err := oci.New(oci.Config{}).Push(b.Context(), repository, img, []string{"1"}, nil)
		if err != nil {
			b.Fatal(err)
		}
		if p.Bytes < size {
			b.Fatalf("pushed %d bytes", p.Bytes)
		}
		b.ReportMetric(built.Sub(start).Seconds(), "build-s")
		b.ReportMetric(time.Since(built).Seconds(), "push-s")
	}
	most := highWater(b)
	b.ReportMetric(float64(most), "VmHWM-MB")
	if most >= limit {
		b.Errorf("it took %d MB of memory, the limit is %d", most, limit)
	}
}

func fillFile(b *testing.B, path string, size int64) {
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 1<<20)
	if _, err := rand.Read(block); err != nil {
		b.Fatal(err)
	}
	for n := int64(0); n < size; n += int64(len(block)) {
		copy(block, strconv.FormatInt(n, 10)) // a megabyte is further back than gzip looks
		if _, err := f.Write(block); err != nil {
			b.Fatal(err)
		}
	}
}

// highWater returns the most memory the process had, in megabytes.
func highWater(b *testing.B) int64 {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), "VmHWM:")
	var kb int64
	if _, err := fmt.Sscan(rest, &kb); err != nil {
		b.Fatal(err)
	}
	return kb / 1024
}

// BenchmarkSmallModel is a first push and a next version of a small model with
// a server of 15 MB.
func BenchmarkSmallModel(b *testing.B) {
	host := e2e.StartImageRegistry(b)
	for n := 0; b.Loop(); n++ {
		config := packing(b, map[string]string{"MLmodel": "x", "model.skops": noise(b, 100_000)})
		repository := fmt.Sprintf("%s/small/%d", host, n)
		self, err := os.Executable()
		if err != nil {
			b.Fatal(err)
		}
		config.Server = self
		for _, what := range []string{"first-ms", "next-ms"} {
			if err := os.WriteFile(filepath.Join(config.ModelDir, "MLmodel"), []byte(what+strconv.Itoa(n)), 0o644); err != nil {
				b.Fatal(err)
			}
			start := time.Now()
			img, err := pack.Image(b.Context(), config)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := oci.New(oci.Config{}).Push(b.Context(), repository, img, []string{"1"}, nil); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(time.Since(start).Milliseconds()), what)
		}
	}
}
