package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

// releaseFlag names the file that steps hand on.
type releaseFlag struct {
	Release string `default:"release.json" placeholder:"FILE" help:"The file that the steps hand on; build and push need FILE.d beside it too, rollout and verify FILE alone."`
}

// handedFlags name what an earlier step left.
type handedFlags struct {
	releaseFlag
	Handover string `placeholder:"TEXT" help:"release.json as a job on another machine handed it on, in the output handover of its step; written where the file is not there or is of another release."`
}

func (f handedFlags) handover() handover { return handover{path: f.Release, handed: f.Handover} }

type extractCommand struct {
	modelFlags
	placeFlags
	releaseFlag
}

// Run resolves the reference and begins release.json.
func (cmd extractCommand) Run(ctx context.Context, p *program, c *cli) error {
	s, err := cmd.only(p, c)
	if err != nil {
		return err
	}
	j, err := p.begin(s)
	if err != nil {
		return err
	}
	if err := j.resolve(ctx); err != nil {
		return mustBeProven(err, j.after)
	}
	h := handover{path: cmd.Release}
	if err := h.clear(); err != nil {
		return err
	}
	return j.handOn(h)
}

// only is choose for commands that make one release a time.
func (cmd extractCommand) only(p *program, c *cli) (settings, error) {
	file, err := readConfig(c.Config)
	if err != nil {
		return settings{}, err
	}
	all, err := choose(cmd.modelFlags, cmd.placeFlags, file, p.getenv)
	if err != nil {
		return settings{}, err
	}
	if len(all) > 1 {
		return settings{}, usageError{usagef("%s names %d releases, and this command makes one", file.path, len(all)).
			WithHint("name the model, and its environment with --environment")}
	}
	return all[0], nil
}

// handOn writes what the next step needs and prints the release.
func (j *journey) handOn(h handover) error {
	if err := h.write(j.release); err != nil {
		return err
	}
	if err := j.outputs(j.release, ""); err != nil {
		return err
	}
	return j.result(j.release, func(w io.Writer) { fmt.Fprintln(w, resultText(j.release)) })
}

// resultText is the one line a command leaves on stdout: the image by digest
// once there is one, before that the model version.
func resultText(r slipway.Release) string {
	if r.Image.Digest != "" && r.Image.Repository != "" {
		return r.Image.Ref()
	}
	if r.Image.Digest != "" {
		return string(r.Image.Digest)
	}
	return r.Model.String()
}

// resolve finds the version that the reference points at.
func (j *journey) resolve(ctx context.Context) error {
	return j.step(ctx, "resolve", slipway.Resolving, func(ctx context.Context) (outcome, error) {
		version, err := j.resolved(ctx)
		if err != nil {
			return outcome{}, j.nothingPromoted(ctx, err)
		}
		if err := j.provenBefore(ctx, version); err != nil {
			return outcome{}, err
		}
		j.release.Model = version
		return outcome{message: fmt.Sprintf("%s ← %s", version, j.ref.Promotion())}, nil
	})
}

// resolved asks the model registry, or looks into the directory.
func (j *journey) resolved(ctx context.Context) (slipway.ModelVersion, error) {
	if j.ref.Path != "" {
		return directoryVersion(j.ref.Path, j.name)
	}
	registry, err := j.models()
	if err != nil {
		return slipway.ModelVersion{}, err
	}
	version, err := registry.Resolve(ctx, j.ref)
	return version.ModelVersion, err
}

// directoryVersion names a model directory after its files.
func directoryVersion(dir string, name slipway.ModelName) (slipway.ModelVersion, error) {
	if _, err := mlmodel.Open(dir); err != nil {
		return slipway.ModelVersion{}, err
	}
	files, err := mlmodel.Inventory(dir)
	if err != nil {
		return slipway.ModelVersion{}, err
	}
	digest := mlmodel.DigestFiles(files)
	hex := strings.TrimPrefix(string(digest), "sha256:")
	return slipway.ModelVersion{Name: name, Version: slipway.Version("sha-" + hex[:12]), Files: digest}, nil
}

// nothingPromoted makes a missing promotion a warning where something serves
// already: what serves goes on, unless --strict.
func (j *journey) nothingPromoted(ctx context.Context, err error) error {
	var e ended
	if errors.As(err, &e) || slipway.CodeOf(err) != slipway.NotFound || !j.ref.Moves() || j.strict || j.journal == nil {
		return err
	}
	record, loadErr := j.journal.Load(ctx)
	if loadErr != nil || record.Live == nil {
		return err
	}
	head, reason := what(err)
	left := notPromoted{head + orNothing(": ", reason), record.Live}
	j.story.warn("resolve", "%s", left)
	return ended{code: exitLive, cause: left}
}

// notPromoted is that nothing is promoted while something serves: no failure.
type notPromoted struct {
	why     string
	serving *slipway.Release
}

func (n notPromoted) Error() string {
	return n.why + "; " + n.serving.Model.String() + " goes on serving"
}
