package mlflow

import (
	"cmp"
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

// wireWebhook is MLflow's JSON of a webhook (webhooks.proto).
type wireWebhook struct {
	ID     string `json:"webhook_id"`
	Name   string `json:"name"`
	URL    string `json:"url"`
	Status string `json:"status"`
	Events []struct {
		Entity string `json:"entity"`
		Action string `json:"action"`
	} `json:"events"`
}

func (w wireWebhook) webhook() Webhook {
	hook := Webhook{ID: w.ID, Name: oneLine(w.Name), URL: w.URL, Active: w.Status == "ACTIVE"}
	for _, e := range w.Events {
		hook.Events = append(hook.Events, e.Entity+"."+e.Action)
	}
	return hook
}

// askedAnew is how often the webhooks are asked for where there are any: each
// of several workers may invent a key of its own for their secrets, and then
// fails to read what another stored. Where all have failed so, it goes on to
// askedAtMost: one of four workers answers then, but for once in 10,000.
const (
	askedAnew   = 8
	askedAtMost = 32
)

// Webhooks lists the webhooks, the newest first. Code Unauthorized: only
// MLflow's admins may see them; Invalid: the server has none, as before MLflow
// 3.3 and with a file store; Unavailable: it cannot read them, now or now and
// then. In the last case it returns the webhooks beside the error.
func (c *Client) Webhooks(ctx context.Context) ([]Webhook, error) {
	const op = "listing webhooks"
	q := call{op: op, path: api + "webhooks", query: url.Values{"max_results": {fmt.Sprint(maxWebhooks)}}, fresh: true}
	var hooks []Webhook
	var failed error
	for n := 0; n < askedAnew || (hooks == nil && n < askedAtMost); n++ {
		var out struct {
			Webhooks []wireWebhook `json:"webhooks"`
		}
		switch err := c.askOnce(ctx, q, &out); {
		case unreadable(err):
			failed = err
			continue
		case err != nil:
			return nil, webhookError(op, err)
		case len(out.Webhooks) == 0:
			return nil, nil
		}
		hooks = hooks[:0]
		for _, w := range out.Webhooks {
			hooks = append(hooks, w.webhook())
		}
	}
	return hooks, webhookError(op, failed)
}

// webhookError explains what only happens to webhooks.
func webhookError(op string, err error) error {
	var r *reply
	if !errors.As(err, &r) {
		return err
	}
	switch {
	case unreadable(err):
		return (&slipway.Error{Op: op, Code: slipway.Unavailable, Message: "MLflow cannot read its webhooks' secrets, now or now and then", Err: r}).
			WithHint("set MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY on the MLflow server, the same for all its workers, and create the webhooks again (docs/CICD_WORKFLOW_GUIDE.md, \"Webhooks that nobody can read\")")
	case r.status == http.StatusForbidden:
		return (&slipway.Error{Op: op, Code: slipway.Unauthorized, Message: "only MLflow's admins may see webhooks", Err: r}).
			WithHint("run this as an admin of MLflow, or look there")
	case r.status == http.StatusNotFound && r.route:
		return (&slipway.Error{Op: op, Code: slipway.Invalid, Message: "this MLflow has no webhooks", Err: r}).
			WithHint("update MLflow to 3.3 or newer, with a database")
	case r.status == http.StatusBadRequest && addressHint(r.text) != "":
		return (&slipway.Error{Op: op, Code: slipway.Invalid, Message: "MLflow does not send there", Err: r}).WithHint("%s", addressHint(r.text))
	}
	return err
}

// addressHint is what mends that MLflow does not send to an address, by what it
// says of it; "" for other words (mlflow/utils/validation.py, mlflow/webhooks/ssrf.py).
func addressHint(text string) string {
	switch {
	case strings.Contains(text, "non-public IP"), strings.Contains(text, "not a public IP"):
		return "MLflow sends nothing to private addresses: give the receiver one, or set MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS=true on the MLflow server"
	case strings.Contains(text, "Webhook URL hostname"), strings.Contains(text, "NameResolutionError"):
		return "use a name that MLflow's machine can resolve"
	case strings.Contains(text, "URL scheme"):
		return "MLflow sends to https addresses only: give the receiver a certificate, or set MLFLOW_WEBHOOK_ALLOWED_SCHEMES=http,https on the MLflow server"
	case strings.Contains(text, "CERTIFICATE_VERIFY_FAILED"):
		return "give the receiver a certificate of a public authority: for webhooks MLflow trusts the Python package certifi alone, whatever REQUESTS_CA_BUNDLE says"
	case strings.Contains(text, "SSLError"), strings.Contains(text, "SSL:"):
		return "the receiver does not speak TLS on that port: name the port that does, or put a proxy with a certificate before it"
	}
	return ""
}

// Delivery is what became of an event that was sent as a test.
type Delivery struct {
	Arrived bool   `json:"arrived"`           // the receiver took it
	Status  int    `json:"status,omitempty"`  // what it answered; 0: nothing
	Answer  string `json:"answer,omitempty"`  // the beginning of that, in one line
	Failure string `json:"failure,omitempty"` // why it did not get there, in MLflow's words
}

// SendTest lets the model registry send the webhook a test event, which looks
// to a receiver like a promotion of a model called example_model.
// Code Unavailable: there was no time left for its receiver to answer; the others
// are those of every call.
func (c *Client) SendTest(ctx context.Context, w Webhook) (Delivery, error) {
	op := testOp(w)
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
	err := c.askAnyWorker(ctx, call{op: op, method: http.MethodPost, path: webhookPath(w.ID) + "/test", body: body}, &out)
	if err != nil && ctx.Err() != nil { // MLflow, which lists webhooks at once, is itself waiting, and tries four times
		return Delivery{}, (&slipway.Error{Op: op, Code: slipway.Unavailable, Message: "its receiver does not answer", Err: context.Cause(ctx)}).WithHint(unheard)
	}
	r := out.Result
	return Delivery{Arrived: r.Success, Status: r.Status, Answer: oneLine(r.Body), Failure: causeOf(r.Error, w)}, err
}

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

const unheard = "see whether MLflow's machine reaches the receiver; it uses no proxy for webhooks"

func testOp(w Webhook) string { return "testing the webhook " + w.Name }

// TestWebhook lets the model registry send the webhook a test event and returns
// an error that says why it did not arrive. Code Unavailable: it did not; the
// others are those of every call.
func (c *Client) TestWebhook(ctx context.Context, w Webhook) error {
	d, err := c.SendTest(ctx, w)
	if err != nil {
		return err
	}
	return d.Problem(w)
}

// Problem explains why the event did not arrive; nil: it did.
func (d Delivery) Problem(w Webhook) error {
	if d.Arrived {
		return nil
	}
	e := slipway.Errorf(slipway.Unavailable, testOp(w), "%s", "it does not arrive: "+orNone(d.Failure))
	if d.Status == 0 {
		return e.WithHint("%s", cmp.Or(addressHint(d.Failure), unheard))
	}
	e.Message = fmt.Sprintf("its receiver answers %d %s", d.Status, http.StatusText(d.Status))
	if d.Answer != "" {
		e.Message += ": " + d.Answer
	}
	return e.WithHint("%s", answerHint(d.Status))
}

// answerHint is what mends that a receiver answers with the status.
func answerHint(status int) string {
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return "let webhook and receiver have the same secret: slipway webhook create sets it again"
	case status == http.StatusNotFound, status == http.StatusMethodNotAllowed:
		return "look at the path of the webhook's URL"
	case status == http.StatusTooManyRequests, status >= http.StatusInternalServerError:
		return "look into the receiver's log; MLflow has tried four times"
	}
	return "look into the receiver's log"
}
