// Package pack makes images: a model directory, a model server and a base
// become an OCI image (image specification 1.1) with the same bytes wherever
// and whenever it is built.
//
// It owns what an image is made of and in which order. It talks to no
// network: a base is handed in, and package oci pushes what comes out.
//
// Nothing of a model is held in memory. A layer is compressed once, into an
// unnamed file that the operating system frees with the process, while its
// digests are taken; a push then reads that file. The alternative, to compress
// again for every read, saves the disk space but cannot resume an upload in
// the middle without compressing all before it, and would trust the model
// directory not to change between the passes.
package pack

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

const op = "building the image"

// Config is what an image is made of. ModelDir and Server are required.
type Config struct {
	ModelDir string
	Manifest mlmodel.Manifest // its Model.Files, when set, must be the digest of the files packed
	Golden   mlmodel.Golden

	Converted string // path of a file that becomes mlmodel.ConvertedFile; "": there is none

	Server   string     // path of the model server, a program of Platform
	Platform string     // "linux/amd64" (default) or "linux/arm64"
	Base     v1.Image   // nil: scratch
	Packages []v1.Layer // of PackageLayers, or kept in an image registry; they need a Base with Python
	Lock     []byte     // of Packages: becomes mlmodel.LockFile; empty: there is none

	CacheDir string // of compressed server layers and of the spool; default: slipway below os.UserCacheDir
}

// Variant is one platform of an image for several.
type Variant struct {
	Server   string
	Platform string
	Base     v1.Image
	Packages []v1.Layer
	Lock     []byte
}

// Image builds an image of one platform. When it returns, every layer is
// compressed and every digest known.
//
// Errors: Invalid for a model directory, server or platform that cannot be
// packed; Corrupt when a file changes meanwhile or the files are not those of
// Manifest.Model.Files; Exhausted when the disk is full.
func Image(ctx context.Context, c Config) (v1.Image, error) {
	images, err := Images(ctx, c, Variant{Server: c.Server, Platform: c.Platform, Base: c.Base, Packages: c.Packages, Lock: c.Lock})
	if err != nil {
		return nil, err
	}
	return images[0], nil
}

// Images builds one image a variant; they share the layers of the model. The
// fields of c that a Variant has are not read.
func Images(ctx context.Context, c Config, variants ...Variant) ([]v1.Image, error) {
	for _, v := range variants {
		if err := v.check(); err != nil {
			return nil, err
		}
	}
	cache, err := openCache(c.CacheDir)
	if err != nil {
		return nil, err
	}
	servers, releases := make([]*layer, len(variants)), make([]*layer, len(variants))
	var model, converted *layer
	group, ctx := errgroup.WithContext(ctx)
	for i, v := range variants {
		group.Go(func() (err error) {
			if servers[i], err = serverLayer(ctx, cache, v); err == nil {
				releases[i], err = releaseLayer(c.Manifest, c.Golden, v.Lock)
			}
			return err
		})
	}
	group.Go(func() (err error) {
		model, err = modelLayer(ctx, cache, c.ModelDir, c.Manifest.Model.Files)
		return err
	})
	group.Go(func() (err error) {
		converted, err = convertedLayer(ctx, cache, c.Converted)
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	images := make([]v1.Image, len(variants))
	for i, v := range variants {
		if images[i], err = assemble(c.Manifest, v, servers[i], model, converted, releases[i]); err != nil {
			return nil, err
		}
	}
	return images, nil
}

func (v Variant) check() error {
	if len(v.Packages) > 0 && v.Base == nil {
		return slipway.Errorf(slipway.Invalid, op, "an image with Python packages needs a base with Python").
			WithHint("take python:X.Y-slim, in the model's Python version, with --base")
	}
	_, err := parsePlatform(v.Platform)
	return err
}

// parsePlatform reads "linux/arm64" and refuses what no model server is built for.
func parsePlatform(s string) (v1.Platform, error) {
	if s == "" {
		s = "linux/amd64"
	}
	p, err := v1.ParsePlatform(s)
	if err != nil || p.OS != "linux" || (p.Architecture != "amd64" && p.Architecture != "arm64") {
		return v1.Platform{}, slipway.Errorf(slipway.Invalid, op, "%q is no platform of model servers", s).
			WithHint("use linux/amd64 or linux/arm64")
	}
	return *p, nil
}

// cacheDir returns dir or its default. Without a home directory, as in some
// containers, it is a temporary one.
func cacheDir(dir string) string {
	if dir != "" {
		return dir
	}
	if user, err := os.UserCacheDir(); err == nil {
		return filepath.Join(user, "slipway")
	}
	return filepath.Join(os.TempDir(), "slipway-cache")
}

// inTar returns the name of an absolute path of the image as a layer has it.
func inTar(path string) string { return strings.TrimPrefix(path, "/") }
