package pack

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

// AnnotationPackages says in the descriptor of a layer which Python packages
// it holds, separated by spaces.
const AnnotationPackages = "dev.slipway.packages"

// maxPackageLayers is below the 127 layers that some container engines can
// stack, with those of the base and ours.
const maxPackageLayers = 100

// PackageGroup is files of a site-packages folder that go into one layer.
type PackageGroup struct {
	Name     string   // for errors
	Packages []string // what is in it: "numpy==2.4.6"
	Files    []string // sorted, relative to the site-packages folder, with slashes
}

// PackageLayers packs groups of a site-packages folder below
// mlmodel.ImagePackages, one layer a group, in their order. The bytes depend on
// nothing but the files' names and contents. Layers are kept in cacheDir
// (default as in Config) and compressed only when they are not there.
//
// Errors: Invalid for names and files that cannot be packed; Corrupt when a
// file changes meanwhile; Exhausted when the disk is full.
func PackageLayers(ctx context.Context, cacheDir, site string, groups []PackageGroup, compression Compression) (layers []v1.Layer, err error) {
	codec, err := compression.codec()
	if err != nil {
		return nil, err
	}
	cache, err := openCache(cacheDir)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(site)
	if err != nil {
		return nil, failure(err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	p := packing{folder: siteFolder(root), cache: cache, shelf: packages(codec), layers: make([]v1.Layer, len(groups))}
	if err := p.check(groups); err != nil {
		return nil, err
	}
	if err := p.all(ctx, groups); err != nil {
		return nil, err
	}
	return p.layers, cache.prune(p.shelf)
}

func siteFolder(root *os.Root) folder {
	return folder{root: root, whose: "package's file", programs: true,
		links: "install the packages by copies or hard links (UV_LINK_MODE=copy)",
		mend:  "build while nothing writes to the site-packages folder"}
}

// packing is one call of PackageLayers.
type packing struct {
	folder folder
	cache  cache
	shelf  shelf
	layers []v1.Layer
}

// check refuses groups that do not make layers which can be stacked in any order.
func (p *packing) check(groups []PackageGroup) error {
	if len(groups) > maxPackageLayers {
		return slipway.Errorf(slipway.Invalid, op, "%d layers of packages are more than %d", len(groups), maxPackageLayers)
	}
	seen := map[string]bool{}
	for _, g := range groups {
		if len(g.Files) == 0 || !slices.IsSorted(g.Files) {
			return slipway.Errorf(slipway.Internal, op, "the packages %s have no files, or not in order", quote(g.Name))
		}
		for _, name := range g.Files {
			if seen[name] {
				return p.folder.refuse(name, "belongs to two packages")
			}
			seen[name] = true
			if err := p.checkPath(name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *packing) checkPath(name string) error {
	if !fs.ValidPath(name) || name == "." || strings.ContainsRune(name, '\\') {
		return p.folder.refuse(name, "is not inside the site-packages folder")
	}
	for part := name; part != "."; part = path.Dir(part) {
		if err := p.folder.checkName(part); err != nil {
			return err
		}
	}
	info, err := p.folder.root.Lstat(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		return p.folder.refuse(name, "is behind a link, or cannot be read: %s", err).WithHint("%s", p.folder.links)
	}
	if err != nil {
		return failure(err)
	}
	if !info.Mode().IsRegular() {
		return p.folder.irregular(name, info.Mode())
	}
	return nil
}

// all finds out which layers the groups make, which is ten times faster than
// to compress them, and then compresses those that are not kept, the largest
// first.
func (p *packing) all(ctx context.Context, groups []PackageGroup) error {
	tars := make([]*meter, len(groups))
	err := together(ctx, len(groups), func(ctx context.Context, i int) (err error) {
		tars[i], err = archive(io.Discard, p.fill(ctx, groups[i]))
		return failure(err)
	})
	if err != nil {
		return err
	}
	order := make([]int, len(groups))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(tars[b].n, tars[a].n) })
	return together(ctx, len(groups), func(ctx context.Context, n int) error {
		i := order[n]
		l, err := p.cache.layer(p.shelf, tars[i].sum(), p.fill(ctx, groups[i]))
		if err != nil {
			return err
		}
		l.annotations = groups[i].annotations()
		p.layers[i] = l
		return nil
	})
}

// together calls do with 0 to n-1, as many at a time as there are processors.
func together(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range n {
		group.Go(func() error { return do(ctx, i) })
	}
	return group.Wait()
}

func (p *packing) fill(ctx context.Context, g PackageGroup) func(*tar.Writer) error {
	return func(w *tar.Writer) error {
		base := inTar(mlmodel.ImagePackages)
		dirs := map[string]bool{}
		for _, name := range g.Files {
			if err := writeParents(w, path.Dir(base+"/"+name), dirs); err != nil {
				return err
			}
			if _, err := p.folder.write(ctx, w, nil, base+"/"+name, name); err != nil {
				return err
			}
		}
		return nil
	}
}

func (g PackageGroup) annotations() map[string]string {
	if len(g.Packages) == 0 {
		return nil
	}
	return map[string]string{AnnotationPackages: strings.Join(g.Packages, " ")}
}
