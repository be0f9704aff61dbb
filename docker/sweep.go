package docker

import (
	"context"
	"strconv"
	"strings"
	"time"
)

// What a run leaves in the engine when it is killed: images and containers.
// Their names tell when no run can need them any more.
const (
	imagePrefix     = "slipway-build"
	containerPrefix = "slipway-check-"
	leftover        = 4 * time.Hour
)

// Sweep removes what runs that were killed left in the engine. It is no error
// when something cannot be removed: the next run tries again.
func (c *Client) Sweep(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	now := time.Now()
	if names, err := c.ask(ctx, "", "container", "ls", "--all", "--filter", "name=^"+containerPrefix, "--format", "{{.Names}}"); err == nil {
		for _, name := range overdue(names, containerPrefix, now) {
			_, _ = c.ask(ctx, "", "container", "rm", "--force", "--volumes", name)
		}
	}
	if names, err := c.ask(ctx, "", "image", "ls", "--filter", "reference="+imagePrefix, "--format", "{{.Repository}}:{{.Tag}}"); err == nil {
		for _, name := range overdue(names, imagePrefix+":", now) {
			_, _ = c.ask(ctx, "", "image", "rm", name)
		}
	}
}

// overdue are the names whose time has passed: PREFIX, seconds since 1970, "-"
// and anything.
func overdue(names, prefix string, now time.Time) []string {
	var list []string
	for name := range strings.FieldsSeq(names) {
		rest, ours := strings.CutPrefix(name, prefix)
		seconds, _, whole := strings.Cut(rest, "-")
		until, err := strconv.ParseInt(seconds, 10, 64)
		if ours && whole && err == nil && now.Unix() > until {
			list = append(list, name)
		}
	}
	return list
}
