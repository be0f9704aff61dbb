package main

import (
	"context"

	"github.com/slipway-dev/slipway/oci"
)

// examinedImages is what an image registry is asked.
type examinedImages interface {
	Probe(ctx context.Context, repository string) (oci.Probed, error)
}

// images looks whether we may push to a repository and pull from it.
func (d *doctor) images(ctx context.Context, repository string) []finding {
	const check = "image registry"
	world, err := d.registries()
	if err != nil {
		return []finding{failed(check, repository, err)}
	}
	registry, ok := world.images.(examinedImages)
	if !ok {
		return nil
	}
	azure := d.azureRegistry(ctx, world, repository)
	probed, err := registry.Probe(ctx, repository)
	if err != nil {
		return append(azure, failed(check, repository, err))
	}
	if host, err := oci.Host(repository); err == nil {
		d.read(host, probed.Time)
	}
	if !probed.Removed {
		return append(azure, good(check, repository, "may push and pull (the probe, an empty upload, expires by itself)"))
	}
	return append(azure, good(check, repository, "may push and pull (probe removed)"))
}
