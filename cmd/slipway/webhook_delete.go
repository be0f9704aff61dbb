package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/slipway-dev/slipway"
)

type webhookDeleteCommand struct {
	webhookFlags
	Webhook string `arg:"" placeholder:"WEBHOOK" help:"Its name or identifier."`
	Yes     bool   `short:"y" help:"Do not ask."`
}

// Run deletes one webhook. Names are not unique, so one that several have is
// refused.
func (cmd webhookDeleteCommand) Run(ctx context.Context, p *program) error {
	const op = "deleting a webhook"
	registry, err := cmd.open(p)
	if err != nil {
		return err
	}
	hooks, err := p.listed(ctx, registry)
	if err != nil {
		return err
	}
	found := findHooks(hooks, cmd.Webhook)
	switch {
	case len(found) == 0:
		return noHook(op, cmd.Webhook, hooks)
	case len(found) > 1:
		var ids []string
		for _, w := range found {
			ids = append(ids, w.ID)
		}
		return slipway.Errorf(slipway.Conflict, op, "%d are called %s", len(found), cmd.Webhook).WithHint("delete one by its identifier: %s", strings.Join(ids, ", "))
	}
	line := lineOf(found[0])
	if ok, err := cmd.agreed(ctx, p, line); err != nil || !ok {
		return err
	}
	if err := registry.DeleteWebhook(ctx, line.ID); err != nil {
		return err
	}
	return p.result(line, func(w io.Writer) {
		fmt.Fprintf(w, "deleted %s; for up to a minute MLflow may go on sending to %s\n", clean(line.Name), clean(line.Host))
	})
}

func (cmd webhookDeleteCommand) agreed(ctx context.Context, p *program, line hookLine) (bool, error) {
	if cmd.Yes {
		return true, nil
	}
	q := newQuestions(ctx, p)
	if !q.possible() {
		return false, usageError{usagef("deleting %s has to be agreed to, and nobody can be asked", line.Name).WithHint("add --yes")}
	}
	ok, err := q.confirm("Delete the webhook " + clean(line.Name) + " to " + clean(line.Host) + "?")
	if err == nil && !ok {
		fmt.Fprintln(p.stderr, "nothing was deleted")
	}
	return ok, err
}
