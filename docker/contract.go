package docker

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

// Contract is what an image must have, whoever wrote its Dockerfile.
type Contract struct {
	Files     []mlmodel.File            // of the model; see mlmodel.Inventory
	Server    slipway.Digest            // of the model server
	Release   map[string]slipway.Digest // of files of mlmodel.ImageReleaseDir
	Converted slipway.Digest            // of mlmodel.ConvertedFile; "": there is none
}

const contractOp = "checking what the Dockerfile made"

// settings are what an image says of how it is run.
type settings struct {
	User       string
	Entrypoint []string
	Cmd        []string
	Env        []string
}

// Inspect compares the image with the contract: how it is run, the model, the
// model server and what it says of the release. The image is not started. Code
// Invalid: something is not as it must be, and which line of a Dockerfile does it.
func (c *Client) Inspect(ctx context.Context, image Image, want Contract) error {
	text, err := c.ask(ctx, contractOp, "image", "inspect", "--format", "{{json .Config}}", image.Name)
	if err != nil {
		return err
	}
	var s settings
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return &slipway.Error{Op: contractOp, Code: slipway.Internal, Message: "docker's account of the image cannot be read", Err: err}
	}
	if err := s.check(); err != nil {
		return err
	}
	name := newName(containerPrefix, time.Now().Add(leftover)) // it is never started
	defer c.removeContainer(ctx, name)
	if err := c.create(ctx, image, name, Limits{}); err != nil {
		return err
	}
	model, err := c.files(ctx, name, mlmodel.ImageModelDir)
	if err != nil {
		return err
	}
	server, err := c.files(ctx, name, mlmodel.ImageServer)
	if err != nil {
		return err
	}
	return errors.Join(want.checkModel(model), want.checkServer(server))
}

func (s settings) check() error {
	user := fmt.Sprint(mlmodel.User)
	switch {
	case s.User != user && s.User != user+":"+user:
		return wrong("it runs as user %q", orNobody(s.User)).WithHint("USER %s:%s at the end of the Dockerfile", user, user)
	case !slices.Equal(s.Entrypoint, []string{mlmodel.ImageServer}):
		return wrong("it starts %q", strings.Join(s.Entrypoint, " ")).WithHint(`ENTRYPOINT ["%s"] at the end of the Dockerfile`, mlmodel.ImageServer)
	case len(s.Cmd) > 0:
		return wrong("it has the arguments %q for its model server", short(strings.Join(s.Cmd, " "), 200)).WithHint("CMD [] at the end of the Dockerfile")
	}
	for name, value := range map[string]string{"SLIPWAY_MODEL": mlmodel.ImageModelDir, "SLIPWAY_ADDR": fmt.Sprintf(":%d", mlmodel.Port)} {
		if got := variable(s.Env, name); got != "" && got != value {
			return wrong("it sets %s=%s", name, short(got, 200)).WithHint("leave the variable out of the Dockerfile")
		}
	}
	return nil
}

func orNobody(user string) string {
	if user == "" {
		return "root"
	}
	return user
}

func wrong(format string, args ...any) *slipway.Error {
	return slipway.Errorf(slipway.Invalid, contractOp, format, args...)
}

// found is a file of an image.
type found struct {
	digest     slipway.Digest
	executable bool
}

// checkModel looks at all below mlmodel.ImageModelDir.
func (want Contract) checkModel(got map[string]found) error {
	hint := fmt.Sprintf("COPY %s %s", inContext(ContextModel), mlmodel.ImageModelDir)
	seen := map[string]bool{}
	for _, f := range want.Files {
		seen[f.Path] = true
		have, ok := got[f.Path]
		switch {
		case !ok:
			return wrong("%s has no file %s of the model", mlmodel.ImageModelDir, short(f.Path, 200)).WithHint("%s", hint)
		case have.digest != f.SHA256:
			return wrong("%s/%s is another file than the model's", mlmodel.ImageModelDir, short(f.Path, 200)).WithHint("%s", hint)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if !seen[name] && !strings.HasPrefix(name, mlmodel.ReleaseDir+"/") {
			return wrong("%s/%s is no file of the model", mlmodel.ImageModelDir, short(name, 200)).WithHint("put it somewhere else than below %s", mlmodel.ImageModelDir)
		}
	}
	return want.checkRelease(got)
}

func (want Contract) checkRelease(got map[string]found) error {
	hint := fmt.Sprintf("COPY %s %s, as the last of all", inContext(ContextRelease), mlmodel.ImageReleaseDir)
	for _, name := range slices.Sorted(maps.Keys(want.Release)) {
		have, ok := got[mlmodel.ReleaseDir+"/"+name]
		switch {
		case !ok:
			return wrong("there is no %s/%s", mlmodel.ImageReleaseDir, name).WithHint("%s", hint)
		case have.digest != want.Release[name]:
			return wrong("%s/%s is not of this release", mlmodel.ImageReleaseDir, name).WithHint("%s", hint)
		}
	}
	if got[mlmodel.ReleaseDir+"/"+mlmodel.ConvertedFile].digest != want.Converted {
		return wrong("%s/%s is not the converted model", mlmodel.ImageReleaseDir, mlmodel.ConvertedFile).WithHint("%s", hint)
	}
	return nil
}

func (want Contract) checkServer(got map[string]found) error {
	hint := fmt.Sprintf("COPY %s %s", inContext(ContextServer), mlmodel.ImageServer)
	server, ok := got[""]
	switch {
	case !ok:
		return wrong("there is no model server at %s", mlmodel.ImageServer).WithHint("%s", hint)
	case server.digest != want.Server:
		return wrong("%s is another model server than this slipway's", mlmodel.ImageServer).WithHint("%s", hint)
	case !server.executable:
		return wrong("%s may not be run", mlmodel.ImageServer).WithHint("%s, without chmod", hint)
	}
	return nil
}

// maxFiles bounds what is looked at in an image.
const maxFiles = 100000

// files are the regular files at or below a path of a container, by their path
// below it. A path that is not there has none.
func (c *Client) files(ctx context.Context, container, at string) (map[string]found, error) {
	all := map[string]found{}
	err := c.stream(ctx, contractOp, func(r io.Reader) error { return readFiles(r, path.Base(at), all) }, "cp", container+":"+at, "-")
	if err != nil && ctx.Err() == nil && notThere(err) {
		return nil, nil
	}
	return all, err
}

// notThere: docker cp was asked for a path that a container does not have. An
// engine that is gone says the same words of its socket.
func notThere(err error) bool {
	if slipway.CodeOf(err) == slipway.Unavailable {
		return false
	}
	return strings.Contains(err.Error(), "Could not find the file") || strings.Contains(err.Error(), "no such file or directory") || strings.Contains(err.Error(), "No such container:path")
}

func readFiles(r io.Reader, base string, all map[string]found) error {
	archive := tar.NewReader(r)
	for len(all) <= maxFiles {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(strings.TrimPrefix(path.Clean(h.Name), base), "/")
		if h.Typeflag != tar.TypeReg {
			if h.Typeflag != tar.TypeDir {
				all[name] = found{} // a link: whatever it leads to, it is no file of the model
			}
			continue
		}
		digest := sha256.New()
		if _, err := io.Copy(digest, archive); err != nil {
			return err
		}
		all[name] = found{slipway.Digest(sumOf(digest)), h.Mode&0o111 == 0o111}
	}
	return slipway.Errorf(slipway.Exhausted, contractOp, "%s holds more than %d files", base, maxFiles)
}

// stream runs docker and has read read what it prints, to the end.
func (c *Client) stream(ctx context.Context, op string, read func(io.Reader) error, args ...string) error {
	cmd := c.command(ctx, args...)
	said := &told{}
	cmd.Stderr = said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return &slipway.Error{Op: op, Code: slipway.Internal, Err: err}
	}
	if err := cmd.Start(); err != nil {
		return c.ended(ctx, op, cmd, err, said)
	}
	readErr := read(out)
	_, drainErr := io.Copy(io.Discard, out)
	if err := c.ended(ctx, op, cmd, cmd.Wait(), said); err != nil {
		return err
	}
	return errors.Join(readErr, drainErr)
}
