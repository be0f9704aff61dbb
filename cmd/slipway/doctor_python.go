package main

import (
	"context"
	"strings"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/sandbox"
	"github.com/slipway-dev/slipway/uv"
)

// python looks at what models need that bring Python packages. Those saved as
// skops are served without.
func (d *doctor) python(ctx context.Context) []finding {
	return append(d.uv(ctx), isolation(ctx))
}

func (d *doctor) uv(ctx context.Context) []finding {
	const without = "models with Python packages cannot be built, and others are self-checked instead of proved"
	world, err := d.registries()
	if err != nil {
		return []finding{failed("uv", "", err)}
	}
	client, err := world.python()
	if slipway.CodeOf(err) == slipway.NotFound {
		return append([]finding{note("uv", "", slipway.HintOf(err), "it is not here: %s", without)}, unasked("there is no uv", "", "Python")...)
	}
	if err != nil {
		return append([]finding{failed("uv", "", err)}, unasked("there is no uv", "", "Python")...)
	}
	p, err := client.Probe(ctx)
	if err != nil {
		return append([]finding{failed("uv", "", err)}, unasked("uv does not work", "", "Python")...)
	}
	return []finding{good("uv", "", "%s", orElse(p.Version, "it works")), pythons(p)}
}

func pythons(p uv.Probed) finding {
	const check = "Python"
	switch {
	case len(p.Pythons) > 0 && p.Downloads:
		return good(check, "", "%s; uv fetches others", strings.Join(p.Pythons, ", "))
	case len(p.Pythons) > 0:
		return good(check, "", "%s; uv may not fetch others", strings.Join(p.Pythons, ", "))
	case p.Downloads:
		return good(check, "", "none is here; uv fetches the one a model needs")
	}
	return note(check, "", "uv python install 3.12, or unset UV_PYTHON_DOWNLOADS and UV_OFFLINE", "none is here, and uv may not fetch one")
}

// isolation looks whether foreign code can be kept from this machine.
func isolation(ctx context.Context) finding {
	const check = "sandbox"
	if err := sandbox.Check(ctx); err != nil {
		return failed(check, "", err).tolerable()
	}
	return good(check, "", "a model's code gets nothing of this machine")
}
