package main

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/slipway-dev/slipway"
)

func TestServerFromSourceIsReproducible(t *testing.T) {
	t.Parallel()
	var built [2][]byte
	for i := range built {
		s := servers{cache: t.TempDir(), environ: append(os.Environ(), "GOAMD64=v3", "GOFLAGS=")}
		path, err := s.find(t.Context(), "linux/amd64")
		if err != nil {
			t.Fatal(err)
		}
		if built[i], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(built[0], built[1]) {
		t.Error("two builds of the same source differ")
	}
}

func TestServerBesideTheProgramComesFirst(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	built, err := os.ReadFile(buildServer(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"modelserver", "modelserver-linux-" + runtime.GOARCH} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, built, 0o700); err != nil {
			t.Fatal(err)
		}
		s := servers{executable: filepath.Join(dir, "slipway"), cache: t.TempDir()}
		if got, err := s.find(t.Context(), "linux/"+runtime.GOARCH); err != nil || got != path {
			t.Errorf("got %s, %v; want %s", got, err, path)
		}
	}
}

func TestWrongServersAreRefused(t *testing.T) {
	t.Parallel()
	text := filepath.Join(t.TempDir(), "modelserver")
	if err := os.WriteFile(text, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	other := map[string]string{"amd64": "linux/arm64", "arm64": "linux/amd64"}[runtime.GOARCH]
	for name, test := range map[string]struct {
		file, platform, want string
		code                 slipway.Code
	}{
		"no program":       {text, "linux/amd64", "is no Linux program", slipway.Invalid},
		"missing":          {text + "-not", "linux/amd64", "no such file", slipway.NotFound},
		"another machine":  {buildServer(t), other, "is for another machine", slipway.Invalid},
		"unknown platform": {buildServer(t), "windows/amd64", "no model server for windows/amd64", slipway.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := servers{file: test.file}.find(t.Context(), test.platform)
			if slipway.CodeOf(err) != test.code || !strings.Contains(err.Error(), test.want) || slipway.HintOf(err) == "" {
				t.Errorf("got %v (%s, hint %q), want %s, %s", err, slipway.CodeOf(err), slipway.HintOf(err), test.code, test.want)
			}
		})
	}
}
