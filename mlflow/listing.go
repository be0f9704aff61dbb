package mlflow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

// store is one way to a model's files. Paths are relative to the model, with
// slashes.
type store interface {
	// list returns what is directly in the folder; "" is the model itself.
	// MLflow answers a folder that is missing like an empty one.
	list(ctx context.Context, dir string) ([]entry, error)

	// open begins to read a file that a listing named, from the given byte on
	// if the store can and the file's tag is still the one given, else from
	// its beginning: the body says which. It asks once.
	open(ctx context.Context, path string, from int64, tag string) (*body, error)
}

// entry is a line of a listing.
type entry struct {
	path string // relative to the model
	size int64  // bytes; MLflow leaves it out when it is 0
	dir  bool
}

// body is an opened file.
type body struct {
	io.ReadCloser
	from int64  // where it begins
	tag  string // a strong ETag, or ""
}

const (
	maxDepth = 32   // folders in folders
	maxName  = 255  // bytes of one name
	maxPath  = 1024 // bytes of a path
)

// walk lists everything below the store's root, breadth first, and checks it:
// names, depth, number and size. The files come back sorted by path.
func (c *Client) walk(ctx context.Context, op string, s store) ([]entry, error) {
	w := walker{seen: map[string]string{}, maxFiles: c.config.MaxFiles, maxBytes: c.config.MaxBytes}
	for dirs := []string{""}; len(dirs) > 0; dirs = dirs[1:] {
		entries, err := s.list(ctx, dirs[0])
		if err != nil {
			return nil, err
		}
		below, err := w.take(entries)
		if err != nil {
			return nil, hostile(op, err)
		}
		dirs = append(dirs, below...)
	}
	slices.SortFunc(w.files, func(a, b entry) int { return strings.Compare(a.path, b.path) })
	return w.files, nil
}

type walker struct {
	seen     map[string]string // folded path → path
	files    []entry
	bytes    int64
	maxFiles int
	maxBytes int64
}

// take checks one folder's entries and returns the folders among them.
func (w *walker) take(entries []entry) (dirs []string, err error) {
	for _, e := range entries {
		if err := w.admit(e); err != nil {
			return nil, err
		}
		if e.dir {
			dirs = append(dirs, e.path)
			continue
		}
		if e.size > w.maxBytes-w.bytes { // written so that no size overflows the sum
			return nil, tooMuch{fmt.Sprintf("the model has more than %d bytes", w.maxBytes)}
		}
		w.files = append(w.files, e)
		w.bytes += e.size
	}
	return dirs, nil
}

func (w *walker) admit(e entry) error {
	if err := checkPath(e.path); err != nil {
		return err
	}
	if strings.EqualFold(strings.SplitN(e.path, "/", 2)[0], mlmodel.ReleaseDir) {
		return fmt.Errorf("the name %s is reserved", mlmodel.ReleaseDir)
	}
	folded := strings.ToLower(e.path)
	if other, ok := w.seen[folded]; ok {
		return fmt.Errorf("%q and %q differ in nothing but case, or not at all", other, e.path)
	}
	w.seen[folded] = e.path
	switch {
	case len(w.seen) > w.maxFiles:
		return tooMuch{fmt.Sprintf("the model has more than %d files and folders", w.maxFiles)}
	case strings.Count(e.path, "/") >= maxDepth:
		return tooMuch{fmt.Sprintf("folders are nested more than %d deep", maxDepth)}
	case e.size < 0:
		return fmt.Errorf("%q has a negative size", e.path)
	}
	return nil
}

// tooMuch is a listing over one of our limits.
type tooMuch struct{ what string }

func (t tooMuch) Error() string { return t.what }

func hostile(op string, err error) error {
	var limit tooMuch
	if errors.As(err, &limit) {
		return slipway.Errorf(slipway.Exhausted, op, "%s", limit.what).WithHint("leave out of the model what serving does not need")
	}
	return slipway.Errorf(slipway.Invalid, op, "the server lists a file that is not safe to store: %s", err)
}

// quoted finds what MLflow would unquote although it is part of the name.
var quoted = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

// checkPath accepts a path of plain names that stays where it is put, on any
// file system, and that MLflow can be asked for. "" is accepted: the root.
func checkPath(path string) error {
	if path == "" {
		return nil
	}
	if len(path) > maxPath {
		return fmt.Errorf("a path of %d bytes is too long", len(path))
	}
	for name := range strings.SplitSeq(path, "/") {
		if err := checkName(name); err != nil {
			return err
		}
	}
	return nil
}

func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("an empty name, or an absolute path")
	case name == "." || name == "..":
		return fmt.Errorf("the name %q leads elsewhere", name)
	case len(name) > maxName:
		return fmt.Errorf("a name of %d bytes is too long", len(name))
	case unprintable(name):
		return fmt.Errorf("the name %q has control characters", name)
	case strings.Contains(name, `\`):
		return fmt.Errorf("the name %q has a backslash", name)
	case strings.Contains(name, "#") || quoted.MatchString(name):
		return fmt.Errorf("MLflow cannot hand out the name %q", name)
	}
	return nil
}

// wireListing is MLflow's JSON of a folder (service.proto, ListArtifacts).
type wireListing struct {
	Files []struct {
		Path string `json:"path"`
		Dir  bool   `json:"is_dir"`
		Size int64  `json:"file_size"`
	} `json:"files"`
}

// under returns the entries of the folder dir. Names holds for listings whose
// paths are bare names; else paths begin at root, which is taken off.
func (l wireListing) under(dir, root string, names bool) ([]entry, error) {
	entries := make([]entry, 0, len(l.Files))
	for _, f := range l.Files {
		name := f.Path
		if !names {
			var ok bool
			if name, ok = strings.CutPrefix(f.Path, join(root, dir)+"/"); !ok && join(root, dir) != "" {
				return nil, fmt.Errorf("the listing of %q names %q", join(root, dir), f.Path)
			}
		}
		if strings.Contains(name, "/") {
			return nil, fmt.Errorf("the name %q has a slash", name)
		}
		if err := checkName(name); err != nil {
			return nil, err
		}
		entries = append(entries, entry{path: join(dir, name), size: f.Size, dir: f.Dir})
	}
	return entries, nil
}

func join(dir, name string) string {
	if dir == "" || name == "" {
		return dir + name
	}
	return dir + "/" + name
}

// proxyStore is MLflow's own artifact proxy.
type proxyStore struct {
	client *Client
	op     string
	server string // another MLflow server's origin; empty: the configured one
	root   string // path of the model in the proxy
	signed bool   // the proxy gives presigned URLs
}

func (s *proxyStore) list(ctx context.Context, dir string) ([]entry, error) {
	var out wireListing
	err := s.client.ask(ctx, call{op: s.op, path: artifacts + "artifacts", server: s.server,
		query: url.Values{"path": {join(s.root, dir)}}}, &out)
	if err != nil {
		return nil, err
	}
	entries, err := out.under(dir, s.root, true)
	if err != nil {
		return nil, hostile(s.op, err)
	}
	return entries, nil
}
