package mlflow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

// Download fetches all files of the version into dir, which must not exist or
// be empty, and returns them sorted by path with their SHA-256.
//
// The folder appears at the end and whole, or not at all. What was fetched
// before a failure stays beside it and the next call for the same version and
// folder goes on there. MLflow keeps no checksums: sizes are compared with the
// listing, which must be the same at the end as at the beginning.
//
// progress, which may be nil, is told the bytes on disk and in all, by one
// goroutine at a time. The codes: Invalid where the files cannot be had this
// way (the hint says which does), NotFound, Unauthorized, Unavailable,
// Exhausted for a limit or a full disk, Corrupt for files that are not what
// the server said, Conflict when dir is in the way.
func (c *Client) Download(ctx context.Context, v Version, dir string, progress func(done, total int64)) ([]mlmodel.File, error) {
	op := "downloading " + v.String()
	if err := vacant(op, dir); err != nil {
		return nil, err
	}
	from, err := c.locate(ctx, op, v)
	if err != nil {
		return nil, err
	}
	if proxy, ok := from.store.(*proxyStore); ok {
		if proxy.signed, err = c.presigns(ctx, op, proxy.server); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, onDisk(op, err)
	}
	p, err := openPartial(ctx, op, filepath.Clean(dir), c.URI()+"\n"+v.String()+"\n"+from.uri)
	if err != nil {
		return nil, err
	}
	files, err := c.fill(ctx, op, from, p, progress)
	if err == nil {
		err = p.commit(dir)
	}
	if slipway.CodeOf(err) == slipway.Corrupt { // what is there may be a mixture
		err = errors.Join(err, p.discard())
	}
	return files, errors.Join(err, onDisk(op, p.close()))
}

// vacant checks that dir can be taken, before anything is fetched.
func vacant(op, dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return onDisk(op, err)
	}
	if len(entries) > 0 {
		return occupied(op, dir)
	}
	return nil
}

// presigns asks whether the proxy gives presigned URLs. Servers that do not
// know the question do not give any.
func (c *Client) presigns(ctx context.Context, op, server string) (bool, error) {
	var info struct {
		Downloads bool `json:"multipart_downloads_enabled"`
	}
	err := c.ask(ctx, call{op: op, path: "api/3.0/mlflow/server-info", server: server}, &info)
	if hasStatus(err, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusForbidden, http.StatusUnauthorized) ||
		slipway.CodeOf(err) == slipway.Invalid {
		return false, nil
	}
	return info.Downloads, err
}

// fill completes the partial download.
func (c *Client) fill(ctx context.Context, op string, from place, p *partial, progress func(done, total int64)) ([]mlmodel.File, error) {
	listing, err := c.list(ctx, op, from)
	if err != nil {
		return nil, err
	}
	paths := map[string]bool{}
	for _, e := range listing {
		paths[e.path] = true
	}
	if err := p.keepOnly(paths); err != nil {
		return nil, err
	}
	files, err := c.fetchAll(ctx, op, from.store, p, listing, newMeter(listing, progress))
	if err != nil {
		return nil, err
	}
	again, err := c.walk(ctx, op, from.store)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(listing, again) {
		return nil, changed(op)
	}
	return files, identify(op, from, p.model())
}

// list walks the store and checks that there is a model.
func (c *Client) list(ctx context.Context, op string, from place) ([]entry, error) {
	listing, err := c.walk(ctx, op, from.store)
	if err != nil {
		return nil, err
	}
	if len(listing) == 0 {
		return nil, slipway.Errorf(slipway.NotFound, op, "there are no files at %s", from.uri).
			WithHint("they were deleted, or never uploaded: log and register the model again")
	}
	if !slices.ContainsFunc(listing, func(e entry) bool { return e.path == "MLmodel" }) {
		return nil, slipway.Errorf(slipway.Invalid, op, "there is no MLmodel file at %s", from.uri).
			WithHint("register the folder that holds the MLmodel file")
	}
	return listing, nil
}

func (c *Client) fetchAll(ctx context.Context, op string, s store, p *partial, listing []entry, m *meter) ([]mlmodel.File, error) {
	files := make([]mlmodel.File, len(listing))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(c.config.Jobs)
	for i, e := range listing {
		group.Go(func() (err error) {
			if ctx.Err() != nil {
				return &slipway.Error{Op: op, Code: slipway.Unavailable, Message: "interrupted", Err: context.Cause(ctx)}
			}
			files[i], err = c.fetch(ctx, s, p, e, m)
			return about(err, op, e.path)
		})
	}
	return files, group.Wait()
}

// worthMore is how many bytes a try must have brought to be followed by as
// many tries as the first: long transfers may break often, but not for ever.
const worthMore = 1 << 20

// fetch brings one file, going on where a try before it ended.
func (c *Client) fetch(ctx context.Context, s store, p *partial, e entry, m *meter) (file mlmodel.File, err error) {
	if f, ok := p.finished(e); ok {
		m.add(e.size)
		return f, nil
	}
	t, err := p.part(e)
	if err != nil {
		return file, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	m.add(t.size)
	for before := int64(-worthMore); t.size-before >= worthMore; {
		before = t.size
		err = c.repeat(ctx, false, func() error { return t.receive(ctx, s, m) })
		if err == nil {
			return t.finish()
		}
		if !slipway.Retryable(err) || ctx.Err() != nil {
			break
		}
	}
	return file, giveUp(t.partial.op, err)
}

// errShort is a transfer that ended cleanly before the listed size.
type errShort struct{ got, want int64 }

func (e errShort) Error() string { return fmt.Sprintf("it ended after %d of %d bytes", e.got, e.want) }

// giveUp is the error after the last try. What was worth another try then
// turns out to be wrong for good.
func giveUp(op string, err error) error {
	var short errShort
	var other errChanged
	switch {
	case errors.As(err, &short):
		return &slipway.Error{Code: slipway.Corrupt, Message: "the file is shorter than MLflow lists it", Err: short,
			Hint: "log the model again if this stays so"}
	case errors.As(err, &other):
		return changed(op)
	}
	return err
}

// receive is one try: it asks for what is missing and appends it.
func (t *part) receive(ctx context.Context, s store, m *meter) error {
	op, tag := t.partial.op, t.partial.tag(t.entry.path)
	if t.size == t.entry.size && tag != "" {
		return nil // whole, and only its record was lost
	}
	b, err := s.open(ctx, t.entry.path, t.size, tag)
	var other errChanged
	if errors.As(err, &other) {
		m.add(-t.size)
		if err := t.restart(""); err != nil {
			return err
		}
		return &slipway.Error{Op: op, Code: slipway.Unavailable, Err: err}
	}
	if err != nil {
		return err
	}
	defer b.Close()
	if b.from != t.size || b.tag != tag {
		m.add(-t.size)
		if err := t.restart(b.tag); err != nil {
			return err
		}
	}
	_, err = io.Copy(io.MultiWriter(t, m), io.LimitReader(b, t.entry.size-t.size+1))
	switch {
	case err != nil:
		return err
	case t.size > t.entry.size:
		return slipway.Errorf(slipway.Corrupt, op, "the file is longer than the %d bytes MLflow lists", t.entry.size)
	case t.size < t.entry.size:
		return &slipway.Error{Op: op, Code: slipway.Unavailable, Err: errShort{t.size, t.entry.size}}
	}
	return nil
}

// about puts the file's name into an error.
func about(err error, op, path string) error {
	var e *slipway.Error
	if !errors.As(err, &e) {
		return err
	}
	named := *e
	named.Op = op + ", file " + path
	return &named
}

func changed(op string) error {
	return slipway.Errorf(slipway.Corrupt, op, "the files changed on the server while they were downloaded").
		WithHint("run the command again once nothing writes to them; a version's files should never change")
}

// identify checks that the MLmodel file belongs to the logged model that the
// version was made of. A file without an identifier, as older clients write
// it, contradicts nothing.
func identify(op string, from place, dir string) error {
	m, err := mlmodel.Open(dir)
	if err != nil {
		return err
	}
	if from.modelID != "" && m.ModelID != "" && m.ModelID != from.modelID {
		return slipway.Errorf(slipway.Corrupt, op, "the files are of model %.80q, the version is of %s", m.ModelID, from.modelID).
			WithHint("somebody overwrote the files: log and register the model again")
	}
	return nil
}

// meter counts bytes for the progress.
type meter struct {
	mu          sync.Mutex
	done, total int64
	report      func(done, total int64)
}

func newMeter(listing []entry, report func(done, total int64)) *meter {
	m := &meter{report: report}
	for _, e := range listing {
		m.total += e.size
	}
	return m
}

// Write counts bytes that went to a part before.
func (m *meter) Write(b []byte) (int, error) {
	m.add(int64(len(b)))
	return len(b), nil
}

func (m *meter) add(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done += n
	if m.report != nil {
		m.report(m.done, m.total)
	}
}
