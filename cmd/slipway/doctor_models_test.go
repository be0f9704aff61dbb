package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlflow"
)

// fakeModels is a model registry.
type fakeModels struct {
	resolve  error
	versions []mlflow.Version
	lookup   error
	tag      error
	hooks    []mlflow.Webhook
	listing  error
	test     error
	tested   []string
}

func (f *fakeModels) URI() string                                  { return "https://mlflow.example" }
func (f *fakeModels) Probe(context.Context) (mlflow.Probed, error) { return mlflow.Probed{}, nil }
func (f *fakeModels) Resolve(context.Context, slipway.ModelRef) (mlflow.Version, error) {
	return mlflow.Version{ModelVersion: slipway.ModelVersion{Name: "iris", Version: "3"}}, f.resolve
}
func (f *fakeModels) SearchVersions(context.Context, string) ([]mlflow.Version, error) {
	return f.versions, f.lookup
}
func (f *fakeModels) MayTag(context.Context, slipway.ModelVersion) error { return f.tag }
func (f *fakeModels) Webhooks(context.Context) ([]mlflow.Webhook, error) { return f.hooks, f.listing }
func (f *fakeModels) TestWebhook(_ context.Context, w mlflow.Webhook) error {
	f.tested = append(f.tested, w.Name)
	return f.test
}

func TestDoctorModel(t *testing.T) {
	t.Parallel()
	absent := slipway.Errorf(slipway.NotFound, "resolving", "nothing is promoted").WithHint("promote a version first")
	refused := slipway.Errorf(slipway.Unauthorized, "tagging", "MLflow refused").WithHint("give the MLflow user EDIT")
	one := []mlflow.Version{{ModelVersion: slipway.ModelVersion{Name: "iris", Version: "2"}}}
	champion, ninetyNine := slipway.ModelRef{Name: "iris", Alias: "champion"}, slipway.ModelRef{Name: "iris", Version: "99"}
	for name, tt := range map[string]struct {
		ref      slipway.ModelRef
		registry fakeModels
		want     standing
		says     string
	}{
		"all right":                {champion, fakeModels{}, works, "iris 3; may read and tag"},
		"may not tag":              {champion, fakeModels{tag: refused}, fails, "iris 3 may be read, but not tagged"},
		"may not read":             {champion, fakeModels{resolve: refused}, fails, "MLflow refused"},
		"nothing promoted":         {champion, fakeModels{resolve: absent, versions: one}, noted, "nothing is promoted yet; may read and tag"},
		"nothing in the stage":     {slipway.ModelRef{Name: "iris", Stage: "Production"}, fakeModels{resolve: absent, versions: one}, noted, "nothing is promoted yet"},
		"nothing, and may not tag": {champion, fakeModels{resolve: absent, versions: one, tag: refused}, fails, "iris 2 may be read, but not tagged"},
		"no such version":          {ninetyNine, fakeModels{resolve: absent, versions: one}, fails, "nothing is promoted"},
		"a misspelt model":         {champion, fakeModels{resolve: absent}, fails, "nothing is promoted"},
		"cannot be looked for":     {champion, fakeModels{resolve: absent, lookup: refused}, fails, "MLflow refused"},
	} {
		if f := model(t.Context(), &tt.registry, tt.ref); f.Mark != tt.want || !strings.Contains(f.Found, tt.says) {
			t.Errorf("%s: %+v, want %s: %q", name, f, tt.want, tt.says)
		}
	}
}

func TestDoctorWebhooks(t *testing.T) {
	t.Parallel()
	hook := func(name, url string, active bool) []mlflow.Webhook {
		return []mlflow.Webhook{{Name: name, URL: url, Active: active, Events: []string{"MODEL_VERSION_ALIAS.CREATED"}}}
	}
	arrives := slipway.Errorf(slipway.Unavailable, "testing", "MLflow sends nothing to private addresses").WithHint("set MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS=true")
	for name, tt := range map[string]struct {
		registry fakeModels
		want     standing
		says     string
		tested   int
	}{
		"none":                       {fakeModels{}, noted, "none hears of promotions", 0},
		"none of promotions":         {fakeModels{hooks: []mlflow.Webhook{{Name: "x", URL: "https://x", Active: true, Events: []string{"PROMPT.CREATED"}}}}, noted, "none hears", 0},
		"ours arrives":               {fakeModels{hooks: hook("slipway", "https://cd.example/hook?key=planted", true)}, works, "a test event arrived at cd.example", 1},
		"ours does not arrive":       {fakeModels{hooks: hook("slipway", "https://10.0.0.7/hook", true), test: arrives}, fails, "private addresses", 1},
		"ours is off":                {fakeModels{hooks: hook("slipway", "https://cd.example/hook", false)}, noted, "switched off", 0},
		"somebody else's":            {fakeModels{hooks: hook("retrain", "https://ml.example/hook?key=planted", true)}, skipped, "not tested", 0},
		"GitHub itself":              {fakeModels{hooks: hook("deploy", "https://api.github.com/repos/o/r/dispatches", true)}, fails, "api.github.com cannot take it", 0},
		"a GitHub of one's own":      {fakeModels{hooks: hook("deploy", "https://git.example/api/v3/repos/o/r/dispatches", true)}, fails, "git.example cannot take it", 0},
		"Azure DevOps":               {fakeModels{hooks: hook("deploy", "https://dev.azure.com/o/p/_apis/pipelines/1/runs", true)}, fails, "Azure DevOps wants a token", 0},
		"Azure's incoming webhook":   {fakeModels{hooks: hook("slipway", "https://dev.azure.com/o/_apis/public/distributedtask/webhooks/x", true)}, works, "arrived", 1},
		"no URL":                     {fakeModels{hooks: hook("slipway", "::", true)}, fails, "names no host", 0},
		"not an admin":               {fakeModels{listing: slipway.Errorf(slipway.Unauthorized, "", "only admins")}, skipped, "only MLflow's admins", 0},
		"an old MLflow":              {fakeModels{listing: slipway.Errorf(slipway.Invalid, "", "none")}, skipped, "this MLflow has none", 0},
		"no key for several workers": {fakeModels{listing: slipway.Errorf(slipway.Unavailable, "", "MLflow cannot read its webhooks' secrets").WithHint("set the key")}, fails, "secrets", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := (&doctor{}).webhooks(t.Context(), &tt.registry)
			if len(found) != 1 || found[0].Mark != tt.want || !strings.Contains(found[0].Found, tt.says) || len(tt.registry.tested) != tt.tested {
				t.Errorf("%+v, tested %v, want %s: %q", found, tt.registry.tested, tt.want, tt.says)
			}
			if strings.Contains(fmt.Sprint(found), "planted") {
				t.Errorf("the URL is shown: %+v", found)
			}
		})
	}
	staged := &doctor{releases: []settings{{ref: slipway.ModelRef{Name: "iris", Stage: "Production"}}}}
	if found := staged.webhooks(t.Context(), &fakeModels{}); len(found) != 2 || !strings.Contains(found[1].Found, "when a stage changes") {
		t.Errorf("stages: %+v", found)
	}
}

// After one receiver that says nothing, no time is left for the others; what
// needs no asking is said all the same.
func TestDoctorHasNoTimeForAllWebhooks(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("no answer within 30s"))
	registry := &fakeModels{}
	if f := webhook(ctx, registry, mlflow.Webhook{Name: "slipway", URL: "https://cd.example/hook", Active: true}); f.Mark != skipped || !strings.Contains(f.Found, "not checked: no answer within 30s") {
		t.Errorf("%+v", f)
	}
	if f := webhook(ctx, registry, mlflow.Webhook{Name: "slipway", URL: "https://api.github.com/x", Active: true}); f.Mark != fails {
		t.Errorf("%+v", f)
	}
	if len(registry.tested) > 0 {
		t.Errorf("tested %v", registry.tested)
	}
}
