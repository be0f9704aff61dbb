package mlflow

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/slipway-dev/slipway"
)

// WebhookSpec is what a webhook is to be.
type WebhookSpec struct {
	Name   string   // at most 63 letters, digits, ".", "_" and "-"; MLflow lets several have the same
	URL    string   // where events are sent to
	Secret string   // signs what is sent; "": unsigned, or as it is
	Events []string // "MODEL_VERSION_ALIAS.CREATED"
}

// PromotionEvents are those that tell of promotions: an alias that is set or
// moved, and one that is removed. MLflow has none for stages.
func PromotionEvents() []string {
	return []string{"MODEL_VERSION_ALIAS.CREATED", "MODEL_VERSION_ALIAS.DELETED"}
}

// Ensured is what was done so that there is such a webhook.
type Ensured string

// What EnsureWebhook did.
const (
	WebhookCreated Ensured = "created"
	WebhookUpdated Ensured = "updated"
)

// EnsureWebhook makes one active webhook of that name and URL, or brings the
// one that is there in line: MLflow lets two have both, and then sends
// everything twice. A secret is set even where there may be the same: MLflow
// tells nobody. Code Conflict: there are several already.
func (c *Client) EnsureWebhook(ctx context.Context, spec WebhookSpec) (Webhook, Ensured, error) {
	hooks, err := c.Webhooks(ctx)
	if err != nil && hooks == nil {
		return Webhook{}, "", err
	}
	same := slices.DeleteFunc(hooks, func(w Webhook) bool { return w.Name != spec.Name || w.URL != spec.URL })
	switch {
	case len(same) == 0:
		w, err := c.CreateWebhook(ctx, spec)
		return w, WebhookCreated, err
	case len(same) > 1:
		return Webhook{}, "", slipway.Errorf(slipway.Conflict, "creating the webhook "+spec.Name, "there are %d of that name and address, and everything is sent to each", len(same)).
			WithHint("remove all but one: slipway webhook delete %s", same[0].ID)
	}
	w, err := c.UpdateWebhook(ctx, same[0].ID, spec)
	return w, WebhookUpdated, err
}

// CreateWebhook creates an active webhook, also where there is one like it.
// Code Invalid: MLflow takes neither name nor URL so; Unauthorized: only its
// admins may.
func (c *Client) CreateWebhook(ctx context.Context, spec WebhookSpec) (Webhook, error) {
	return c.writeWebhook(ctx, call{op: "creating the webhook " + spec.Name, method: http.MethodPost, path: api + "webhooks", body: spec.wire()})
}

// UpdateWebhook makes the webhook what spec says, and active. Without a secret
// in spec, it keeps the one it has. Code NotFound: there is none.
func (c *Client) UpdateWebhook(ctx context.Context, id string, spec WebhookSpec) (Webhook, error) {
	return c.writeWebhook(ctx, call{op: "changing the webhook " + spec.Name, method: http.MethodPatch, path: webhookPath(id), body: spec.wire()})
}

// DeleteWebhook removes the webhook. Workers that have read it send to it for
// up to a minute more. Code NotFound: there is none.
func (c *Client) DeleteWebhook(ctx context.Context, id string) error {
	return c.askAnyWorker(ctx, call{op: "deleting the webhook " + id, method: http.MethodDelete, path: webhookPath(id)}, nil)
}

func webhookPath(id string) string { return api + "webhooks/" + url.PathEscape(id) }

func (c *Client) writeWebhook(ctx context.Context, q call) (Webhook, error) {
	var out struct {
		Webhook wireWebhook `json:"webhook"`
	}
	if err := c.askAnyWorker(ctx, q, &out); err != nil {
		return Webhook{}, err
	}
	return out.Webhook.webhook(), nil
}

// wire is the request of CreateWebhook and UpdateWebhook (webhooks.proto).
// Entities and actions are in capitals here, and in small letters in what is sent.
func (s WebhookSpec) wire() any {
	type event struct {
		Entity string `json:"entity"`
		Action string `json:"action"`
	}
	var events []event
	for _, e := range s.Events {
		entity, action, _ := strings.Cut(e, ".")
		events = append(events, event{entity, action})
	}
	return struct {
		Name   string  `json:"name"`
		URL    string  `json:"url"`
		Secret string  `json:"secret,omitempty"`
		Status string  `json:"status"`
		Events []event `json:"events"`
	}{s.Name, s.URL, s.Secret, "ACTIVE", events}
}

// askAnyWorker asks until a worker of the server could read what another
// stored. A call that fails so has changed nothing.
func (c *Client) askAnyWorker(ctx context.Context, q call, out any) error {
	q.fresh, q.once = true, true
	var err error
	for range askedAtMost {
		if err = c.ask(ctx, q, out); !unreadable(err) {
			break
		}
	}
	return webhookError(q.op, err)
}

// unreadable reports whether a worker failed to read a webhook's secret. MLflow
// says so by saying nothing.
func unreadable(err error) bool {
	var r *reply
	return errors.As(err, &r) && r.status == http.StatusInternalServerError && r.code != "" && r.text == ""
}
