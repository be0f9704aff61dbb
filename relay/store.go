package relay

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"sync/atomic"
	"time"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/slipway-dev/slipway"
)

// store keeps what must outlive the relay: deliveries that were acted on,
// promotions, and starts. One goroutine writes; what waits for it meanwhile is
// written with one flush to disk.
type store struct {
	db     *sql.DB
	writes chan write
	ended  chan struct{} // closed when the writer is gone
	broken atomic.Bool   // the last write failed
}

type write struct {
	do   func(*sql.Tx) error
	done chan error
}

// Times are milliseconds since 1970.
const schema = `
CREATE TABLE IF NOT EXISTS deliveries (id TEXT PRIMARY KEY, received INTEGER NOT NULL, kind TEXT NOT NULL, model TEXT NOT NULL, alias TEXT NOT NULL, version TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS deliveries_received ON deliveries (received);
CREATE TABLE IF NOT EXISTS promotions (model TEXT, environment TEXT, version TEXT NOT NULL, state TEXT NOT NULL, start TEXT NOT NULL, tried INTEGER NOT NULL, attempts INTEGER NOT NULL,
	since INTEGER NOT NULL, changed INTEGER NOT NULL, next INTEGER NOT NULL, place TEXT NOT NULL, why TEXT NOT NULL, PRIMARY KEY (model, environment)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS starts (id TEXT PRIMARY KEY, at INTEGER NOT NULL, model TEXT NOT NULL, environment TEXT NOT NULL, version TEXT NOT NULL, place TEXT NOT NULL, why TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pulse (one INTEGER PRIMARY KEY CHECK (one = 1), at INTEGER NOT NULL);
PRAGMA user_version = 1;`

// openStore opens the database, makes it when it is missing, and locks it: two
// relays with one database would both start. Code Conflict: another has it;
// Corrupt: it is damaged, or of a newer slipway.
func openStore(path string) (*store, error) {
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() + "?_txlock=immediate&_pragma=busy_timeout(2000)&_pragma=locking_mode(EXCLUSIVE)" +
		"&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=wal_autocheckpoint(1000)"
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, storeError(path, err)
	}
	db.SetMaxOpenConns(1)
	s := &store{db: db, writes: make(chan write, 1024), ended: make(chan struct{})}
	if err := s.prepare(); err != nil {
		return nil, errors.Join(storeError(path, err), db.Close())
	}
	go s.run()
	return s, nil
}

func (s *store) prepare() error {
	var version int
	if err := s.db.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	if version > 1 {
		return slipway.Errorf(slipway.Corrupt, "", "a newer slipway made it").WithHint("use the newer slipway")
	}
	var said string
	if err := s.db.QueryRow("PRAGMA quick_check(1)").Scan(&said); err != nil {
		return err
	}
	if said != "ok" {
		return slipway.Errorf(slipway.Corrupt, "", "%s", said)
	}
	_, err := s.db.Exec(schema)
	return err
}

// storeError says what a person can do about the database.
func storeError(path string, err error) error {
	var own *slipway.Error
	if errors.As(err, &own) && own.Hint != "" {
		return &slipway.Error{Op: "opening " + path, Code: own.Code, Err: own}
	}
	e := &slipway.Error{Op: "opening " + path, Code: slipway.Unavailable, Err: err, Hint: "see whether its folder is there, can be written to, and has room"}
	var s *sqlite.Error
	if errors.As(err, &s) {
		switch s.Code() & 0xff {
		case lib.SQLITE_BUSY, lib.SQLITE_LOCKED:
			e.Code, e.Hint = slipway.Conflict, "another relay has it: end that one, or name another file with --database"
			return e
		case lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB:
			e.Code = slipway.Corrupt
		}
	}
	if slipway.CodeOf(err) == slipway.Corrupt || e.Code == slipway.Corrupt {
		e.Code, e.Message = slipway.Corrupt, "the database is damaged"
		e.Hint = "move the file away and start the relay again: it asks MLflow what is promoted; a release that was started and is not live yet is started once more, which finds the target locked or the work done"
	}
	return e
}

// update does all of it or nothing, durably, together with what others want
// written at the same moment.
func (s *store) update(ctx context.Context, do func(*sql.Tx) error) error {
	w := write{do: do, done: make(chan error, 1)}
	select {
	case s.writes <- w:
	case <-s.ended:
		return errClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-w.done:
		return err
	case <-s.ended:
		return errClosed
	}
}

var errClosed = slipway.Errorf(slipway.Unavailable, "storing", "the database is closed")

// maxBatch bounds how much is written with one flush.
const maxBatch = 256

func (s *store) run() {
	defer close(s.ended)
	for w := range s.writes {
		if w.do == nil {
			return
		}
		batch := []write{w}
	gather:
		for len(batch) < maxBatch {
			select {
			case w := <-s.writes:
				if w.do == nil {
					defer s.commit(batch)
					return
				}
				batch = append(batch, w)
			default:
				break gather
			}
		}
		s.commit(batch)
	}
}

// commit answers everybody in the batch alike: what failed for one is likely to
// fail for all, and each tries again.
func (s *store) commit(batch []write) {
	err := s.transact(batch)
	if err != nil {
		err = &slipway.Error{Op: "storing", Code: slipway.Unavailable, Err: err}
	}
	s.broken.Store(err != nil)
	for _, w := range batch {
		w.done <- err
	}
}

func (s *store) transact(batch []write) error {
	tx, err := s.db.Begin()
	if err != nil {
		return err
	}
	for _, w := range batch {
		if err := w.do(tx); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	return tx.Commit()
}

// healthy reports whether something can be stored, trying it where the last
// time it could not.
func (s *store) healthy(ctx context.Context) bool {
	if !s.broken.Load() {
		return true
	}
	return s.update(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec("INSERT INTO pulse VALUES (1, ?) ON CONFLICT DO UPDATE SET at = excluded.at", millis(time.Now()))
		return err
	}) == nil
}

func (s *store) close() error {
	select {
	case s.writes <- write{}:
	case <-s.ended:
	}
	<-s.ended
	return s.db.Close()
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
