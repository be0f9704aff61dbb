package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/rollout"
)

// rolloutFlags are what a rollout may do.
type rolloutFlags struct {
	Retry     bool `help:"Deploy a quarantined version all the same."`
	NoWayBack bool `help:"Go on although the image that serves now cannot be pulled any more."`
	MoveAlias bool `help:"After a rollback, point the alias back at the version that serves."`
	Create    bool `help:"Make namespace, Deployment and what belongs to it from slipway's own manifest, where the cluster has no such Deployment."`
}

type rolloutCommand struct {
	sourceFlags
	rolloutFlags
	handedFlags
}

// Run replaces what serves on the target; verify is the next step.
func (cmd rolloutCommand) Run(ctx context.Context, p *program) error {
	h := cmd.handover()
	j, err := p.resumeJourney(h, cmd.MLflow)
	if err != nil {
		return err
	}
	if err := j.needsTarget(); err != nil {
		return err
	}
	if err := j.keepReplicas(ctx); err != nil {
		return err
	}
	j.count(ctx)
	j.rolling = cmd.rolloutFlags
	for _, step := range []func(context.Context) error{j.find, j.create} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	out, err := j.driver().Rollout(ctx, j.ask(j.made))
	if waiting := mustBeProven(err, orElse(j.after, j.afterTarget)); !errors.Is(err, waiting) {
		return waiting
	}
	return j.finish(ctx, h, out, err)
}

// driver brings releases to the journey's target.
func (j *journey) driver() *rollout.Driver {
	return rollout.New(j.target, j.journal, j, rollout.Config{
		Target: j.targetText(), Environment: j.environment, Sink: j.relay,
		Holder: fmt.Sprintf("%s, pid %d", actor(j.getenv), os.Getpid()),
	})
}

// Verify asks the replicas for the driver, and remembers what they said.
func (j *journey) Verify(ctx context.Context, o slipway.Observation, r slipway.Release) slipway.Verdict {
	j.verdict = j.verifier.Verify(ctx, o, r)
	return j.verdict
}

// relay tells the driver's events; where it tells that all replicas were asked,
// with the figures.
func (j *journey) relay(e slipway.Event) {
	j.tellBegun(e)
	switch {
	case e.Kind == slipway.Succeeded && e.Step == "verify" && j.verdict.Passed:
		e.Message = checkedText(j.verdict)
	case e.Kind == slipway.Concluded && e.Outcome != nil:
		e.Message += ". " + j.cost(*e.Outcome)
	}
	j.story.tell(e)
}

// cost says how long the release took, and what it cost the target's clients.
func (j *journey) cost(r slipway.Release) string {
	text := seconds(r.Ended.Sub(r.Created))
	if j.before == nil {
		return text
	}
	now, err := j.stats(context.Background())
	if err != nil || now == nil {
		return text // it was told well already; this is no reason to fail
	}
	answered, lost := now.Answered-j.before.Answered, now.Lost-j.before.Lost
	if answered+lost > 0 && lost >= 0 {
		text += fmt.Sprintf(", %s of %s requests lost", thousands(lost), thousands(answered+lost))
	}
	return text
}

// ask is what the driver may ask back.
func (j *journey) ask(prepare func(context.Context, slipway.ModelVersion) (slipway.Release, error)) rollout.Ask {
	a := rollout.Ask{Resolve: j.resolveAgain, Prepare: prepare, Same: j.sameSettings, Promoted: j.ref.Moves(), Retry: j.rolling.Retry}
	if !j.rolling.NoWayBack {
		a.WayBack = j.wayBack
	}
	return a
}

// resolveAgain tells how the reference resolves the first time it is asked;
// the driver asks again once it has the lock.
func (j *journey) resolveAgain(ctx context.Context) (slipway.ModelVersion, error) {
	if j.release.Model.Version == "" {
		err := j.resolve(ctx)
		return j.release.Model, err
	}
	version, err := j.resolved(ctx)
	if err == nil {
		err = j.provenBefore(ctx, version)
	}
	if err == nil && version.Version == j.release.Model.Version {
		return j.release.Model, nil
	}
	return version, err
}

// made hands the driver the release that the steps before made. Another
// one cannot be made here.
func (j *journey) made(_ context.Context, version slipway.ModelVersion) (slipway.Release, error) {
	if version.Version != j.release.Model.Version {
		return j.release, slipway.Errorf(slipway.Superseded, "rolling out "+j.release.Model.String(), "%s points at %s now", j.ref.Promotion(), version).
			WithHint("start again with slipway extract")
	}
	return j.release, nil
}

// keepReplicas asks for as many replicas as serve, where nobody says how many.
func (j *journey) keepReplicas(ctx context.Context) error {
	if j.replicas > 0 || j.to.Scheme != "local" { // a cluster keeps count itself
		return nil
	}
	record, err := j.journal.Load(ctx)
	if err == nil && record.Live != nil {
		j.release.Replicas = record.Live.Replicas
	}
	return err
}

// find makes sure, before anything is built, that the cluster has the
// Deployment that the release is to change, or that it is to be made.
func (j *journey) find(ctx context.Context) error {
	if j.rolling.Create && j.cluster == nil {
		return usageError{usagef("--create makes a Deployment, and %s is none", j.targetText()).WithHint("leave out --create")}
	}
	if j.rolling.Create || j.cluster == nil {
		return nil
	}
	return j.cluster.Find(ctx)
}

// create makes the Deployment and all it needs, where it is missing.
func (j *journey) create(ctx context.Context) error {
	if !j.rolling.Create {
		return nil
	}
	if err := j.cluster.Find(ctx); slipway.CodeOf(err) != slipway.NotFound {
		return err
	}
	if err := j.cluster.Create(ctx); err != nil {
		return err
	}
	j.story.note("rollout", "made the Deployment %s in the namespace %s, and what belongs to it", j.to.Name, j.to.Namespace)
	return nil
}

// count notes what the target's clients had asked for before. Without it, the
// end of the release says less; that is all.
func (j *journey) count(ctx context.Context) {
	if before, err := j.stats(ctx); err == nil {
		j.before = before
	}
}

// sameSettings reports whether a live release of the version has what this one
// would give it.
func (j *journey) sameSettings(live slipway.Release) bool {
	return maps.Equal(live.Env, j.release.Env) && slices.Equal(live.SecretEnv, j.release.SecretEnv) &&
		live.Requests == j.release.Requests && live.Startup == j.release.Startup &&
		(j.replicas == 0 || j.replicas == live.Replicas)
}

// wayBack makes sure that a rollback could pull the image it needs, and keeps
// its golden predictions at hand, with which it would be verified.
func (j *journey) wayBack(ctx context.Context, previous slipway.Release) error {
	err := j.images.Check(ctx, previous.Image)
	if err == nil && j.goldens != nil {
		_, err = j.goldens(ctx, previous)
	}
	if err == nil {
		return nil
	}
	return (&slipway.Error{Op: "checking the way back to " + previous.Model.String(), Code: slipway.CodeOf(err),
		Message: "its image " + previous.Image.Ref() + " cannot be pulled", Err: err}).
		WithHint("push it again, or go on without a way back: --no-way-back")
}

// outcomeResult is how a release ended, on stdout.
type outcomeResult struct {
	Environment string `json:"environment,omitempty"`
	Target      string `json:"target"`
	rollout.Outcome
	Error string `json:"error,omitempty"`
	asked slipway.ModelRef
}

// finish keeps what became of the step's release for the next one, and says it.
func (j *journey) finish(ctx context.Context, h handover, out rollout.Outcome, err error) error {
	out.Release = j.ofThis(out.Release, err)
	j.settle(ctx, &out, err)
	if out.Release.ID != "" {
		if err := h.write(out.Release); err != nil {
			return err
		}
		j.handed = append(j.handed, handing{out.Release, h.write})
	}
	return j.say([]outcomeResult{j.outcome(out, err)}, endedAs(out, err))
}

func (j *journey) outcome(out rollout.Outcome, err error) outcomeResult {
	r := outcomeResult{Environment: j.environment, Target: j.targetText(), Outcome: out, asked: j.ref}
	if err != nil {
		r.Error = err.Error()
	}
	return r
}

// say prints outcomes and passes on how the command ends.
func (p *program) say(results []outcomeResult, err error) error {
	for _, r := range results {
		if told := p.concludedInCI(r.Outcome); told != nil {
			p.story.warn("record", "%v", told)
		}
		p.handed = append(p.handed, handing{r.Release, func(again slipway.Release) error { return p.outputs(again, string(r.Kind)) }})
	}
	printed := p.result(results, func(w io.Writer) {
		for _, r := range results {
			if r.Error != "" {
				continue
			}
			if len(results) > 1 {
				fmt.Fprintf(w, "%s\t", r.Environment)
			}
			fmt.Fprintln(w, r.text())
		}
	})
	if printed != nil {
		return printed
	}
	return err
}

// text is the image by digest where the release serves, else how it ended.
func (r outcomeResult) text() string {
	switch r.Kind {
	case rollout.Live, rollout.Nothing, rollout.Unverified:
		if r.Release.Image.Digest != "" {
			return r.Release.Image.Ref()
		}
	}
	return string(r.Kind)
}

// exitCodes of outcomes (design §4).
var exitCodes = map[rollout.Kind]int{
	rollout.Live: exitLive, rollout.Nothing: exitLive, rollout.Unverified: exitLive, rollout.Superseded: exitLive,
	rollout.Quarantined: exitLive, rollout.Held: exitLive, waits: exitLive, rollout.Resumed: exitLive,
	rollout.Failed: exitFailed, rollout.RolledBack: exitRolledBack, rollout.Removed: exitFailed,
	rollout.NeedsPerson: exitNeedsPerson, rollout.Unfinished: exitNeedsPerson,
}

// endedAs turns an outcome into how the command ends.
func endedAs(out rollout.Outcome, err error) error {
	var wrong usageError
	var e ended
	switch {
	case asError(err, &wrong), asError(err, &e):
		return err
	case out.Interrupted && out.Kind == rollout.Failed:
		return errInterrupted // nothing was changed
	case out.Interrupted:
		return ended{code: exitInterrupted, cause: err}
	case exitCodes[out.Kind] == exitLive && err == nil:
		return nil
	}
	return ended{code: exitCodes[out.Kind], cause: err}
}
