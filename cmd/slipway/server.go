package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/slipway-dev/slipway"
)

const module = "github.com/slipway-dev/slipway"

// servers finds the model server for an image's platform. In this order: the
// file that --server names; the one embedded in a release build; one beside
// this program; one built on the spot from source. The same source and Go
// version give the same bytes either way.
type servers struct {
	file       string // --server
	executable string // this program
	cache      string // directory of the user's cache
	environ    []string
}

const serverOp = "finding the model server"

// find returns the path of the model server for a platform, "linux/amd64".
func (s servers) find(ctx context.Context, platform string) (string, error) {
	path, err := s.look(ctx, platform)
	if err != nil {
		return "", err
	}
	return path, checkMachine(path, platform)
}

func (s servers) look(ctx context.Context, platform string) (string, error) {
	if s.file != "" {
		return s.file, nil
	}
	name := "modelserver-" + strings.ReplaceAll(platform, "/", "-")
	if packed, err := embedded.ReadFile("embedded/" + name + ".zst"); err == nil {
		return s.unpack(packed)
	}
	if path := s.beside(name, platform); path != "" {
		return path, nil
	}
	return s.build(ctx, name, platform)
}

// beside looks next to this program; a modelserver without a platform in its
// name counts for this machine's own.
func (s servers) beside(name, platform string) string {
	names := []string{name}
	if platform == "linux/"+runtime.GOARCH && runtime.GOOS == "linux" {
		names = append(names, "modelserver")
	}
	for _, n := range names {
		path := filepath.Join(filepath.Dir(s.executable), n)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path
		}
	}
	return ""
}

// unpack decompresses an embedded server into the cache.
func (s servers) unpack(packed []byte) (string, error) {
	decoder, err := zstd.NewReader(nil)
	if err != nil {
		return "", &slipway.Error{Op: serverOp, Code: slipway.Internal, Err: err}
	}
	defer decoder.Close()
	data, err := decoder.DecodeAll(packed, nil)
	if err != nil {
		return "", &slipway.Error{Op: serverOp, Code: slipway.Corrupt, Err: err}
	}
	return s.keep(data)
}

// keep stores a server in the cache under the digest of its bytes.
func (s servers) keep(data []byte) (string, error) {
	digest := sha256.Sum256(data)
	path := filepath.Join(s.cache, "servers", hex.EncodeToString(digest[:8]), "modelserver")
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		return path, nil
	}
	if err := writeFile(path, data, 0o755); err != nil {
		return "", (&slipway.Error{Op: serverOp, Code: slipway.Exhausted, Err: err}).WithHint("free space, or set XDG_CACHE_HOME")
	}
	return path, nil
}

// build makes the server with the go command. Its own cache knows whether
// anything changed, so an up-to-date server costs a fraction of a second.
func (s servers) build(ctx context.Context, name, platform string) (string, error) {
	dir, err := s.source(ctx)
	if err != nil {
		return "", err
	}
	goos, goarch, _ := strings.Cut(platform, "/")
	digest := sha256.Sum256([]byte(dir))
	out := filepath.Join(s.cache, "builds", hex.EncodeToString(digest[:8]), name)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", out, "./cmd/modelserver")
	cmd.Dir = dir
	cmd.Env = append(slices.Clone(s.environ), "CGO_ENABLED=0", "GOOS="+goos, "GOARCH="+goarch, "GOAMD64=v1", "GOARM64=v8.0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", (&slipway.Error{Op: "building the model server from " + dir, Code: slipway.Invalid,
			Message: lastLines(string(text), 5), Err: err}).WithHint("name a built one with --server FILE")
	}
	data, err := os.ReadFile(out)
	if err != nil {
		return "", &slipway.Error{Op: serverOp, Code: slipway.Unavailable, Err: err}
	}
	return s.keep(data)
}

// source returns the directory of this module: the working directory's, or the
// module cache's copy of the version this program was built from.
func (s servers) source(ctx context.Context) (string, error) {
	dir, err := os.Getwd()
	for err == nil && dir != filepath.Dir(dir) {
		if data, err := os.ReadFile(filepath.Join(dir, "go.mod")); err == nil && strings.HasPrefix(string(data), "module "+module+"\n") {
			return dir, nil
		}
		dir = filepath.Dir(dir)
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Path != module || !strings.HasPrefix(info.Main.Version, "v") {
		return "", slipway.Errorf(slipway.NotFound, serverOp, "none is embedded, beside this program or in the working directory's source").
			WithHint("name one with --server FILE, or use a release build (make build)")
	}
	return s.downloaded(ctx, module+"@"+info.Main.Version)
}

func (s servers) downloaded(ctx context.Context, version string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", version)
	cmd.Env = s.environ
	text, err := cmd.Output()
	var got struct{ Dir string }
	if err == nil {
		err = json.Unmarshal(text, &got)
	}
	if err != nil || got.Dir == "" {
		return "", (&slipway.Error{Op: serverOp, Code: slipway.Unavailable, Message: "the source of " + version + " is out of reach", Err: err}).
			WithHint("name one with --server FILE")
	}
	return got.Dir, nil
}

// checkMachine refuses a program that is not for the platform.
func checkMachine(path, platform string) error {
	machines := map[string]elf.Machine{"linux/amd64": elf.EM_X86_64, "linux/arm64": elf.EM_AARCH64}
	want, known := machines[platform]
	if !known {
		return slipway.Errorf(slipway.Invalid, serverOp, "no model server for %s", platform).WithHint("use --platform linux/amd64 or linux/arm64")
	}
	f, err := elf.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return (&slipway.Error{Op: serverOp, Code: slipway.NotFound, Err: err}).WithHint("name an existing file with --server")
	}
	if err != nil {
		return (&slipway.Error{Op: serverOp, Code: slipway.Invalid, Message: path + " is no Linux program", Err: err}).WithHint("build it with: make build")
	}
	defer f.Close() //nolint:errcheck // it was only read
	if f.Machine != want {
		return slipway.Errorf(slipway.Invalid, serverOp, "%s is for another machine (%s) than %s", path, f.Machine, platform).
			WithHint("build it with GOOS=linux and the platform's GOARCH")
	}
	return nil
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
