//go:build e2e

package pack_test

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/pack"
)

// BenchmarkPackages packs the site-packages folder of scikit-learn and pandas,
// of which each large package is a layer, with nothing kept and again:
//
//	go test -tags e2e -run '^$' -bench Packages -benchtime 1x ./pack
func BenchmarkPackages(b *testing.B) {
	python := e2e.Python(b, "scikit-learn==1.5.2", "pandas==2.2.3")
	sites, err := filepath.Glob(filepath.Join(filepath.Dir(filepath.Dir(python)), "lib", "python3*", "site-packages"))
	if err != nil || len(sites) != 1 {
		b.Fatalf("%v, %v", sites, err)
	}
	groups := byTop(b, sites[0], "numpy", "scipy", "sklearn", "pandas")
	for _, c := range []pack.Compression{pack.Zstd, pack.Gzip} {
		b.Run(string(c), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				dir := b.TempDir()
				b.StartTimer()
				report(b, packSize(b, dir, sites[0], groups, c))
			}
		})
		b.Run(string(c)+"-kept", func(b *testing.B) {
			dir := b.TempDir()
			packSize(b, dir, sites[0], groups, c)
			for b.Loop() {
				report(b, packSize(b, dir, sites[0], groups, c))
			}
		})
	}
}

func report(b *testing.B, size int64) { b.ReportMetric(float64(size)/1e6, "MB") }

func packSize(b *testing.B, cacheDir, site string, groups []pack.PackageGroup, c pack.Compression) (size int64) {
	b.Helper()
	for _, l := range packPackages(b, cacheDir, site, groups, c) {
		n, err := l.Size()
		try(b, err)
		size += n
	}
	return size
}

// byTop groups the files of a folder by the beginning of their paths, the rest
// in a group of its own.
func byTop(b *testing.B, site string, tops ...string) []pack.PackageGroup {
	b.Helper()
	groups := make([]pack.PackageGroup, len(tops)+1)
	for i, top := range append(tops, "rest") {
		groups[i] = pack.PackageGroup{Name: top, Packages: []string{top}}
	}
	err := filepath.WalkDir(site, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(site, path)
		i := slices.IndexFunc(tops, func(top string) bool { return strings.HasPrefix(rel, top) })
		if i < 0 {
			i = len(tops)
		}
		groups[i].Files = append(groups[i].Files, filepath.ToSlash(rel))
		return err
	})
	try(b, err)
	for _, g := range groups {
		slices.Sort(g.Files)
	}
	return groups
}
