package suite

import (
	"context"
	"slices"
	"strings"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlflow"
)

// A receiver that no test reaches, at a public address, so that MLflow takes it,
// and an event that no test causes.
const (
	receiver = "https://1.1.1.1/hook"
	unheard  = "BUDGET_POLICY.EXCEEDED"
)

// hook is a webhook of the case's own.
func (b *bench) hook(events ...string) mlflow.WebhookSpec {
	return mlflow.WebhookSpec{Name: string(b.name), URL: receiver, Secret: "throwaway-secret-123", Events: events}
}

// hooks returns those of the case.
func (b *bench) hooks() []mlflow.Webhook {
	b.Helper()
	all, err := b.Webhooks(b.ctx)
	b.ok(err)
	return slices.DeleteFunc(all, func(w mlflow.Webhook) bool { return w.Name != string(b.name) })
}

// removeHooks removes them at the case's end.
func (b *bench) removeHooks() {
	b.Cleanup(func() {
		b.ctx = context.WithoutCancel(b.ctx) // that of a test ends before its cleanups
		for _, w := range b.hooks() {
			b.ok(b.DeleteWebhook(b.ctx, w.ID))
		}
	})
}

// webhooks are about making and removing them. That they arrive is tested where
// MLflow may send to this machine.
var webhooks = []kase{
	{"a webhook, created, listed and deleted", func(b *bench) {
		made, err := b.CreateWebhook(b.ctx, b.hook(unheard))
		b.ok(err)
		want := mlflow.Webhook{ID: made.ID, Name: string(b.name), URL: receiver, Events: []string{unheard}, Active: true}
		if got := b.hooks(); len(got) != 1 || !sameHook(got[0], want) || !sameHook(made, want) || len(made.ID) != 36 {
			b.Fatalf("made %+v, listed %+v, want %+v", made, got, want)
		}
		b.ok(b.DeleteWebhook(b.ctx, made.ID))
		if got := b.hooks(); len(got) > 0 {
			b.Fatalf("still there: %+v", got)
		}
		b.code(b.DeleteWebhook(b.ctx, made.ID), slipway.NotFound, "not found")
	}},
	{"a webhook of promotions", func(b *bench) {
		b.removeHooks()
		made, err := b.CreateWebhook(b.ctx, b.hook(mlflow.PromotionEvents()...))
		b.ok(err)
		if !made.Hears() || !slices.Equal(made.Events, mlflow.PromotionEvents()) {
			b.Fatalf("%+v", made)
		}
	}},
	{"two webhooks of one name and address", func(b *bench) {
		b.removeHooks()
		first, err := b.CreateWebhook(b.ctx, b.hook(unheard))
		b.ok(err)
		second, err := b.CreateWebhook(b.ctx, b.hook(unheard))
		b.ok(err)
		if got := b.hooks(); len(got) != 2 || first.ID == second.ID {
			b.Fatalf("%+v", got)
		}
		_, _, err = b.EnsureWebhook(b.ctx, b.hook(unheard))
		b.code(err, slipway.Conflict, "slipway webhook delete")
	}},
	{"a webhook that is ensured", func(b *bench) {
		b.removeHooks()
		first, done, err := b.EnsureWebhook(b.ctx, b.hook("PROMPT.CREATED"))
		b.ok(err)
		b.api("PATCH", "webhooks/"+first.ID, map[string]string{"status": "DISABLED"}, nil)
		again, redone, err := b.EnsureWebhook(b.ctx, b.hook(unheard))
		b.ok(err)
		if done != mlflow.WebhookCreated || redone != mlflow.WebhookUpdated || again.ID != first.ID || !again.Active || !slices.Equal(again.Events, []string{unheard}) {
			b.Fatalf("%s %+v, %s %+v", done, first, redone, again)
		}
		spec := b.hook(unheard)
		spec.Secret = ""
		if _, done, err := b.EnsureWebhook(b.ctx, spec); err != nil || done != mlflow.WebhookUpdated {
			b.Fatalf("%s, %v", done, err)
		}
	}},
	{"webhooks that MLflow does not take", func(b *bench) {
		for what, change := range map[string]func(*mlflow.WebhookSpec){
			"https":   func(s *mlflow.WebhookSpec) { s.URL = "http://1.1.1.1/hook" },
			"PRIVATE": func(s *mlflow.WebhookSpec) { s.URL = "https://127.0.0.1:1/hook" },
			"10.1.2":  func(s *mlflow.WebhookSpec) { s.URL = "https://10.1.2.3/hook" },
			"resolve": func(s *mlflow.WebhookSpec) { s.URL = "https://cd.internal.invalid/hook" },
			"name":    func(s *mlflow.WebhookSpec) { s.Name = "no name!" },
			"63":      func(s *mlflow.WebhookSpec) { s.Name = strings.Repeat("n", 64) },
			"action":  func(s *mlflow.WebhookSpec) { s.Events = []string{"MODEL_VERSION.UPDATED"} },
			"events":  func(s *mlflow.WebhookSpec) { s.Events = nil },
		} {
			spec := b.hook(unheard)
			change(&spec)
			_, err := b.CreateWebhook(b.ctx, spec)
			b.code(err, slipway.Invalid, what)
		}
	}},
	{"events in small letters are a page", func(b *bench) {
		b.send("POST", api+"webhooks", `{"name":"x","url":"`+receiver+`","events":[{"entity":"prompt","action":"created"}]}`).is(b, 500, "text/html", "Internal Server Error")
	}},
	{"the wire of a webhook", func(b *bench) {
		b.removeHooks()
		made, err := b.CreateWebhook(b.ctx, b.hook(unheard))
		b.ok(err)
		got := b.send("GET", api+"webhooks/"+made.ID, "")
		got.is(b, 200, "application/json", `"status": "ACTIVE"`)
		if strings.Contains(string(got.body), "throwaway-secret-123") {
			b.Fatalf("it tells the secret: %s", got.body)
		}
		b.send("GET", api+"webhooks/nope", "").is(b, 404, "application/json", "Webhook with ID nope not found.")
		b.send("POST", api+"webhooks/nope/test", `{}`).is(b, 404, "application/json", "Webhook with ID nope not found.")
		b.send("POST", api+"webhooks", `{"name":"x","url":"`+receiver+`"}`).is(b, 400, "application/json", "Missing value for required parameter 'events'")
	}},
	{"webhooks page by page, the newest first", func(b *bench) {
		b.removeHooks()
		for range 2 {
			_, err := b.CreateWebhook(b.ctx, b.hook(unheard))
			b.ok(err)
		}
		var page struct {
			Webhooks []struct {
				Name string `json:"name"`
			} `json:"webhooks"`
			Next string `json:"next_page_token"`
		}
		b.api("GET", "webhooks?max_results=1", nil, &page)
		if len(page.Webhooks) != 1 || page.Webhooks[0].Name != string(b.name) || page.Next != "eyJvZmZzZXQiOiAxfQ==" {
			b.Fatalf("%+v", page)
		}
	}},
}

func sameHook(a, b mlflow.Webhook) bool {
	return a.ID == b.ID && a.Name == b.Name && a.URL == b.URL && a.Active == b.Active && slices.Equal(a.Events, b.Events)
}
