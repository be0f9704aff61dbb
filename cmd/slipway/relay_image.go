package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/crypto/x509roots/fallback/bundle"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/pack"
)

type relayImageCommand struct {
	Image   string `arg:"" placeholder:"HOST/PATH" help:"Repository in the image registry, and maybe :TAG; the tag is this program's version by default."`
	Program string `type:"path" placeholder:"FILE" help:"The slipway that the image runs: a static one for Linux, of whose platform the image is. By default this very program."`
}

// imageProgram and imageRoots are where the image has the program, and where Go
// looks for the authorities of certificates.
const (
	imageProgram = "/slipway"
	imageRoots   = "/etc/ssl/certs/ca-certificates.crt"
)

// Run makes the image, pushes it and names it by digest.
func (cmd relayImageCommand) Run(ctx context.Context, p *program) error {
	repository, tag := splitTag(cmd.Image)
	file, err := cmd.program()
	if err != nil {
		return err
	}
	world := p.wireRegistries(settings{})
	image, err := pack.ProgramImage(ctx, pack.Program{
		File: file, At: imageProgram, CacheDir: world.cacheDir, Files: map[string][]byte{imageRoots: authorities()},
		Labels: map[string]string{"org.opencontainers.image.title": "slipway", "org.opencontainers.image.version": programVersion()},
	})
	if err != nil {
		return usageOr(err)
	}
	pushed, err := world.images.Push(ctx, repository, image, []string{orElse(tag, tagOfVersion())}, p.story.progress("push"))
	if err != nil {
		return err
	}
	if pushed.TagProblem != nil {
		p.story.warn("push", "%v; name the image by its digest", pushed.TagProblem)
	}
	return p.result(pushed.Image, func(w io.Writer) {
		fmt.Fprintf(w, "%s\nuse it: kubectl -n slipway set image deployment/relay relay=%[1]s\n", pushed.Image.Ref())
	})
}

func (cmd relayImageCommand) program() (string, error) {
	if cmd.Program != "" {
		return cmd.Program, nil
	}
	self, err := os.Executable()
	if err != nil {
		return "", &slipway.Error{Op: "finding this program", Code: slipway.Internal, Err: err}
	}
	return self, nil
}

// splitTag takes HOST:PORT/PATH:TAG apart; "" where there is no tag.
func splitTag(image string) (repository, tag string) {
	if i := strings.LastIndexByte(image, ':'); i > strings.LastIndexByte(image, '/') {
		return image[:i], image[i+1:]
	}
	return image, ""
}

// tagOfVersion is this program's version as a tag: without the + of a build
// that is no release (semver 2.0, 10).
func tagOfVersion() string {
	return strings.NewReplacer("+", "-", "(", "", ")", "").Replace(programVersion())
}

// authorities are the roots that Mozilla trusts for servers, in PEM. Some are
// trusted within limits that PEM cannot say: they are left out.
func authorities() []byte {
	var roots bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			_ = pem.Encode(&roots, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // a Buffer's Write never fails
		}
	}
	return roots.Bytes()
}
