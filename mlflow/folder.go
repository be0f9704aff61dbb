package mlflow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

// Folder is a model's folder in an object store that we have credentials of our
// own for. What it names is checked here. Paths are relative, with slashes.
type Folder interface {
	// List returns the files that are directly in dir, by bare name and size,
	// and the names of the folders there. A folder that is missing is empty.
	List(ctx context.Context, dir string) (files []mlmodel.File, dirs []string, err error)

	// Open begins to read a file, from the given byte on if the store can and
	// the file's tag (a strong ETag) is still the one given, else from its
	// beginning: began says which, now is the tag. It asks once.
	Open(ctx context.Context, path string, from int64, tag string) (body io.ReadCloser, began int64, now string, err error)
}

// folderStore reads a Folder as any other store.
type folderStore struct {
	client *Client
	op     string
	uri    string
	folder Folder
}

func (s *folderStore) list(ctx context.Context, dir string) ([]entry, error) {
	files, dirs, err := s.folder.List(ctx, dir)
	if err != nil {
		return nil, err
	}
	entries := make([]entry, 0, len(files)+len(dirs))
	for _, f := range files {
		entries = append(entries, entry{path: f.Path, size: f.Size})
	}
	for _, name := range dirs {
		entries = append(entries, entry{path: name, dir: true})
	}
	for i := range entries {
		if err := checkBare(entries[i].path); err != nil {
			return nil, hostile(s.op, err)
		}
		entries[i].path = join(dir, entries[i].path)
	}
	return entries, nil
}

func checkBare(name string) error {
	if strings.Contains(name, "/") {
		return fmt.Errorf("the name %q has a slash", name)
	}
	return checkName(name)
}

func (s *folderStore) open(ctx context.Context, path string, from int64, tag string) (*body, error) {
	ctx, stop := context.WithCancelCause(ctx)
	r, began, now, err := s.folder.Open(ctx, path, from, tag)
	if err != nil {
		stop(nil)
		return nil, err
	}
	return &body{
		ReadCloser: &guarded{ctx: ctx, stop: stop, stall: s.client.config.Stall, op: s.op, host: s.uri, body: r},
		from:       began, tag: now,
	}, nil
}

// own returns the store with credentials of our own, if it lets us in; nil:
// MLflow has to be asked, because of why.
func (l *locator) own(ctx context.Context, uri string) (s *folderStore, why error) {
	if l.client.config.Folders == nil {
		return nil, nil
	}
	folder, err := l.client.config.Folders(uri)
	if err != nil || folder == nil {
		return nil, err
	}
	s = &folderStore{client: l.client, op: l.op, uri: uri, folder: folder}
	if _, err := s.list(ctx, ""); err != nil {
		return nil, err
	}
	return s, nil
}

// because adds to the error of one way to the files why the other way, which
// is better known to the user, was not taken.
func because(err, why error) error {
	var e *slipway.Error
	if why == nil || !errors.As(err, &e) {
		return err
	}
	both := *e
	both.Err = errors.Join(e.Err, why)
	if hint := slipway.HintOf(why); hint != "" {
		both.Hint = hint
	}
	return &both
}
