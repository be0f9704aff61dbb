package pack

import (
	"archive/tar"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

// Program is what the image of a program is made of.
type Program struct {
	File     string            // path of the program: static, for Linux; the image is of its platform
	At       string            // where it is in the image, "/slipway"
	Files    map[string][]byte // what else there is, by absolute path; readable by all
	Labels   map[string]string // also the image's annotations
	CacheDir string            // as in Config
}

// ProgramImage makes an image of one program and nothing of a base, run by
// mlmodel.User. The same program gives the same bytes.
//
// Errors: Invalid for what is no static program for Linux; NotFound; Exhausted
// when the disk is full.
func ProgramImage(ctx context.Context, p Program) (v1.Image, error) {
	platform, err := platformOf(p.File)
	if err != nil {
		return nil, err
	}
	cache, err := openCache(p.CacheDir)
	if err != nil {
		return nil, err
	}
	files, err := compressSmall(func(w *tar.Writer) error { return writeFiles(w, p.Files) })
	if err != nil {
		return nil, failure(err)
	}
	program, err := programLayer(ctx, cache, p)
	if err != nil {
		return nil, err
	}
	config := &v1.ConfigFile{Architecture: platform.Architecture, OS: platform.OS, RootFS: v1.RootFS{Type: "layers"}}
	config.Config = v1.Config{User: fmt.Sprintf("%d:%d", mlmodel.User, mlmodel.User), Entrypoint: []string{p.At}, Labels: p.Labels}
	var layers []v1.Layer
	for _, l := range []*layer{files, program} {
		layers = append(layers, l)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.diffID)
		config.History = append(config.History, v1.History{CreatedBy: CreatedBy})
	}
	return seal(config, layers, p.Labels)
}

// programLayer packs the program. It is not cached: it is rarely packed twice.
func programLayer(ctx context.Context, cache cache, p Program) (*layer, error) {
	f, err := os.Open(p.File)
	if err != nil {
		return nil, programFailure(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, programFailure(err)
	}
	return cache.spool(func(w *tar.Writer) error { return writeProgram(ctx, w, f, info, p.At) })
}

// writeFiles writes files sorted by path, each folder once before what is in it.
func writeFiles(w *tar.Writer, files map[string][]byte) error {
	made := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := writeParents(w, path.Dir(inTar(name)), made); err != nil {
			return err
		}
		if err := writeBytes(w, inTar(name), files[name]); err != nil {
			return err
		}
	}
	return nil
}

// platformOf is what a static program runs on, by its ELF header.
func platformOf(file string) (v1.Platform, error) {
	program, err := elf.Open(file)
	var wrong *elf.FormatError
	switch {
	case errors.As(err, &wrong), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return v1.Platform{}, noProgram(file, "no program for Linux")
	case err != nil:
		return v1.Platform{}, programFailure(err)
	}
	defer func() { _ = program.Close() }() // it was only read
	for _, part := range program.Progs {
		if part.Type == elf.PT_INTERP {
			return v1.Platform{}, noProgram(file, "not static: it needs the C library of a base")
		}
	}
	for architecture, machine := range machines {
		if machine == program.Machine {
			return v1.Platform{OS: "linux", Architecture: architecture}, nil
		}
	}
	return v1.Platform{}, noProgram(file, "for "+program.Machine.String())
}

func noProgram(file, why string) error {
	return slipway.Errorf(slipway.Invalid, op, "%s is %s", file, why).
		WithHint("name a program for linux/amd64 or linux/arm64, as make build makes it there (CGO_ENABLED=0)")
}

func programFailure(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &slipway.Error{Op: op, Code: slipway.NotFound, Message: "there is no such program", Err: err, Hint: "name one that is there"}
	}
	return failure(err)
}
