package docker

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-dev/slipway"
)

// layers is the folder where a builder keeps a platform's layers that has no
// memory of its own that lasts: a builder in a container goes with a CI machine,
// and a folder can be kept. The engine's own builder cannot use one, and needs
// none. nil keeps nothing.
type layers struct {
	dir   string
	fresh string   // where the build writes: BuildKit adds to a folder and never takes away, so this takes the place of dir
	lock  *os.File // held shared: while a build reads dir, nobody takes it away
}

// freshPrefix begins the names of folders that no run can need any more once
// the time in them has passed.
const freshPrefix = "new-"

// openLayers makes the folder ready for one build, which closes it.
func (c *Client) openLayers(platform string) (*layers, error) {
	if c.driver == "docker" || c.cache == "" {
		return nil, nil
	}
	all := filepath.Join(c.cache, "layers")
	if err := os.MkdirAll(all, 0o755); err != nil {
		return nil, layersFailure(all, err)
	}
	sweepLayers(all)
	l := &layers{dir: filepath.Join(all, strings.ReplaceAll(platform, "/", "-")), fresh: newFolder(all)}
	var err error
	if l.lock, err = os.OpenFile(l.dir+".lock", os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return nil, layersFailure(all, err)
	}
	if err := syscall.Flock(int(l.lock.Fd()), syscall.LOCK_SH); err != nil { // others hold it alone for two renames
		l.close()
		return nil, layersFailure(all, err)
	}
	return l, nil
}

func newFolder(all string) string {
	return filepath.Join(all, newName(freshPrefix, time.Now().Add(leftover)))
}

// sweepLayers removes what runs left that were killed; what it cannot remove,
// the next run tries.
func sweepLayers(all string) {
	entries, _ := os.ReadDir(all)
	for _, e := range entries {
		if len(overdue(e.Name(), freshPrefix, time.Now())) > 0 {
			_ = os.RemoveAll(filepath.Join(all, e.Name()))
		}
	}
}

// arguments are those of buildx. A disk that is full of layers fails no build
// (BuildKit since 0.12).
func (l *layers) arguments() []string {
	if l == nil {
		return nil
	}
	args := []string{"--cache-to", "type=local,mode=max,ignore-error=true,dest=" + l.fresh}
	if _, err := os.Stat(filepath.Join(l.dir, "index.json")); err == nil {
		args = append(args, "--cache-from", "type=local,src="+l.dir)
	}
	return args
}

// keep puts what the build wrote in the place of what was there, unless another
// build reads that: the last of several is the one that keeps its layers.
func (l *layers) keep() error {
	if l == nil {
		return nil
	}
	if _, err := os.Stat(filepath.Join(l.fresh, "index.json")); err != nil {
		return nil //nolint:nilerr // the builder kept nothing, or not all
	}
	err := syscall.Flock(int(l.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil
	}
	old := newFolder(filepath.Dir(l.dir))
	if err == nil {
		err = os.Rename(l.dir, old)
	}
	if err == nil || errors.Is(err, os.ErrNotExist) {
		err = os.Rename(l.fresh, l.dir)
	}
	_ = syscall.Flock(int(l.lock.Fd()), syscall.LOCK_UN) // closing does it, too
	return layersFailure(filepath.Dir(l.dir), errors.Join(err, os.RemoveAll(old)))
}

// close removes what is not kept.
func (l *layers) close() {
	if l == nil {
		return
	}
	_ = os.RemoveAll(l.fresh) // what stays, a later run sweeps
	_ = l.lock.Close()
}

func layersFailure(dir string, err error) error {
	if err == nil {
		return nil
	}
	return (&slipway.Error{Op: "keeping the layers", Code: slipway.CodeOf(fileFailure("", err)), Err: err}).
		WithHint("the next build does without them; remove %s, or let this user write there", dir)
}
