package uv

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Group is a part of a site that goes into one layer.
type Group struct {
	Name     string   // "numpy"; "packages" for the small ones
	Packages []string // "numpy 2.4.6", sorted
	Files    []string // relative to the site, slashes, sorted
	Size     int64    // of the files, in bytes
}

// A package of bigPackage bytes and more has a layer of its own, so that it is
// not sent again when another one changes. An image has at most 127 layers; with
// base, server, model and release ours stays below that by far.
const (
	bigPackage = 8 << 20
	maxGroups  = 58
)

// Groups splits a site by its packages: the big ones each in one group, largest
// first, and all else, with the files that belong to no package, in the last.
// Every file is in exactly one group; bytecode is where its source is.
func Groups(site string) ([]Group, error) {
	const op = "splitting the model's Python packages"
	owners, err := readOwners(site)
	if err != nil {
		return nil, fileError(op, err)
	}
	groups := map[string]*Group{}
	err = walkFiles(site, func(name string, size int64) {
		owner := owners[sourceOf(name)]
		g := groups[owner]
		if g == nil {
			g = &Group{Name: packageName(owner)}
			if owner != "" {
				g.Packages = []string{owner}
			}
			groups[owner] = g
		}
		g.Files, g.Size = append(g.Files, name), g.Size+size
	})
	if err != nil {
		return nil, fileError(op, err)
	}
	return gather(groups), nil
}

func packageName(owner string) string {
	name, _, _ := strings.Cut(owner, " ")
	return name
}

// gather keeps the big groups and puts the rest together.
func gather(groups map[string]*Group) []Group {
	small := Group{Name: "packages"}
	var big []Group
	for owner, g := range groups {
		if owner != "" && g.Size >= bigPackage {
			big = append(big, *g)
		} else {
			small.add(*g)
		}
	}
	slices.SortFunc(big, func(a, b Group) int {
		if a.Size != b.Size {
			return int(min(max(b.Size-a.Size, -1), 1))
		}
		return strings.Compare(a.Name, b.Name)
	})
	for len(big) > maxGroups-1 {
		small.add(big[len(big)-1])
		big = big[:len(big)-1]
	}
	if len(small.Files) > 0 {
		big = append(big, small)
	}
	for _, g := range big {
		slices.Sort(g.Files)
		slices.Sort(g.Packages)
	}
	return big
}

func (g *Group) add(other Group) {
	g.Files, g.Packages, g.Size = append(g.Files, other.Files...), append(g.Packages, other.Packages...), g.Size+other.Size
}

// readOwners returns which package each file is of. Two packages may say it of
// one file: the first by name has it.
func readOwners(site string) (map[string]string, error) {
	records, err := filepath.Glob(filepath.Join(site, "*.dist-info", "RECORD"))
	if err != nil {
		return nil, err
	}
	owners := map[string]string{}
	for _, record := range records {
		dist := strings.TrimSuffix(filepath.Base(filepath.Dir(record)), ".dist-info")
		owner := strings.Replace(dist, "-", " ", 1)
		rows, err := readRecord(record)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			if _, taken := owners[row[0]]; !taken {
				owners[row[0]] = owner
			}
		}
	}
	return owners, nil
}

// sourceOf returns the source of a bytecode file, and any other name as it is.
func sourceOf(name string) string {
	dir, file := path.Split(name)
	if path.Base(dir) != "__pycache__" || path.Ext(file) != ".pyc" {
		return name
	}
	stem, _, _ := strings.Cut(file, ".cpython-")
	return path.Join(path.Dir(path.Clean(dir)), stem+".py")
}

var errOdd = errors.New("it is neither a file nor a folder")

func walkFiles(site string, each func(name string, size int64)) error {
	return filepath.WalkDir(site, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if !entry.Type().IsRegular() {
			return &os.PathError{Op: "reading", Path: file, Err: errOdd}
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(site, file)
		each(filepath.ToSlash(name), info.Size())
		return err
	})
}
