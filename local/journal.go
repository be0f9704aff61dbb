package local

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/slipway-dev/slipway"
)

var _ slipway.Journal = (*Journal)(nil)

// maxRecordSize bounds a stored record, in bytes.
const maxRecordSize = 32 << 20

// lockPoll is how often a waiting claim looks again.
const lockPoll = 20 * time.Millisecond

// Journal keeps a target's record in files of its folder. The lock is a file
// lock, so the system ends it with its holder; the fencing number outlives it.
type Journal struct {
	dir folder
}

// Journal returns the target's journal.
func (t *Target) Journal() slipway.Journal { return &Journal{dir: t.dir} }

// fencing is who took the lock last, and under which number: fence.json.
type fencing struct {
	Fence  uint64 `json:"fence"`
	Holder string `json:"holder"`
}

// Lock implements slipway.Journal.
func (j *Journal) Lock(ctx context.Context, c slipway.Claim) (slipway.Lock, error) {
	const op = "locking the target"
	if err := j.dir.make(); err != nil {
		return nil, err
	}
	told := false
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		held, err := j.fencing()
		if err != nil {
			return nil, err
		}
		if c.Fence != 0 && c.Fence != held.Fence {
			return nil, superseded(op, held)
		}
		file, err := tryFlock(j.lockPath())
		if err == nil {
			return j.taken(ctx, file, c)
		}
		if !errors.Is(err, errHeld) {
			return nil, fileError(op, j.lockPath(), err)
		}
		if !told && c.Waiting != nil {
			c.Waiting(held.Holder)
		}
		told = true
		if err := pause(ctx, lockPoll); err != nil {
			return nil, err
		}
	}
}

// taken numbers the lock that the file stands for.
func (j *Journal) taken(ctx context.Context, file *os.File, c slipway.Claim) (slipway.Lock, error) {
	fence, err := j.number(ctx, c)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	l := &lock{file: file, path: j.lockPath(), fence: fence, lost: make(chan struct{}), end: make(chan struct{})}
	go l.watch()
	return l, nil
}

func (j *Journal) number(ctx context.Context, c slipway.Claim) (uint64, error) {
	const op = "locking the target"
	guard, err := j.guard(ctx)
	if err != nil {
		return 0, err
	}
	defer guard.Close()
	last, err := j.fencing()
	if err != nil {
		return 0, err
	}
	if c.Fence != 0 && c.Fence != last.Fence {
		return 0, superseded(op, last)
	}
	next := fencing{Fence: c.Fence, Holder: c.Holder}
	if c.Fence == 0 {
		next.Fence = last.Fence + 1
	}
	data, err := json.Marshal(next)
	if err != nil {
		return 0, &slipway.Error{Op: op, Code: slipway.Internal, Err: err}
	}
	if err := writeFile(j.fencePath(), data); err != nil {
		return 0, fileError(op, j.fencePath(), err)
	}
	return next.Fence, nil
}

// Load implements slipway.Journal.
func (j *Journal) Load(ctx context.Context) (slipway.Record, error) {
	if ctx.Err() != nil {
		return slipway.Record{}, context.Cause(ctx)
	}
	const op = "reading the target's record"
	data, err := readFile(j.recordPath(), maxRecordSize)
	if errors.Is(err, fs.ErrNotExist) {
		return slipway.Record{}, nil
	}
	if err != nil {
		return slipway.Record{}, fileError(op, j.recordPath(), err)
	}
	return j.decode(data)
}

func (j *Journal) decode(data []byte) (slipway.Record, error) {
	var r slipway.Record
	if !json.Valid(data) {
		return r, j.broken(errors.New("not JSON"))
	}
	if err := slipway.CheckSchema(data); err != nil {
		return r, err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return slipway.Record{}, j.broken(err)
	}
	r.Revision = revision(data)
	return r, nil
}

func (j *Journal) broken(err error) error {
	e := &slipway.Error{Op: "reading the target's record", Code: slipway.Corrupt, Message: j.recordPath() + " is broken", Err: err}
	return e.WithHint("move it away; the next release starts a new record")
}

// Store implements slipway.Journal.
func (j *Journal) Store(ctx context.Context, fence uint64, r slipway.Record) (slipway.Record, error) {
	const op = "storing the target's record"
	if err := j.dir.make(); err != nil {
		return slipway.Record{}, err
	}
	guard, err := j.guard(ctx)
	if err != nil {
		return slipway.Record{}, err
	}
	defer guard.Close()
	if err := j.checkStore(ctx, fence, r); err != nil {
		return slipway.Record{}, err
	}
	r.SchemaVersion, r.Revision = slipway.RecordSchema, ""
	r.History = r.History[max(0, len(r.History)-slipway.HistoryLimit):]
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return slipway.Record{}, &slipway.Error{Op: op, Code: slipway.Internal, Err: err}
	}
	if len(data) > maxRecordSize {
		return slipway.Record{}, slipway.Errorf(slipway.Exhausted, op, "the record is larger than %d bytes", maxRecordSize)
	}
	if err := writeFile(j.recordPath(), data); err != nil {
		return slipway.Record{}, fileError(op, j.recordPath(), err)
	}
	return j.decode(data)
}

// checkStore compares the revision and the fence with the stored ones.
func (j *Journal) checkStore(ctx context.Context, fence uint64, r slipway.Record) error {
	const op = "storing the target's record"
	last, err := j.fencing()
	if err != nil {
		return err
	}
	if fence == 0 || fence != last.Fence {
		return slipway.Errorf(slipway.Conflict, op, "%q took the target meanwhile", last.Holder).
			WithHint("slipway status shows what it does")
	}
	stored, err := j.Load(ctx)
	if err != nil {
		return err
	}
	if stored.Revision != r.Revision {
		return slipway.Errorf(slipway.Conflict, op, "the record was changed meanwhile").WithHint("read it again")
	}
	return nil
}

func (j *Journal) fencing() (fencing, error) {
	const op = "reading the target's fencing number"
	var f fencing
	data, err := readFile(j.fencePath(), 64<<10)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return f, fileError(op, j.fencePath(), err)
	}
	if err := json.Unmarshal(data, &f); err != nil {
		return f, (&slipway.Error{Op: op, Code: slipway.Corrupt, Message: j.fencePath() + " is broken", Err: err}).
			WithHint(`write {"fence": N} into it, N larger than every "fence" in %s and %s`, j.recordPath(), j.dir.path("desired.json"))
	}
	return f, nil
}

// guard keeps others from reading and writing for the moment it is held; the
// lock says who may, and for long.
func (j *Journal) guard(ctx context.Context) (*os.File, error) {
	path := j.dir.path("journal", "guard")
	file, err := waitFlock(ctx, path, time.Millisecond)
	if err != nil && ctx.Err() == nil {
		return nil, fileError("entering the journal", path, err)
	}
	return file, err
}

func (j *Journal) lockPath() string   { return j.dir.path("journal", "lock") }
func (j *Journal) fencePath() string  { return j.dir.path("journal", "fence.json") }
func (j *Journal) recordPath() string { return j.dir.path("journal", "record.json") }

func superseded(op string, by fencing) error {
	return slipway.Errorf(slipway.Superseded, op, "a newer release owns the target: %q took it", by.Holder)
}

func revision(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}

// lock is a held lock file.
type lock struct {
	file  *os.File
	path  string
	fence uint64
	once  sync.Once
	lost  chan struct{}
	end   chan struct{}
	err   error
}

func (l *lock) Fence() uint64 { return l.fence }

func (l *lock) Lost() <-chan struct{} { return l.lost }

func (l *lock) Unlock(context.Context) error {
	l.once.Do(func() {
		close(l.end)
		l.err = l.file.Close()
	})
	<-l.lost
	return l.err
}

// watch ends the lock when its file is no longer the one others would lock:
// somebody deleted or restored the folder.
func (l *lock) watch() {
	defer close(l.lost)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-l.end:
			return
		case <-tick.C:
			if !isAt(l.file, l.path) {
				return
			}
		}
	}
}
