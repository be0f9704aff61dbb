package mlflow

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/slipway-dev/slipway"
)

// maxWebhooks bounds how many webhooks are looked at.
const maxWebhooks = 1000

// Webhook is where the model registry sends events to.
type Webhook struct {
	ID     string
	Name   string
	URL    string // may hold a secret: not for logs
	Events []string
	Active bool
}

// Hears reports whether it is sent promotions by alias. MLflow sends none of
// stages.
func (w Webhook) Hears() bool { return slices.Contains(w.Events, "MODEL_VERSION_ALIAS.CREATED") }

// wireWebhooks is MLflow's JSON of webhooks (webhooks.proto).
type wireWebhooks struct {
	Webhooks []struct {
		ID     string `json:"webhook_id"`
		Name   string `json:"name"`
		URL    string `json:"url"`
		Status string `json:"status"`
		Events []struct {
			Entity string `json:"entity"`
			Action string `json:"action"`
		} `json:"events"`
	} `json:"webhooks"`
}

// askedAnew is how often the webhooks are asked for where there are any: each
// of several workers may invent a key of its own for their secrets, and then
// fails to read what another stored.
const askedAnew = 8

// Webhooks lists the webhooks, the newest first. Code Unauthorized: only
// MLflow's admins may see them; Invalid: the server has none, as before MLflow
// 3.3 and with a file store; Unavailable: it cannot read them, now or now and
// then.
func (c *Client) Webhooks(ctx context.Context) ([]Webhook, error) {
	const op = "listing webhooks"
	q := call{op: op, path: api + "webhooks", query: url.Values{"max_results": {fmt.Sprint(maxWebhooks)}}, fresh: true}
	var hooks []Webhook
	for range askedAnew {
		var out wireWebhooks
		if err := c.askOnce(ctx, q, &out); err != nil {
			return nil, webhookError(op, err)
		}
		if hooks = out.webhooks(); len(hooks) == 0 {
			break
		}
	}
	return hooks, nil
}

func (w wireWebhooks) webhooks() []Webhook {
	var hooks []Webhook
	for _, wire := range w.Webhooks {
		hook := Webhook{ID: wire.ID, Name: oneLine(wire.Name), URL: wire.URL, Active: wire.Status == "ACTIVE"}
		for _, e := range wire.Events {
			hook.Events = append(hook.Events, e.Entity+"."+e.Action)
		}
		hooks = append(hooks, hook)
	}
	return hooks
}

// webhookError explains what only happens to webhooks.
func webhookError(op string, err error) error {
	var r *reply
	if !errors.As(err, &r) {
		return err
	}
	switch {
	case r.status == http.StatusInternalServerError && r.code != "" && r.text == "":
		return (&slipway.Error{Op: op, Code: slipway.Unavailable, Message: "MLflow cannot read its webhooks' secrets, now or now and then", Err: r}).
			WithHint("set MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY on the MLflow server, the same for all its workers, and create the webhooks again")
	case r.status == http.StatusForbidden:
		return (&slipway.Error{Op: op, Code: slipway.Unauthorized, Message: "only MLflow's admins may see webhooks", Err: r}).
			WithHint("run this as an admin of MLflow, or look there")
	case r.status == http.StatusNotFound:
		return (&slipway.Error{Op: op, Code: slipway.Invalid, Message: "this MLflow has no webhooks", Err: r}).
			WithHint("update MLflow to 3.3 or newer, with a database")
	}
	return err
}

// TestWebhook lets the model registry send the webhook a test event and returns
// an error that says why it did not arrive. Code Unavailable: it did not, also
// when there is no time left before the receiver answers; the others are those
// of every call.
func (c *Client) TestWebhook(ctx context.Context, w Webhook) error {
	op := "testing the webhook " + w.Name
	ctx, cancel := context.WithTimeoutCause(ctx, c.config.Timeout, fmt.Errorf("no answer within %s", c.config.Timeout))
	defer cancel()
	var out struct {
		Result struct {
			Success bool   `json:"success"`
			Status  int    `json:"response_status"`
			Body    string `json:"response_body"`
			Error   string `json:"error_message"`
		} `json:"result"`
	}
	body := map[string]any{"event": map[string]string{"entity": "MODEL_VERSION_ALIAS", "action": "CREATED"}}
	err := c.ask(ctx, call{op: op, method: http.MethodPost, path: api + "webhooks/" + url.PathEscape(w.ID) + "/test", body: body, once: true}, &out)
	switch {
	case err != nil && ctx.Err() != nil: // MLflow, which lists webhooks at once, is itself waiting, and tries four times
		return (&slipway.Error{Op: op, Code: slipway.Unavailable, Message: "its receiver does not answer", Err: context.Cause(ctx)}).WithHint(unheard)
	case err != nil || out.Result.Success:
		return err
	}
	e := slipway.Errorf(slipway.Unavailable, op, "%s", "it does not arrive: "+orNone(causeOf(out.Result.Error, w)))
	switch r := out.Result; {
	case r.Status != 0:
		e.Message = fmt.Sprintf("its receiver answers %d %s", r.Status, http.StatusText(r.Status))
		return e.WithHint("look into the receiver's log, and whether it has the webhook's secret")
	case strings.Contains(r.Error, "non-public IP"):
		e.Message = "MLflow sends nothing to private addresses"
		return e.WithHint("give the receiver a public address, or set MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS=true on the MLflow server")
	case strings.Contains(r.Error, "scheme"):
		e.Message = "MLflow sends to https addresses only"
		return e.WithHint("give the receiver a certificate, or set MLFLOW_WEBHOOK_ALLOWED_SCHEMES=http,https on the MLflow server")
	}
	return e.WithHint(unheard)
}

const unheard = "see whether MLflow's machine reaches the receiver; it uses no proxy for webhooks"

// namedURL matches where Python's requests and MLflow name an address. Quotes
// and brackets may be part of one.
var namedURL = regexp.MustCompile(`(?i)(\bwith url: |\bhttps?://)\S+`)

// causeOf is the innermost of the exceptions that MLflow tells of, without the
// webhook's path and query, which may be secret.
func causeOf(text string, w Webhook) string {
	text = strings.TrimPrefix(text, "Failed to test webhook: ")
	if i := strings.LastIndex(text, "(Caused by "); i >= 0 {
		text = strings.TrimRight(text[i+len("(Caused by "):], `)"'`)
	}
	text = namedURL.ReplaceAllString(text, "${1}…")
	if to, err := url.Parse(w.URL); err == nil {
		for _, part := range []string{to.RequestURI(), to.EscapedPath(), to.Path} {
			if len(part) > 1 {
				text = strings.ReplaceAll(text, part, "/…")
			}
		}
	}
	return oneLine(text)
}
