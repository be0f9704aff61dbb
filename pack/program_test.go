package pack_test

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/pack"
)

// program writes an ELF header and maybe a program header, which is all that is
// looked at.
func program(t *testing.T, machine elf.Machine, parts ...elf.ProgType) string {
	t.Helper()
	var b bytes.Buffer
	h := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: 1, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: uint16(len(parts)), Shentsize: 64}
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[elf.EI_CLASS], h.Ident[elf.EI_DATA], h.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1
	try(t, binary.Write(&b, binary.LittleEndian, h))
	for _, part := range parts {
		try(t, binary.Write(&b, binary.LittleEndian, elf.Prog64{Type: uint32(part)}))
	}
	file := filepath.Join(t.TempDir(), "program")
	try(t, os.WriteFile(file, b.Bytes(), 0o755))
	return file
}

// The image of a program has that, what is beside it, and nothing else.
func TestProgramImage(t *testing.T) {
	t.Parallel()
	p := pack.Program{File: program(t, elf.EM_AARCH64, elf.PT_LOAD), At: "/slipway", CacheDir: t.TempDir(),
		Files: map[string][]byte{"/etc/ssl/certs/ca-certificates.crt": []byte("roots"), "/etc/a": nil}, Labels: map[string]string{"x": "y"}}
	img, err := pack.ProgramImage(t.Context(), p)
	try(t, err)
	try(t, validate.Image(img))
	config, err := img.ConfigFile()
	try(t, err)
	if config.Architecture != "arm64" || config.OS != "linux" || config.Config.User != "65532:65532" || !cmp.Equal(config.Config.Entrypoint, []string{"/slipway"}) || config.Config.Labels["x"] != "y" {
		t.Errorf("%+v", config)
	}
	manifest, err := img.Manifest()
	try(t, err)
	if manifest.Annotations["x"] != "y" {
		t.Errorf("annotations %v", manifest.Annotations)
	}
	want := []string{"etc/ 755", "etc/a 644", "etc/ssl/ 755", "etc/ssl/certs/ 755", "etc/ssl/certs/ca-certificates.crt 644 roots", "slipway 755"}
	if got := inLayers(t, img); !cmp.Equal(got, want) {
		t.Errorf("%v", cmp.Diff(want, got))
	}
	first, err := img.Digest()
	try(t, err)
	p.CacheDir = t.TempDir()
	again, err := pack.ProgramImage(t.Context(), p)
	try(t, err)
	if second, err := again.Digest(); err != nil || second != first {
		t.Errorf("made twice: %v and %v, %v", first, second, err)
	}
}

// inLayers lists what the layers hold, with the content of what is no program.
func inLayers(t *testing.T, img v1.Image) (entries []string) {
	t.Helper()
	layers, err := img.Layers()
	try(t, err)
	for _, l := range layers {
		r, err := l.Uncompressed()
		try(t, err)
		for archive := tar.NewReader(r); ; {
			h, err := archive.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			try(t, err)
			content, err := io.ReadAll(archive)
			try(t, err)
			entry := fmt.Sprintf("%s %o", h.Name, h.Mode)
			if len(content) > 0 && !bytes.HasPrefix(content, []byte(elf.ELFMAG)) {
				entry += " " + string(content)
			}
			entries = append(entries, entry)
		}
		try(t, r.Close())
	}
	return entries
}

func TestProgramImageRefuses(t *testing.T) {
	t.Parallel()
	script := filepath.Join(t.TempDir(), "script")
	try(t, os.WriteFile(script, []byte("#!/bin/sh\n"), 0o755))
	for name, test := range map[string]struct {
		file string
		code slipway.Code
		says string
	}{
		"a script":         {script, slipway.Invalid, "no program for Linux"},
		"a dynamic one":    {program(t, elf.EM_X86_64, elf.PT_INTERP), slipway.Invalid, "not static"},
		"another platform": {program(t, elf.EM_RISCV), slipway.Invalid, "EM_RISCV"},
		"none":             {filepath.Join(t.TempDir(), "nothing"), slipway.NotFound, "no such program"},
	} {
		_, err := pack.ProgramImage(t.Context(), pack.Program{File: test.file, At: "/slipway", CacheDir: t.TempDir()})
		t.Run(name, func(t *testing.T) { wantError(t, err, test.code, test.says) })
	}
}
