package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-dev/slipway"
)

// promoting points the alias elsewhere while a release is being verified.
type promoting struct {
	verifier
	promote func()
}

func (p promoting) Verify(ctx context.Context, o slipway.Observation, r slipway.Release) slipway.Verdict {
	p.promote()
	return p.verifier.Verify(ctx, o, r)
}

// What production gets was live in staging before, also when the promotion
// moves on in between.
func TestProductionOnlyGetsWhatStagingProved(t *testing.T) {
	t.Parallel()
	w := threeVersions(t)
	name := filepath.Join(w.vars["HOME"], "slipway.yaml")
	text := fmt.Sprintf(`
models:
  - model: models:/iris@champion
    image: %s/iris
    environments:
      - {name: staging, target: "local://%s"}
      - {name: production, target: "local://%s", after: staging}
`, w.vars["IMAGES"], w.vars["ADDRESS"], w.vars["ADDRESS2"])
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	w.vars["SLIPWAY_CONFIG"] = name
	meanwhile := func(to *ports) {
		if to.target != nil {
			to.verifier = promoting{to.verifier, func() { w.promote(t, "2") }}
		}
	}
	code, said := w.slipway(t.Context(), meanwhile, "deploy", "-o", "json")
	if code != exitLive || !strings.Contains(said, "production waits: staging has not verified iris 2; it is live with iris 1") {
		t.Errorf("exit code %d\n%s", code, said)
	}
	if _, said = w.slipway(t.Context(), nil, "status", "production"); !strings.Contains(said, "serves    nothing") {
		t.Errorf("production has something:\n%s", said)
	}
	if code, said = w.slipway(t.Context(), nil, "deploy"); code != exitLive {
		t.Errorf("exit code %d\n%s", code, said)
	}
	if _, said = w.slipway(t.Context(), nil, "status"); strings.Count(said, "iris 2, since") != 2 {
		t.Errorf("the next run does not bring both to version 2:\n%s", said)
	}
}
