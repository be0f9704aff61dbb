package uv

import (
	"context"
	"regexp"
	"slices"
	"strings"
)

// Probed is what uv has on this machine.
type Probed struct {
	Version   string   // of uv, "0.9.2"; "" where it does not say
	Pythons   []string // "3.12.4", the newest first, each once
	Downloads bool     // uv may download others
}

var (
	versionLine = regexp.MustCompile(`^uv ([0-9][0-9A-Za-z.+-]*)`)
	pythonLine  = regexp.MustCompile(`^cpython-(3\.[0-9]+\.[0-9]+)-`)
)

// Probe asks uv for its version and for the Pythons it finds. It downloads
// nothing.
func (c *Client) Probe(ctx context.Context) (Probed, error) {
	said, err := c.run(ctx, "asking uv for its version", Request{}, "--version")
	if err != nil {
		return Probed{}, err
	}
	p := Probed{Downloads: c.mayDownload()}
	if m := versionLine.FindStringSubmatch(said); m != nil {
		p.Version = m[1]
	}
	list, err := c.run(ctx, "looking for Python", Request{}, "python", "list", "--only-installed", "--no-python-downloads")
	for line := range strings.Lines(list) {
		if m := pythonLine.FindStringSubmatch(line); m != nil && !slices.Contains(p.Pythons, m[1]) {
			p.Pythons = append(p.Pythons, m[1])
		}
	}
	return p, err
}
