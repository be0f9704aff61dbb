package main

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlflow"
)

// examinedModels is what a model registry is asked.
type examinedModels interface {
	URI() string
	Probe(context.Context) (mlflow.Probed, error)
	Resolve(context.Context, slipway.ModelRef) (mlflow.Version, error)
	SearchVersions(ctx context.Context, filter string) ([]mlflow.Version, error)
	MayTag(context.Context, slipway.ModelVersion) error
	Webhooks(context.Context) ([]mlflow.Webhook, error)
	TestWebhook(context.Context, mlflow.Webhook) error
}

// models looks at the model registry, at each model in it, and at its webhooks.
func (d *doctor) models(ctx context.Context) []finding {
	if !d.needsModels() {
		return []finding{skip("MLflow", "", "not needed: the models are directories")}
	}
	if d.named() == "" {
		return unasked("no model registry is named", "", "MLflow", "model", "webhook")
	}
	open, err := d.open()
	if err != nil {
		return append([]finding{failed("MLflow", "", err)}, unasked("MLflow's settings are wrong", "", "model", "webhook")...)
	}
	registry, ok := open.(examinedModels)
	if !ok {
		return nil
	}
	probed, err := registry.Probe(ctx)
	if err != nil {
		return append([]finding{failed("MLflow", registry.URI(), err)}, unasked("MLflow does not let us in", "", "model", "webhook")...)
	}
	d.read("MLflow", probed.Time)
	found := []finding{good("MLflow", registry.URI(), "%s", orElse(probed.Version, "it answers"))}
	return append(append(found, d.eachModel(ctx, registry)...), d.webhooks(ctx, registry)...)
}

func (d *doctor) open() (modelRegistry, error) {
	world, err := d.registries()
	if err != nil {
		return nil, err
	}
	return world.models()
}

func (d *doctor) eachModel(ctx context.Context, registry examinedModels) []finding {
	var found []finding
	var seen []slipway.ModelRef
	for _, s := range d.releases {
		if s.ref.Name == "" || slices.Contains(seen, s.ref) {
			continue
		}
		seen = append(seen, s.ref)
		found = append(found, model(ctx, registry, s.ref))
	}
	if len(found) == 0 {
		return []finding{skip("model", "", "none is named: slipway doctor models:/NAME@ALIAS")}
	}
	return found
}

// model looks whether we may read the model and tag its versions. A tag says
// there what became of a release.
func model(ctx context.Context, registry examinedModels, ref slipway.ModelRef) finding {
	promoted, err := registry.Resolve(ctx, ref)
	if slipway.CodeOf(err) == slipway.NotFound && ref.Moves() {
		return nothingYet(ctx, registry, ref, err)
	}
	if err != nil {
		return failed("model", ref.String(), err)
	}
	if err := registry.MayTag(ctx, promoted.ModelVersion); err != nil {
		return untagged(ref, promoted, err)
	}
	return good("model", ref.String(), "%s; may read and tag", promoted)
}

// nothingYet looks at a model of which nothing is promoted: no failure, if
// there is such a model. It is tried on the newest version.
func nothingYet(ctx context.Context, registry examinedModels, ref slipway.ModelRef, err error) finding {
	versions, lookup := registry.SearchVersions(ctx, mlflow.NameFilter(ref.Name))
	if lookup != nil {
		return failed("model", ref.String(), lookup)
	}
	if len(versions) == 0 { // a name that is misspelt has none, either
		return failed("model", ref.String(), err)
	}
	if refused := registry.MayTag(ctx, versions[0].ModelVersion); refused != nil {
		return untagged(ref, versions[0], refused)
	}
	f := failed("model", ref.String(), err).tolerable()
	f.Found = "nothing is promoted yet; may read and tag"
	return f
}

func untagged(ref slipway.ModelRef, v mlflow.Version, err error) finding {
	f := failed("model", ref.String(), err)
	f.Found = v.String() + " may be read, but not tagged: " + f.Found
	return f
}

const (
	polled   = "the workflow's schedule finds promotions without one"
	byItself = "let the schedule of the workflow or pipeline ask MLflow, which needs no webhook"
)

// webhooks looks whether the model registry's webhooks can do anything. A
// release needs none: what is promoted is also found by asking.
func (d *doctor) webhooks(ctx context.Context, registry examinedModels) []finding {
	hooks, err := registry.Webhooks(ctx)
	switch slipway.CodeOf(err) {
	case "":
	case slipway.Unauthorized:
		return []finding{skip("webhook", "", "not known: only MLflow's admins may see webhooks; %s", polled)}
	case slipway.Invalid:
		return []finding{skip("webhook", "", "this MLflow has none; %s", polled)}
	default:
		return []finding{failed("webhook", "", err)}
	}
	var found []finding
	for _, hook := range hooks {
		if hook.Hears() {
			found = append(found, webhook(ctx, registry, hook))
		}
	}
	if len(found) == 0 {
		found = []finding{note("webhook", "", "", "none hears of promotions; %s", polled)}
	}
	if d.hasStages() {
		found = append(found, note("webhook", "", "", "MLflow sends nothing when a stage changes; %s", polled))
	}
	return found
}

func (d *doctor) hasStages() bool {
	return slices.ContainsFunc(d.releases, func(s settings) bool { return s.ref.Stage != "" })
}

// webhook looks at one of them. Its whole URL is not shown: it may hold a
// secret. Only one of ours is tested: others' receivers take a test for real.
func webhook(ctx context.Context, registry examinedModels, hook mlflow.Webhook) finding {
	const check = "webhook"
	to, err := url.Parse(hook.URL)
	switch {
	case err != nil || to.Host == "":
		return bad(check, hook.Name, "mend its URL in MLflow", "its URL names no host")
	case !hook.Active:
		return note(check, hook.Name, "enable it in MLflow", "it is switched off; %s", polled)
	case cannotHear(to) != "":
		return bad(check, hook.Name, byItself, "%s cannot take it: %s", to.Host, cannotHear(to))
	case !strings.HasPrefix(hook.Name, "slipway"):
		return skip(check, hook.Name, "to %s; not tested: only those called slipway… are, for a test looks real to a receiver", to.Host)
	case ctx.Err() != nil:
		return skip(check, hook.Name, "not checked: %v", context.Cause(ctx))
	}
	if err := registry.TestWebhook(ctx, hook); err != nil {
		return failed(check, hook.Name, err)
	}
	return good(check, hook.Name, "a test event arrived at %s", to.Host)
}
