package slipwaytest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"sync"

	"github.com/slipway-dev/slipway"
)

var _ slipway.Journal = (*MemoryJournal)(nil)

// MemoryJournal is a slipway.Journal in memory.
type MemoryJournal struct {
	mu     sync.Mutex
	stored []byte // JSON of the record; nil: none
	fence  uint64
	held   *memoryLock // nil: free
}

// NewMemoryJournal returns an empty journal.
func NewMemoryJournal() *MemoryJournal { return &MemoryJournal{} }

// Lock implements slipway.Journal.
func (j *MemoryJournal) Lock(ctx context.Context, c slipway.Claim) (slipway.Lock, error) {
	told := false
	for {
		lock, holder, err := j.tryLock(ctx, c)
		if err != nil || lock != nil {
			return lock, err
		}
		if !told && c.Waiting != nil {
			c.Waiting(holder.holder)
		}
		told = true
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-holder.lost:
		}
	}
}

// tryLock returns either the lock or who holds it.
func (j *MemoryJournal) tryLock(ctx context.Context, c slipway.Claim) (slipway.Lock, *memoryLock, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return nil, nil, context.Cause(ctx)
	case c.Fence != 0 && c.Fence != j.fence:
		return nil, nil, slipway.Errorf(slipway.Superseded, "locking the target", "a newer release owns the target")
	case j.held != nil:
		return nil, j.held, nil
	}
	if c.Fence == 0 {
		j.fence++
	}
	j.held = &memoryLock{journal: j, holder: c.Holder, fence: j.fence, lost: make(chan struct{})}
	return j.held, nil, nil
}

// Load implements slipway.Journal.
func (j *MemoryJournal) Load(ctx context.Context) (slipway.Record, error) {
	if ctx.Err() != nil {
		return slipway.Record{}, context.Cause(ctx)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return decodeRecord(j.stored)
}

// Store implements slipway.Journal.
func (j *MemoryJournal) Store(ctx context.Context, fence uint64, r slipway.Record) (slipway.Record, error) {
	const op = "storing the target's record"
	if ctx.Err() != nil {
		return slipway.Record{}, context.Cause(ctx)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case fence == 0 || fence != j.fence:
		return slipway.Record{}, slipway.Errorf(slipway.Conflict, op, "a newer release owns the target")
	case r.Revision != revisionOf(j.stored):
		return slipway.Record{}, slipway.Errorf(slipway.Conflict, op, "somebody else changed it meanwhile")
	}
	r.SchemaVersion, r.Revision = slipway.RecordSchema, ""
	r.History = r.History[max(0, len(r.History)-slipway.HistoryLimit):]
	data, err := json.Marshal(r)
	if err != nil {
		return slipway.Record{}, &slipway.Error{Op: op, Code: slipway.Internal, Err: err}
	}
	j.stored = data
	return decodeRecord(data)
}

// Plant puts data where the record is, whatever it says.
func (j *MemoryJournal) Plant(data []byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.stored = data
}

// Die takes the lock from whoever holds it, as if its process had died.
func (j *MemoryJournal) Die() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.release(j.held)
}

func (j *MemoryJournal) release(l *memoryLock) {
	if l != nil && j.held == l {
		j.held = nil
		close(l.lost)
	}
}

func decodeRecord(data []byte) (slipway.Record, error) {
	var r slipway.Record
	if data == nil {
		return r, nil
	}
	if err := slipway.CheckSchema(data); err != nil {
		return r, err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, &slipway.Error{Op: "reading the target's record", Code: slipway.Corrupt, Err: err}
	}
	r.Revision = revisionOf(data)
	return r, nil
}

func revisionOf(data []byte) string {
	if data == nil {
		return ""
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}

type memoryLock struct {
	journal *MemoryJournal
	holder  string
	fence   uint64
	lost    chan struct{}
}

func (l *memoryLock) Fence() uint64 { return l.fence }

func (l *memoryLock) Lost() <-chan struct{} { return l.lost }

func (l *memoryLock) Unlock(context.Context) error {
	l.journal.mu.Lock()
	defer l.journal.mu.Unlock()
	l.journal.release(l)
	return nil
}
