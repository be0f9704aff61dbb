package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// serveRegistry serves an image registry that also stands in for
// registry.k8s.io: it holds the pause image under the names given. Blobs lie in
// a folder; which image has which name is forgotten when it ends.
//
// Arguments: ADDRESS BLOB-FOLDER PAUSE-PROGRAM ARCHITECTURE PAUSE-NAME (pause:3.10)…
func serveRegistry(args []string) error {
	if len(args) < 5 {
		return errors.New("usage: registry ADDRESS BLOBS PAUSE-PROGRAM ARCHITECTURE NAME:TAG…")
	}
	address, blobs, program, arch, names := args[0], args[1], args[2], args[3], args[4:]
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("opening the image registry: %w", err)
	}
	failed := make(chan error, 1)
	handler := registry.New(registry.WithBlobHandler(registry.NewDiskBlobHandler(blobs)))
	go func() { failed <- http.Serve(listener, handler) }() //nolint:gosec // loopback; a slow client harms only itself
	if err := pushPause(address, program, arch, names); err != nil {
		return fmt.Errorf("storing the pause image: %w", err)
	}
	return <-failed
}

func pushPause(address, program, arch string, names []string) error {
	image, err := pauseImage(program, arch)
	if err != nil {
		return err
	}
	for _, n := range names {
		ref, err := name.NewTag(address + "/" + n)
		if err != nil {
			return err
		}
		if err := remote.Write(ref, image); err != nil {
			return err
		}
	}
	return nil
}

// pauseImage is an image of nothing but the program, run by nobody in
// particular as the original is (65535).
func pauseImage(program, arch string) (v1.Image, error) {
	layer, err := oneFile("pause", program)
	if err != nil {
		return nil, err
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", arch
	file.Config.Entrypoint, file.Config.User = []string{"/pause"}, "65535:65535"
	return mutate.ConfigFile(image, file)
}

func oneFile(as, path string) (v1.Layer, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: as, Mode: 0o755, Size: int64(len(content))}); err != nil {
		return nil, err
	}
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil })
}
