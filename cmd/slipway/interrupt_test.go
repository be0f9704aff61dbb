package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlflow"
	"github.com/slipway-dev/slipway/mlmodel"
)

// interruptedTarget presses Ctrl-C as soon as the target was told to serve
// something else.
type interruptedTarget struct {
	slipway.Target
	cancel context.CancelCauseFunc
}

func (t interruptedTarget) Act(ctx context.Context, a slipway.Action) error {
	err := t.Target.Act(ctx, a)
	t.cancel(errInterrupted)
	return err
}

// interruptedModels presses Ctrl-C during the download.
type interruptedModels struct {
	modelRegistry
	cancel context.CancelCauseFunc
}

func (m interruptedModels) Download(ctx context.Context, v mlflow.Version, dir string, progress func(done, total int64)) ([]mlmodel.File, error) {
	m.cancel(errInterrupted)
	return m.modelRegistry.Download(ctx, v, dir, progress)
}

func TestInterruptedDeploy(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		wrap func(*ports, context.CancelCauseFunc)
		said string
	}{
		{"before anything moved", func(w *ports, cancel context.CancelCauseFunc) {
			if w.target == nil {
				return
			}
			models := w.models
			w.models = func() (modelRegistry, error) {
				m, err := models()
				return interruptedModels{m, cancel}, err
			}
		}, "interrupted; nothing was changed"},
		{"when the target had moved", func(w *ports, cancel context.CancelCauseFunc) {
			if w.target != nil {
				w.target = interruptedTarget{w.target, cancel}
			}
		}, "iris 1 serves and is verified"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := threeVersions(t)
			deploy := []string{"deploy", "models:/iris@champion", "--image", w.vars["IMAGES"] + "/iris", "--to", "local://" + w.vars["ADDRESS"]}
			if code, text := w.slipway(t.Context(), nil, deploy...); code != exitLive {
				t.Fatalf("exit code %d\n%s", code, text)
			}
			if err := w.client.SetAlias(t.Context(), "iris", "champion", "2"); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			start := time.Now()
			code, text := w.slipway(ctx, func(to *ports) { test.wrap(to, cancel) }, deploy...)
			if code != exitInterrupted || !strings.Contains(text, test.said) {
				t.Errorf("exit code %d, want %d and %q in\n%s", code, exitInterrupted, test.said, text)
			}
			if took := time.Since(start); took > 30*time.Second {
				t.Errorf("it took %s", took)
			}
			if _, text := w.slipway(t.Context(), nil, "status", "local://"+w.vars["ADDRESS"]); !strings.Contains(text, "iris 1, since") || !strings.Contains(text, "2 of 2 ready") || strings.Contains(text, "quarantined") {
				t.Errorf("status afterwards:\n%s", text)
			}
		})
	}
}
