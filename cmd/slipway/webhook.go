package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlflow"
)

type webhookCommand struct {
	Create webhookCreateCommand `cmd:"" help:"Create the webhook that tells a receiver, such as slipway relay, of promotions. Again, it changes the one that is there."`
	List   webhookListCommand   `cmd:"" help:"List MLflow's webhooks."`
	Test   webhookTestCommand   `cmd:"" help:"Let MLflow send a test event, and say what the receiver answers."`
	Delete webhookDeleteCommand `cmd:"" help:"Delete a webhook."`
}

type webhookFlags struct {
	MLflow string `name:"mlflow" env:"MLFLOW_TRACKING_URI" placeholder:"URI" help:"The model registry."`
}

// webhookRegistry is what MLflow is asked about webhooks. Only its admins may.
type webhookRegistry interface {
	Webhooks(context.Context) ([]mlflow.Webhook, error)
	EnsureWebhook(context.Context, mlflow.WebhookSpec) (mlflow.Webhook, mlflow.Ensured, error)
	SendTest(context.Context, mlflow.Webhook) (mlflow.Delivery, error)
	DeleteWebhook(ctx context.Context, id string) error
}

func (cmd webhookFlags) open(p *program) (webhookRegistry, error) {
	world, err := p.connect(settings{mlflowURI: cmd.MLflow})
	if err != nil {
		return nil, err
	}
	registry, err := world.models()
	if err != nil {
		return nil, err
	}
	hooks, ok := registry.(webhookRegistry)
	if !ok {
		return nil, slipway.Errorf(slipway.Invalid, "asking for webhooks", "this model registry has none").WithHint("name an MLflow with --mlflow URI")
	}
	return hooks, nil
}

// listed returns the webhooks. That only some of MLflow's workers can read them
// is told, and no failure.
func (p *program) listed(ctx context.Context, registry webhookRegistry) ([]mlflow.Webhook, error) {
	hooks, err := registry.Webhooks(ctx)
	if err != nil && hooks == nil {
		return nil, err
	}
	if err != nil {
		_, reason := what(err)
		p.story.warn("webhook", "%s: some of MLflow's workers cannot read the webhooks' secrets, and send nothing; %s", reason, slipway.HintOf(err))
	}
	return hooks, nil
}

// hookLine is a webhook as it is shown: its path and query may be secret.
type hookLine struct {
	ID     string   `json:"id"`
	Name   string   `json:"name"`
	Host   string   `json:"host"`
	Events []string `json:"events"`
	Active bool     `json:"active"`
}

func lineOf(w mlflow.Webhook) hookLine {
	line := hookLine{ID: w.ID, Name: w.Name, Host: "no address", Events: w.Events, Active: w.Active}
	if to, err := url.Parse(w.URL); err == nil && to.Host != "" {
		line.Host = to.Scheme + "://" + to.Host
	}
	return line
}

type webhookListCommand struct{ webhookFlags }

// Run lists the webhooks, the newest first.
func (cmd webhookListCommand) Run(ctx context.Context, p *program) error {
	registry, err := cmd.open(p)
	if err != nil {
		return err
	}
	hooks, err := p.listed(ctx, registry)
	if err != nil {
		return err
	}
	lines := []hookLine{}
	for _, w := range hooks {
		lines = append(lines, lineOf(w))
	}
	return p.result(lines, func(w io.Writer) { printHooks(w, lines) })
}

func printHooks(w io.Writer, lines []hookLine) {
	if len(lines) == 0 {
		fmt.Fprintln(w, "MLflow has no webhooks")
		return
	}
	rows := [][]string{{"ID", "NAME", "TO", "EVENTS", ""}}
	for _, l := range lines {
		rows = append(rows, []string{l.ID, l.Name, l.Host, strings.ToLower(strings.Join(l.Events, " ")), when(!l.Active, "switched off")})
	}
	table(w, rows)
}

// findHooks returns those called or identified so.
func findHooks(hooks []mlflow.Webhook, named string) []mlflow.Webhook {
	return slices.DeleteFunc(slices.Clone(hooks), func(w mlflow.Webhook) bool { return w.ID != named && w.Name != named })
}

func noHook(op, named string, hooks []mlflow.Webhook) error {
	var names []string
	for _, w := range hooks {
		names = append(names, w.Name)
	}
	slices.Sort(names)
	return slipway.Errorf(slipway.NotFound, op, "there is none with the name or identifier %s", named).
		WithHint("MLflow has %s", orElse(strings.Join(slices.Compact(names), ", "), "none at all: slipway webhook create --url https://…"))
}

type webhookTestCommand struct {
	webhookFlags
	Webhook string `arg:"" optional:"" placeholder:"WEBHOOK" help:"Its name or identifier; without it, all called slipway…."`
}

// tested is what became of one test.
type tested struct {
	hookLine
	mlflow.Delivery
	problem error
}

// Run lets MLflow send test events and explains what became of them.
func (cmd webhookTestCommand) Run(ctx context.Context, p *program) error {
	const op = "testing webhooks"
	registry, err := cmd.open(p)
	if err != nil {
		return err
	}
	hooks, err := p.listed(ctx, registry)
	if err != nil {
		return err
	}
	asked := findHooks(hooks, cmd.Webhook)
	if cmd.Webhook == "" {
		asked = slices.DeleteFunc(slices.Clone(hooks), func(w mlflow.Webhook) bool { return !strings.HasPrefix(w.Name, "slipway") })
	}
	if len(asked) == 0 {
		return noHook(op, orElse(cmd.Webhook, "slipway…"), hooks)
	}
	all := []tested{}
	for _, w := range asked {
		all = append(all, testOf(ctx, registry, w))
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := p.result(all, func(w io.Writer) { printTested(w, all) }); err != nil {
		return err
	}
	return unreached(all)
}

// testOf tests one webhook. That it cannot be tested is its own failure: one
// whose receiver hangs says nothing of the others.
func testOf(ctx context.Context, registry webhookRegistry, w mlflow.Webhook) tested {
	d, err := registry.SendTest(ctx, w)
	if err != nil {
		head, reason := what(err)
		return tested{lineOf(w), mlflow.Delivery{Failure: head + orNothing(": ", reason)}, err}
	}
	return tested{lineOf(w), d, d.Problem(w)}
}

func printTested(w io.Writer, all []tested) {
	for _, t := range all {
		if t.problem == nil {
			fmt.Fprintf(w, "%s: a test event arrived at %s; it answers %d%s\n", clean(t.Name), clean(t.Host), t.Status, clean(orNothing(": ", t.Answer)))
		}
	}
}

// unreached is the failure of those that did not get their event.
func unreached(all []tested) error {
	var first error
	n := 0
	for _, t := range all {
		if t.problem == nil {
			continue
		}
		if n++; first == nil {
			first = t.problem
		}
	}
	if n < 2 {
		return first
	}
	return (&slipway.Error{Op: "testing webhooks", Code: slipway.Unavailable, Message: fmt.Sprintf("%d of %d do not arrive", n, len(all)), Err: first}).
		WithHint("%s", slipway.HintOf(first))
}
