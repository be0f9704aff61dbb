//go:build e2e

package oci_test

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/oci"
	"github.com/slipway-dev/slipway/pack"
)

// BenchmarkKept keeps scikit-learn and pandas in a real image registry, and
// reports how long a machine that has nothing takes to find them, to push two
// versions of a model with them, and to unpack those side by side.
//
//	go test -tags e2e -run '^$' -bench Kept -benchtime 1x ./oci
func BenchmarkKept(b *testing.B) {
	host := e2e.StartImageRegistry(b)
	ref, _ := e2e.PythonBase(b, host)
	c := oci.New(oci.Config{})
	layers := installed(b)
	for b.Loop() {
		lap := stopwatch(b)
		try(b, c.Keep(b.Context(), host+"/environments", keptKey, []byte(keptLock), layers))
		lap("keep-s")
		kept, err := oci.New(oci.Config{}).FindKept(b.Context(), host+"/environments", keptKey)
		try(b, err)
		lap("find-s")
		base, err := c.Base(b.Context(), ref, "linux/amd64")
		try(b, err)
		dir := b.TempDir()
		for _, version := range []string{"first", "second"} {
			img := image(b, map[string]string{"MLmodel": version}, func(c *pack.Config) { c.Base, c.Packages = base, kept.Layers })
			lap(version + "-build-s")
			p := push(b, oci.New(oci.Config{}), host+"/model", img, version)
			lap(version + "-push-s")
			b.ReportMetric(float64(p.UploadedBytes)/1e3, version+"-kB")
			b.ReportMetric(float64(p.Bytes)/1e6, "image-MB")
			try(b, c.Unpack(b.Context(), p.Image, "linux/amd64", filepath.Join(dir, version)))
			lap(version + "-unpack-s")
		}
		try(b, c.UnpackPackages(b.Context(), kept.Layers, filepath.Join(dir, "site")))
		lap("unpack-packages-s")
	}
}

func stopwatch(b *testing.B) func(unit string) {
	start := time.Now()
	return func(unit string) {
		b.ReportMetric(time.Since(start).Seconds(), unit)
		start = time.Now()
	}
}

// installed is a layer for each large package, and one for the rest.
func installed(b *testing.B) []v1.Layer {
	b.Helper()
	python := e2e.Python(b, "scikit-learn==1.5.2", "pandas==2.2.3")
	sites, err := filepath.Glob(filepath.Join(filepath.Dir(filepath.Dir(python)), "lib", "python3*", "site-packages"))
	if err != nil || len(sites) != 1 {
		b.Fatalf("%v, %v", sites, err)
	}
	tops := []string{"numpy", "scipy", "sklearn", "pandas", ""}
	groups := make([]pack.PackageGroup, len(tops))
	err = filepath.WalkDir(sites[0], func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(sites[0], path)
		i := slices.IndexFunc(tops, func(top string) bool { return strings.HasPrefix(rel, top) })
		groups[i].Files = append(groups[i].Files, filepath.ToSlash(rel))
		return err
	})
	try(b, err)
	for i, top := range tops {
		groups[i].Name, groups[i].Packages = top, []string{top + "*"}
		slices.Sort(groups[i].Files)
	}
	layers, err := pack.PackageLayers(b.Context(), b.TempDir(), sites[0], groups, pack.Zstd)
	try(b, err)
	return layers
}
