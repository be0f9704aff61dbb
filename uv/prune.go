package uv

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Sites that are kept, however many there are: the newest, and those that
// somebody used lately, who may be using them still.
const (
	keepNewest = 8
	keepFor    = 24 * time.Hour
)

// prune takes away sites that nobody used for long. What it cannot remove is
// left for the next time.
func (c *Client) prune(ctx context.Context) {
	for _, dir := range c.oldSites(time.Now()) {
		held, err := tryFlock(dir + ".lock")
		if err != nil {
			continue
		}
		aside := filepath.Join(filepath.Dir(dir), ".old-"+filepath.Base(dir))
		if err := os.Rename(dir, aside); err == nil && ctx.Err() == nil {
			_ = os.RemoveAll(aside) // an unused folder that stays costs only its room
		}
		held.Close()
	}
}

func (c *Client) oldSites(now time.Time) []string {
	type used struct {
		dir string
		at  time.Time
	}
	var sites []used
	entries, err := os.ReadDir(filepath.Join(c.cache, "sites"))
	if err != nil {
		return nil
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && info.Mode()&fs.ModeDir != 0 && !strings.HasPrefix(e.Name(), ".") {
			sites = append(sites, used{filepath.Join(c.cache, "sites", e.Name()), info.ModTime()})
		}
	}
	slices.SortFunc(sites, func(a, b used) int { return b.at.Compare(a.at) })
	var old []string
	for i, s := range sites {
		if i >= keepNewest && now.Sub(s.at) > keepFor {
			old = append(old, s.dir)
		}
	}
	return old
}
