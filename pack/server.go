package pack

import (
	"archive/tar"
	"context"
	"debug/elf"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

// serverLayer packs the model server. Its compressed form is cached under the
// digest of the uncompressed one: with the same server, a build compresses
// nothing but the model.
func serverLayer(ctx context.Context, cache cache, v Variant) (*layer, error) {
	f, err := os.Open(v.Server)
	if err != nil {
		return nil, serverFailure(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, serverFailure(err)
	}
	if !info.Mode().IsRegular() || info.Size() == 0 {
		return nil, slipway.Errorf(slipway.Invalid, op, "the model server %s is not a program", v.Server)
	}
	if err := checkProgram(f, v); err != nil {
		return nil, err
	}
	fill := func(w *tar.Writer) error { return writeProgram(ctx, w, f, info, mlmodel.ImageServer) }
	diff, err := archive(io.Discard, fill)
	if err != nil {
		return nil, failure(err)
	}
	l, err := cache.layer(servers, diff.sum(), fill)
	if err != nil {
		return nil, err
	}
	return l, cache.prune(servers)
}

func writeProgram(ctx context.Context, w *tar.Writer, f *os.File, info fs.FileInfo, at string) error {
	name := inTar(at)
	if dir := path.Dir(name); dir != "." {
		if err := w.WriteHeader(directoryHeader(dir)); err != nil {
			return err
		}
	}
	if err := w.WriteHeader(fileHeader(name, info.Size(), 0o755)); err != nil {
		return err
	}
	// A reader of its own, for it is read twice.
	from := io.NewSectionReader(f, 0, info.Size())
	n, err := io.Copy(w, &contextReader{ctx, from})
	if err == nil && n != info.Size() {
		err = slipway.Errorf(slipway.Corrupt, op, "the program %s changed while it was packed", at)
	}
	return err
}

var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// checkProgram refuses a program of another platform, which would only fail
// where it is started. What is no program by its first bytes, such as a
// script, passes: the base may run it.
func checkProgram(f *os.File, v Variant) error {
	p, err := parsePlatform(v.Platform)
	if err != nil {
		return err
	}
	var magic [4]byte
	if _, err := f.ReadAt(magic[:], 0); err != nil && err != io.EOF {
		return serverFailure(err)
	}
	var found string
	switch string(magic[:]) {
	case elf.ELFMAG:
		program, err := elf.NewFile(f)
		if err != nil {
			return &slipway.Error{Op: op, Code: slipway.Invalid, Message: "the model server is a broken program", Err: err}
		}
		if program.Machine == machines[p.Architecture] {
			return nil
		}
		found = program.Machine.String()
	case "\xcf\xfa\xed\xfe", "\xca\xfe\xba\xbe":
		found = "macOS"
	default:
		if string(magic[:2]) != "MZ" {
			return nil
		}
		found = "Windows"
	}
	return slipway.Errorf(slipway.Invalid, op, "the model server %s is a program for %s, not for %s", v.Server, found, p.String()).
		WithHint("give the server that was built for %s", p.String())
}

func serverFailure(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &slipway.Error{Op: op, Code: slipway.NotFound, Message: "there is no model server", Err: err,
			Hint: "build it (make build), or name it with --server FILE"}
	}
	return failure(err)
}
