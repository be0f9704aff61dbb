package mlflow

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

// partial is a download on its way: a folder beside the final one that a later
// run of the same download goes on with.
//
//	.NAME.KEY.partial/lock     held by the process at work
//	                 /journal  a JSON line for each file begun or finished
//	                 /parts/   files in transfer
//	                 /model/   finished files, renamed to the final folder at the end
//
// All access goes through an os.Root, so that not even a name that got past
// our checks leads out of it.
type partial struct {
	op      string
	dir     string
	root    *os.Root
	lock    *os.File
	journal *os.File

	mu   sync.Mutex // guards the maps and the journal
	tags map[string]string
	done map[string]mlmodel.File
}

// line is one record of the journal; the last of a path counts.
type line struct {
	Path   string         `json:"path"`
	Tag    string         `json:"tag,omitempty"` // begun: the file's ETag
	Size   int64          `json:"size,omitempty"`
	SHA256 slipway.Digest `json:"sha256,omitempty"` // finished
}

// openPartial opens or makes the partial download of what key names, waiting
// while another process is at it.
func openPartial(ctx context.Context, op, final, key string) (*partial, error) {
	sum := sha256.Sum256([]byte(key))
	name := "." + filepath.Base(final) + "." + hex.EncodeToString(sum[:8]) + ".partial"
	p := newPartial(op, filepath.Join(filepath.Dir(final), name))
	for {
		taken, err := p.claim(ctx)
		if err != nil {
			return nil, errors.Join(onDisk(op, err), p.close())
		}
		if taken {
			break
		}
	}
	if err := p.load(); err != nil {
		return nil, errors.Join(onDisk(op, err), p.close())
	}
	return p, nil
}

func newPartial(op, dir string) *partial {
	return &partial{op: op, dir: dir, tags: map[string]string{}, done: map[string]mlmodel.File{}}
}

// claim takes the lock. It is false when the folder was renamed away or
// removed by its holder in the meantime: try again.
func (p *partial) claim(ctx context.Context) (bool, error) {
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return false, err
	}
	path := filepath.Join(p.dir, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := flock(ctx, p.op, f); err != nil {
		return false, errors.Join(err, f.Close())
	}
	mine, err1 := f.Stat()
	there, err2 := os.Stat(path)
	if err1 != nil || err2 != nil || !os.SameFile(mine, there) {
		return false, f.Close()
	}
	p.lock = f
	return true, nil
}

// flock waits for the file's lock, which the kernel lets go with the process.
func flock(ctx context.Context, op string, f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		if !sleep(ctx, 50*time.Millisecond) {
			return &slipway.Error{Op: op, Code: slipway.Unavailable, Message: "another process is downloading the same", Err: context.Cause(ctx)}
		}
	}
}

func (p *partial) load() (err error) {
	if p.root, err = os.OpenRoot(p.dir); err != nil {
		return err
	}
	for _, dir := range []string{"parts", "model"} {
		if err := p.root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if p.journal, err = p.root.OpenFile("journal", os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o644); err != nil {
		return err
	}
	return p.replay(p.journal)
}

// replay reads the journal. A line torn by a crash, and all that is not ours,
// is passed over: what it told of is fetched again.
func (p *partial) replay(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 64<<10)
	for lines.Scan() {
		var l line
		if json.Unmarshal(lines.Bytes(), &l) != nil || l.Path == "" || checkPath(l.Path) != nil {
			continue
		}
		delete(p.done, l.Path)
		delete(p.tags, l.Path)
		if l.SHA256 != "" {
			p.done[l.Path] = mlmodel.File{Path: l.Path, Size: l.Size, SHA256: l.SHA256}
		} else if l.Tag != "" {
			p.tags[l.Path] = l.Tag
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, bufio.ErrTooLong) {
		return err
	}
	return nil
}

func (p *partial) note(l line) error {
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.tags, l.Path)
	if l.SHA256 != "" {
		p.done[l.Path] = mlmodel.File{Path: l.Path, Size: l.Size, SHA256: l.SHA256}
	} else if l.Tag != "" {
		p.tags[l.Path] = l.Tag
	}
	_, err = p.journal.Write(append([]byte{'\n'}, append(b, '\n')...)) // the first newline ends a torn line
	return onDisk(p.op, err)
}

// tag returns the ETag of what is in the file's part.
func (p *partial) tag(path string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tags[path]
}

// finished returns the file if an earlier run finished it and it still is what
// was recorded then, read again to the last byte.
func (p *partial) finished(e entry) (mlmodel.File, bool) {
	p.mu.Lock()
	want, ok := p.done[e.path]
	p.mu.Unlock()
	if !ok || want.Size != e.size {
		return mlmodel.File{}, false
	}
	f, err := p.root.Open("model/" + e.path)
	if err != nil {
		return mlmodel.File{}, false
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	return want, err == nil && n == e.size && digest(h) == want.SHA256
}

// part is a file in transfer.
type part struct {
	partial *partial
	entry   entry
	name    string
	file    *os.File
	hash    hash.Hash
	size    int64 // bytes in the file, all of them in hash
}

// part opens the file's part. What is in it already counts only when the
// server's tag for it is known, for nothing else tells whether the file on the
// server is still the same.
func (p *partial) part(e entry) (*part, error) {
	sum := sha256.Sum256([]byte(e.path))
	t := &part{partial: p, entry: e, name: "parts/" + hex.EncodeToString(sum[:16]), hash: sha256.New()}
	f, err := p.root.OpenFile(t.name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, onDisk(p.op, err)
	}
	t.file = f
	if p.tag(e.path) != "" {
		t.size, err = io.Copy(t.hash, f)
	}
	if err == nil && (t.size == 0 || t.size > e.size) {
		err = t.restart("")
	}
	if err != nil {
		return nil, errors.Join(onDisk(p.op, err), f.Close())
	}
	return t, nil
}

// restart empties the part; tag is that of the bytes to come.
func (t *part) restart(tag string) error {
	t.hash.Reset()
	t.size = 0
	if err := t.file.Truncate(0); err != nil {
		return onDisk(t.partial.op, err)
	}
	if _, err := t.file.Seek(0, io.SeekStart); err != nil {
		return onDisk(t.partial.op, err)
	}
	if tag == t.partial.tag(t.entry.path) {
		return nil
	}
	return t.partial.note(line{Path: t.entry.path, Tag: tag})
}

// Write appends to the part.
func (t *part) Write(b []byte) (int, error) {
	n, err := t.file.Write(b)
	t.hash.Write(b[:n])
	t.size += int64(n)
	return n, onDisk(t.partial.op, err)
}

// finish moves the whole file to its place and records it.
func (t *part) finish() (mlmodel.File, error) {
	p, f := t.partial, mlmodel.File{Path: t.entry.path, Size: t.size, SHA256: digest(t.hash)}
	to := "model/" + f.Path
	if i := strings.LastIndexByte(to, '/'); i > 0 {
		if err := p.root.MkdirAll(to[:i], 0o755); err != nil {
			return f, onDisk(p.op, err)
		}
	}
	if err := p.root.Rename(t.name, to); err != nil {
		return f, onDisk(p.op, err)
	}
	return f, p.note(line{Path: f.Path, Size: f.Size, SHA256: f.SHA256})
}

func (t *part) close() error { return onDisk(t.partial.op, t.file.Close()) }

// keepOnly removes finished files that are not among the paths.
func (p *partial) keepOnly(paths map[string]bool) error {
	err := fs.WalkDir(p.root.FS(), "model", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || paths[strings.TrimPrefix(path, "model/")] {
			return err
		}
		return p.root.Remove(path)
	})
	return onDisk(p.op, err)
}

// model is the folder of the finished files.
func (p *partial) model() string { return filepath.Join(p.dir, "model") }

// commit renames the finished model to its final place, in one step.
func (p *partial) commit(final string) error {
	err := os.Remove(final) // succeeds on an empty folder only, which os.Rename does not replace
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = os.Rename(p.model(), final)
	}
	if errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, fs.ErrExist) {
		return occupied(p.op, final)
	}
	if err != nil {
		return onDisk(p.op, err)
	}
	return p.discard()
}

// discard removes all that is left.
func (p *partial) discard() error { return onDisk(p.op, os.RemoveAll(p.dir)) }

// close lets the lock go and keeps the files for the next run.
func (p *partial) close() error {
	var errs []error
	for _, c := range []io.Closer{p.journal, p.root, p.lock} {
		if f, ok := c.(*os.File); ok && f == nil {
			continue
		}
		if r, ok := c.(*os.Root); ok && r == nil {
			continue
		}
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// onDisk explains an error of our own file system.
func onDisk(op string, err error) error {
	var own *slipway.Error
	if err == nil || errors.As(err, &own) {
		return err
	}
	e := &slipway.Error{Op: op, Code: slipway.Invalid, Message: "the files cannot be stored", Err: err,
		Hint: "check the folder and its permissions"}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
		e.Code, e.Message = slipway.Exhausted, "the disk is full, or takes no more of us"
		e.Hint = "free some space and run the command again: it goes on where it stopped"
	}
	return e
}

func occupied(op, dir string) error {
	return slipway.Errorf(slipway.Conflict, op, "%s exists and is not empty", dir).WithHint("name another folder, or remove it")
}

func digest(h hash.Hash) slipway.Digest {
	return slipway.Digest("sha256:" + hex.EncodeToString(h.Sum(nil)))
}
