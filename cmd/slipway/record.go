package main

import (
	"context"
	"strings"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlflow"
	"github.com/slipway-dev/slipway/rollout"
)

// recordLimit is how long the model registry may take to be told.
const recordLimit = 10 * time.Second

// The tags of a model version in MLflow. An empty value means: not so any more.
const (
	tagStatus  = "slipway.status"
	tagImage   = "slipway.image"
	tagTarget  = "slipway.target"
	tagRelease = "slipway.release"
	tagReason  = "slipway.reason"
)

// reasonLimit bounds the reason's tag, in bytes.
const reasonLimit = 1000

// record tells the model registry how the release ended, by tags of its
// version. It never fails a release: what goes wrong is a warning.
func (j *journey) record(ctx context.Context, out rollout.Outcome) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordLimit)
	defer cancel()
	switch r := out.Recovered; {
	case r != nil && (r.ID != out.Release.ID || out.Kind == rollout.Nothing):
		j.recordEnd(ctx, *r, endedKinds[r.Phase], "")
	case out.Kind == rollout.Nothing && out.Serving != nil:
		j.correct(ctx, *out.Serving)
	}
	if j.ref.Path != "" || isDirectory(out.Release.Model) || out.Release.Model.Version == "" {
		return
	}
	for _, r := range out.Overtaken {
		j.tag(ctx, r, "superseded", "a newer version was promoted")
	}
	j.recordEnd(ctx, out.Release, out.Kind, out.Message)
	if out.Kind == rollout.RolledBack && j.rolling.MoveAlias {
		j.moveAlias(ctx, out)
	}
}

// endedKinds are the outcomes of releases that this run found and ended.
var endedKinds = map[slipway.Phase]rollout.Kind{
	slipway.Verified: rollout.Live, slipway.RolledBack: rollout.RolledBack, slipway.Removed: rollout.Removed,
	slipway.Broken: rollout.NeedsPerson, slipway.Refused: rollout.Failed, slipway.Overtaken: rollout.Superseded,
}

// recordEnd marks the version of a release that has ended.
func (j *journey) recordEnd(ctx context.Context, r slipway.Release, kind rollout.Kind, message string) {
	if isDirectory(r.Model) {
		return
	}
	switch kind {
	case rollout.Live:
		j.retire(ctx, r) // first: from the last tag of what is live, correct sees that all was told
		j.sweep(ctx, r)
		j.tag(ctx, r, "live", "")
	case rollout.Failed, rollout.RolledBack, rollout.Removed, rollout.NeedsPerson, rollout.Superseded:
		j.tag(ctx, r, string(kind), orElse(failureReason(r), message))
	}
}

// correct marks what serves, where a run that died had not come to it. Tags
// that another target set are left alone.
func (j *journey) correct(ctx context.Context, serving slipway.Release) {
	if isDirectory(serving.Model) {
		return
	}
	registry, err := j.models()
	if err != nil {
		return // recover needs no model registry when it has nothing to do
	}
	version, err := registry.Resolve(ctx, slipway.ModelRef{Name: serving.Model.Name, Version: serving.Model.Version})
	if err != nil {
		j.story.warn("record", "%s cannot be looked up in the model registry: %v", serving.Model, err)
		return
	}
	told := version.Tags[tagStatus] == "live" && version.Tags[tagRelease] == string(serving.ID)
	if !told && (version.Tags[tagTarget] == "" || version.Tags[tagTarget] == serving.Target) {
		j.recordEnd(ctx, j.withPrevious(ctx, serving), rollout.Live, "")
	}
}

// withPrevious adds what the release replaced, which only the history keeps.
func (j *journey) withPrevious(ctx context.Context, r slipway.Release) slipway.Release {
	record, err := j.journal.Load(ctx)
	if err != nil {
		return r
	}
	for _, h := range record.History {
		if h.ID == r.ID {
			r.Previous = h.Previous
		}
	}
	return r
}

func isDirectory(m slipway.ModelVersion) bool { return strings.HasPrefix(string(m.Version), "sha-") }

func failureReason(r slipway.Release) string {
	if r.Failure == nil {
		return ""
	}
	return r.Failure.Problem.Message
}

// retire marks the version that served before.
func (j *journey) retire(ctx context.Context, r slipway.Release) {
	before := r.Previous
	if before == nil || isDirectory(before.Model) || before.Model.Name != r.Model.Name || before.Model.Version == r.Model.Version {
		return
	}
	status := "replaced"
	if r.Undoes != "" {
		status = "rolled-back"
	}
	replaced := *before
	replaced.Target = r.Target // the history keeps less of it
	j.tag(ctx, replaced, status, r.Model.String()+" serves instead: "+r.Reason)
}

// sweep marks versions that still are called live on the target, although the
// release serves: the run that should have told so had died.
func (j *journey) sweep(ctx context.Context, r slipway.Release) {
	registry, err := j.models()
	var called []mlflow.Version
	if err == nil {
		called, err = registry.SearchVersions(ctx, mlflow.NameFilter(r.Model.Name)+" and tags.`"+tagStatus+"` = 'live'")
	}
	if err != nil {
		j.story.warn("record", "what else is called live in the model registry is not known: %v", err)
	}
	for _, v := range called {
		if v.Tags[tagTarget] == r.Target && v.Version != r.Model.Version {
			stale := slipway.Release{ID: slipway.ReleaseID(v.Tags[tagRelease]), Model: v.ModelVersion, Target: r.Target}
			j.tag(ctx, stale, "replaced", r.Model.String()+" serves instead")
		}
	}
}

func (j *journey) tag(ctx context.Context, r slipway.Release, status, reason string) {
	registry, err := j.models()
	tags := []struct{ key, value string }{{tagTarget, r.Target}, {tagReason, clip(reason, reasonLimit)}}
	if r.Image.Digest != "" {
		tags = append(tags, struct{ key, value string }{tagImage, r.Image.Ref()})
	}
	tags = append(tags, []struct{ key, value string }{{tagRelease, string(r.ID)}, {tagStatus, status}}...)
	for _, t := range tags {
		if err == nil {
			err = registry.SetTag(ctx, r.Model.Name, r.Model.Version, t.key, t.value)
		}
	}
	if err != nil {
		j.story.warn("record", "%s is not marked %s in the model registry: %v", r.Model, status, err)
	}
}

// moveAlias points the alias back at what serves, unless somebody moved it.
func (j *journey) moveAlias(ctx context.Context, out rollout.Outcome) {
	if j.ref.Alias == "" || out.Serving == nil || out.Serving.Model.Name != out.Release.Model.Name {
		return
	}
	registry, err := j.models()
	if err == nil {
		var now slipway.ModelVersion
		if now, err = j.resolved(ctx); err == nil && now.Version != out.Release.Model.Version {
			return
		}
	}
	if err == nil {
		err = registry.SetAlias(ctx, out.Serving.Model.Name, j.ref.Alias, out.Serving.Model.Version)
	}
	if err != nil {
		j.story.warn("record", "@%s was not moved back: %v", j.ref.Alias, err)
		return
	}
	j.story.note("record", "@%s points at %s again", j.ref.Alias, out.Serving.Model)
}

// clip cuts text to at most n bytes, between characters.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-len("…")], "") + "…"
}
