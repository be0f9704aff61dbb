package main

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"os/user"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/docker"
	"github.com/slipway-dev/slipway/local/proxy"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/rollout"
	"github.com/slipway-dev/slipway/serving"
)

// journey takes one release along the way of design §5:
//
//	resolve → validate → build → push → rollout → verify → record
//
// Each step is a method in the file of the command that runs it alone. What a
// step finds goes into release (and work), so that another process can go on.
type journey struct {
	*program
	*ports
	settings
	checks  checkFlags
	making  buildFlags
	rolling rolloutFlags

	release slipway.Release
	work    work
	golden  mlmodel.Golden

	model        *mlmodel.Model       // open after validate
	engine       engineFlags          // what may serve it
	predictor    serving.Predictor    // of the native engine; nil: it cannot serve the model as it is stored
	notNative    error                // why
	library      *library             // that made the model, while the image is built; nil: it is not at work
	packages     map[string]*packages // by platform
	notLocked    map[string]error     // why they cannot be, by platform
	saidUnlocked bool                 // that docker installs them without a lock
	builder      *docker.Client       // that makes the image; nil: slipway itself does
	scratchDir   string               // of files that only this run needs
	scratchLock  *os.File             // says that this run does; nil: it is kept for the next step
	built        []v1.Image           // one a platform
	verdict      slipway.Verdict      // the last one
	before       *proxy.Stats         // of the target, as the rollout began; nil: not known
	onBuilt      func()               // called when the golden predictions are known; may be nil
}

// begin returns a journey at its start: a new release of nothing yet.
func (p *program) begin(s settings) (*journey, error) {
	world, err := p.connect(s)
	if err != nil {
		return nil, err
	}
	p.mask(s.secretEnv)
	now := time.Now().UTC()
	id, err := slipway.NewReleaseID(now, rand.Reader)
	if err != nil {
		return nil, err
	}
	j := &journey{program: p, ports: world, settings: s}
	j.release = slipway.Release{
		SchemaVersion: slipway.RecordSchema, ID: id, Created: now, Phase: slipway.Resolving,
		Asked: s.ref.String(), Environment: s.environment, Target: s.targetText(),
		After: s.afterTarget, Strategy: slipway.Rolling(), Replicas: s.replicas,
		Env: s.env, SecretEnv: s.secretEnv, Requests: s.requests, Startup: s.startup,
		Actor: actor(p.getenv), RunURL: runURL(p.getenv), Reason: orElse(s.reason, promoted(s.ref)),
		Image: slipway.Image{Repository: s.image},
	}
	return j, nil
}

func (s settings) targetText() string {
	if s.to.Scheme == "" {
		return ""
	}
	return s.to.String()
}

// promoted is why a release was started when nobody says otherwise.
func promoted(ref slipway.ModelRef) string {
	if ref.Moves() {
		return ref.Promotion() + " points at it"
	}
	return "asked for as " + ref.Promotion()
}

// actor says who started the release, for people.
func actor(getenv func(string) string) string {
	switch {
	case getenv("GITHUB_RUN_NUMBER") != "":
		return "github run " + getenv("GITHUB_RUN_NUMBER")
	case getenv("BUILD_BUILDNUMBER") != "":
		return "azure run " + getenv("BUILD_BUILDNUMBER")
	}
	name := orElse(getenv("USER"), getenv("LOGNAME"))
	if current, err := user.Current(); name == "" && err == nil {
		name = current.Username
	}
	host, err := os.Hostname()
	if err != nil {
		return name
	}
	return name + "@" + host
}

// runURL is where the CI run can be looked at.
func runURL(getenv func(string) string) string {
	switch {
	case getenv("GITHUB_RUN_ID") != "":
		return getenv("GITHUB_SERVER_URL") + "/" + getenv("GITHUB_REPOSITORY") + "/actions/runs/" + getenv("GITHUB_RUN_ID")
	case getenv("BUILD_BUILDID") != "":
		return getenv("SYSTEM_COLLECTIONURI") + getenv("SYSTEM_TEAMPROJECT") + "/_build/results?buildId=" + getenv("BUILD_BUILDID")
	}
	return ""
}

// outcome is what a step that went well says: a line for people, then lines
// for those who grep.
type outcome struct {
	message    string
	indicators []string
}

// step runs one step, tells how it went and notes its time in the release.
func (j *journey) step(ctx context.Context, name string, phase slipway.Phase, do func(context.Context) (outcome, error)) error {
	start := time.Now()
	j.release.Phase = phase
	j.tell(slipway.Event{Kind: slipway.Started, Step: name})
	said, err := do(ctx)
	j.release.Spans = append(j.release.Spans, slipway.Span{Step: name, Start: start.UTC(), Duration: time.Since(start), Detail: said.message})
	if err != nil {
		return j.stopped(name, err)
	}
	e := slipway.Event{Kind: slipway.Succeeded, Step: name, Message: said.message}
	for _, e.Indicator = range said.indicators {
		j.tell(e)
		e = slipway.Event{Kind: slipway.Note, Step: name}
	}
	if len(said.indicators) == 0 {
		j.tell(e)
	}
	return nil
}

// stopped notes why a step before the rollout failed: nothing was changed.
func (j *journey) stopped(name string, err error) error {
	var e ended
	if errors.As(err, &e) && e.code == exitLive {
		j.tell(slipway.Event{Kind: slipway.Succeeded, Step: name})
		return err
	}
	head, reason := what(err)
	problem := slipway.Problem{Kind: string(slipway.CodeOf(err)), Message: head, Evidence: reason, Hint: slipway.HintOf(err)}
	j.release.Phase, j.release.Ended = slipway.Refused, time.Now().UTC()
	j.release.Failure = &slipway.Failure{Step: name, Code: slipway.CodeOf(err), Problem: problem}
	j.tell(slipway.Event{Kind: slipway.Stopped, Step: name, Message: head, Problem: &slipway.Problem{Kind: problem.Kind, Message: head}})
	if told := j.outputs(j.release, string(rollout.Failed)); told != nil {
		j.story.warn(name, "%v", told)
	}
	return err
}

// tell adds to an event which release it is about.
func (j *journey) tell(e slipway.Event) {
	e.At, e.Release, e.Environment = time.Now(), j.release.ID, j.release.Environment
	j.story.tell(e)
}
