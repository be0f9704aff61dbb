package slipwaytest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
)

// patience bounds every wait of the suites.
const patience = 30 * time.Second

// JournalFixture is an empty journal and what the suite needs around it.
type JournalFixture struct {
	Journal slipway.Journal
	Other   slipway.Journal // the same journal as another process sees it

	// Mortal takes the lock as a process that can die and returns how to kill it.
	Mortal func(t *testing.T, holder string) (die func())

	// Plant puts bytes where the record is kept, as another program might.
	Plant func(t *testing.T, data []byte)
}

// Journal checks that the journals of the fixture keep the promises of
// slipway.Journal. Each test gets a fixture of its own.
func Journal(t *testing.T, fixture func(t *testing.T) JournalFixture) {
	tests := []struct {
		name string
		run  func(*testing.T, JournalFixture)
	}{
		{"LoadOfNothingIsZero", loadOfNothing},
		{"StoreThenLoad", storeThenLoad},
		{"StoreRefusesAStaleRevision", storeStaleRevision},
		{"StoreRefusesAnOldFence", storeOldFence},
		{"StoreRefusesAFenceNobodyTook", storeUnknownFence},
		{"StoreKeepsTheNewestHistory", storeBoundsHistory},
		{"OneOfManyWritersWins", oneWriterWins},
		{"LoadSeesWholeRecords", loadSeesWholeRecords},
		{"FencesGrow", fencesGrow},
		{"LockWaitsAndNamesTheHolder", lockWaits},
		{"LockIsHeldByOne", lockIsHeldByOne},
		{"LockEndsWithTheContext", lockEndsWithContext},
		{"LockIsTakenAgainUnderItsFence", lockAgain},
		{"LockWithAnOldFenceIsSuperseded", lockSuperseded},
		{"SupersededIsKnownWithoutWaiting", supersededAtOnce},
		{"UnlockTwiceIsHarmless", unlockTwice},
		{"LostTellsTheEndOfTheLock", lostTells},
		{"ADeadHolderLosesTheLock", deadHolder},
		{"ANewerSchemaIsRefused", newerSchema},
		{"BrokenBytesAreRefused", brokenBytes},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.run(t, fixture(t))
		})
	}
}

func loadOfNothing(t *testing.T, f JournalFixture) {
	got, err := f.Journal.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(slipway.Record{}, got); diff != "" {
		t.Errorf("record of a new target (-want +got):\n%s", diff)
	}
}

func storeThenLoad(t *testing.T, f JournalFixture) {
	lock := take(t, f.Journal, "a")
	want := slipway.Record{
		SchemaVersion: slipway.RecordSchema,
		Live:          &slipway.Release{SchemaVersion: 1, ID: "01A", Phase: slipway.Verified, Created: time.Unix(1700000000, 5).UTC()},
		History:       []slipway.Release{{ID: "01A", Phase: slipway.Verified}},
		Quarantine:    []slipway.Quarantine{{Model: slipway.ModelVersion{Name: "iris", Version: "3"}, Reason: "differs"}},
		Hold:          &slipway.Hold{By: "ada", Reason: "audit"},
	}
	stored, err := f.Journal.Store(t.Context(), lock.Fence(), want)
	if err != nil {
		t.Fatal(err)
	}
	if stored.Revision == "" {
		t.Error("Store returned no revision")
	}
	got, err := f.Other.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(stored, got); diff != "" {
		t.Errorf("Load is not what Store returned (-stored +loaded):\n%s", diff)
	}
	want.Revision = stored.Revision
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
}

func storeStaleRevision(t *testing.T, f JournalFixture) {
	lock := take(t, f.Journal, "a")
	first := store(t, f.Journal, lock, slipway.Record{Hold: &slipway.Hold{By: "first"}})
	second := first
	second.Hold = &slipway.Hold{By: "second"}
	second = store(t, f.Journal, lock, second)
	for _, stale := range []slipway.Record{first, {}, {Revision: "no such revision"}} {
		_, err := f.Journal.Store(t.Context(), lock.Fence(), stale)
		wantCode(t, "Store with revision "+stale.Revision, err, slipway.Conflict)
	}
	wantHold(t, f.Journal, "second")
	if second.Revision == first.Revision {
		t.Error("two different records have the same revision")
	}
}

func storeOldFence(t *testing.T, f JournalFixture) {
	old := take(t, f.Journal, "a")
	release(t, old)
	lock := take(t, f.Other, "b")
	kept := store(t, f.Other, lock, slipway.Record{Hold: &slipway.Hold{By: "b"}})
	kept.Hold = &slipway.Hold{By: "a"}
	_, err := f.Journal.Store(t.Context(), old.Fence(), kept)
	wantCode(t, "Store under the old fence", err, slipway.Conflict)
	wantHold(t, f.Journal, "b")
}

func storeUnknownFence(t *testing.T, f JournalFixture) {
	for _, fence := range []uint64{0, 1 << 40} {
		_, err := f.Journal.Store(t.Context(), fence, slipway.Record{})
		wantCode(t, fmt.Sprintf("Store under fence %d", fence), err, slipway.Conflict)
	}
}

func storeBoundsHistory(t *testing.T, f JournalFixture) {
	lock := take(t, f.Journal, "a")
	var r slipway.Record
	for i := range slipway.HistoryLimit + 7 {
		r.History = append(r.History, slipway.Release{ID: slipway.ReleaseID(fmt.Sprintf("%03d", i)), Phase: slipway.Verified})
	}
	got := store(t, f.Journal, lock, r).History
	if len(got) != slipway.HistoryLimit {
		t.Fatalf("history has %d releases, want %d", len(got), slipway.HistoryLimit)
	}
	if got[0].ID != "007" || got[len(got)-1].ID != "056" {
		t.Errorf("history goes from %s to %s, want the newest: 007 to 056", got[0].ID, got[len(got)-1].ID)
	}
}

func oneWriterWins(t *testing.T, f JournalFixture) {
	lock := take(t, f.Journal, "a")
	start := store(t, f.Journal, lock, slipway.Record{})
	const writers = 8
	errs := make([]error, writers)
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			r := start
			r.Hold = &slipway.Hold{By: fmt.Sprint(i)}
			_, errs[i] = []slipway.Journal{f.Journal, f.Other}[i%2].Store(t.Context(), lock.Fence(), r)
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
			continue
		}
		wantCode(t, "Store of a loser", err, slipway.Conflict)
	}
	if won != 1 {
		t.Errorf("%d of %d writers with the same revision won, want 1", won, writers)
	}
}

func loadSeesWholeRecords(t *testing.T, f JournalFixture) {
	lock := take(t, f.Journal, "a")
	r := store(t, f.Journal, lock, slipway.Record{})
	stored := make(chan error, 1)
	go func() {
		var err error
		for i := 1; i <= 60 && err == nil; i++ {
			r.Hold = &slipway.Hold{By: fmt.Sprint(i), Reason: strings.Repeat("x", i*1000)}
			r, err = f.Journal.Store(context.WithoutCancel(t.Context()), lock.Fence(), r)
		}
		stored <- err
	}()
	for last := 0; ; {
		select {
		case err := <-stored:
			if err != nil {
				t.Error(err)
			}
			return
		default:
		}
		got, err := f.Other.Load(t.Context())
		if err != nil {
			t.Error(err)
			<-stored
			return
		}
		n := 0
		if got.Hold != nil {
			n = len(got.Hold.Reason) / 1000
		}
		if n < last || n > 0 && got.Hold.By != fmt.Sprint(n) {
			t.Errorf("record %d, by %+v, after record %d", n, got.Hold.By, last)
		}
		last = n
	}
}

func fencesGrow(t *testing.T, f JournalFixture) {
	last := uint64(0)
	for i := range 6 {
		lock := take(t, []slipway.Journal{f.Journal, f.Other}[i%2], "a")
		if lock.Fence() <= last {
			t.Errorf("fence %d after %d", lock.Fence(), last)
		}
		last = lock.Fence()
		release(t, lock)
	}
}

func lockWaits(t *testing.T, f JournalFixture) {
	first := take(t, f.Journal, "github run 812")
	waiting := make(chan string, 8)
	got := make(chan uint64, 1)
	go func() {
		lock, err := f.Other.Lock(t.Context(), slipway.Claim{Holder: "ada", Waiting: func(h string) { waiting <- h }})
		if err != nil {
			close(got)
			return
		}
		got <- lock.Fence()
	}()
	if holder := receive(t, waiting); holder != "github run 812" {
		t.Errorf("waiting for %q, want %q", holder, "github run 812")
	}
	select {
	case <-got:
		t.Fatal("the lock was taken while it was held")
	default:
	}
	release(t, first)
	if fence := receive(t, got); fence <= first.Fence() {
		t.Errorf("fence %d after %d", fence, first.Fence())
	}
	if len(waiting) > 0 {
		t.Error("Waiting was called more than once")
	}
}

func lockIsHeldByOne(t *testing.T, f JournalFixture) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	holders, seen := 0, map[uint64]bool{}
	for i := range 6 {
		wg.Go(func() {
			lock, err := []slipway.Journal{f.Journal, f.Other}[i%2].Lock(t.Context(), slipway.Claim{Holder: fmt.Sprint(i)})
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			holders++
			if holders > 1 || seen[lock.Fence()] {
				t.Errorf("%d hold the lock; fence %d seen before: %v", holders, lock.Fence(), seen[lock.Fence()])
			}
			seen[lock.Fence()] = true
			mu.Unlock()
			mu.Lock()
			holders--
			mu.Unlock()
			if err := lock.Unlock(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func lockEndsWithContext(t *testing.T, f JournalFixture) {
	take(t, f.Journal, "a")
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("the user went away")
	_, err := f.Other.Lock(ctx, slipway.Claim{Holder: "b", Waiting: func(string) { cancel(cause) }})
	if !errors.Is(err, cause) && !errors.Is(err, context.Canceled) {
		t.Errorf("Lock gave %v, want the context's error", err)
	}
	_, err = f.Other.Lock(ctx, slipway.Claim{Holder: "b"})
	if err == nil {
		t.Error("Lock with an ended context gave a lock")
	}
}

func lockAgain(t *testing.T, f JournalFixture) {
	first := take(t, f.Journal, "rollout")
	release(t, first)
	again, err := f.Other.Lock(t.Context(), slipway.Claim{Holder: "verify", Fence: first.Fence()})
	if err != nil {
		t.Fatal(err)
	}
	if again.Fence() != first.Fence() {
		t.Errorf("fence %d, want the same %d", again.Fence(), first.Fence())
	}
	store(t, f.Other, again, slipway.Record{})
}

func lockSuperseded(t *testing.T, f JournalFixture) {
	first := take(t, f.Journal, "a")
	release(t, first)
	release(t, take(t, f.Other, "b"))
	_, err := f.Journal.Lock(t.Context(), slipway.Claim{Holder: "a", Fence: first.Fence()})
	wantCode(t, "Lock under an old fence", err, slipway.Superseded)
}

func supersededAtOnce(t *testing.T, f JournalFixture) {
	first := take(t, f.Journal, "a")
	release(t, first)
	take(t, f.Other, "b")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := f.Journal.Lock(ctx, slipway.Claim{Holder: "a", Fence: first.Fence()})
	wantCode(t, "Lock under an old fence while another holds it", err, slipway.Superseded)
}

func unlockTwice(t *testing.T, f JournalFixture) {
	first := take(t, f.Journal, "a")
	release(t, first)
	second := take(t, f.Other, "b")
	release(t, first)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := f.Journal.Lock(ctx, slipway.Claim{Holder: "c", Waiting: func(string) { cancel() }})
	if err == nil {
		t.Error("unlocking twice freed the lock of the next holder")
	}
	release(t, second)
}

func lostTells(t *testing.T, f JournalFixture) {
	lock := take(t, f.Journal, "a")
	select {
	case <-lock.Lost():
		t.Fatal("a held lock is lost")
	default:
	}
	release(t, lock)
	receive(t, lock.Lost())
}

func deadHolder(t *testing.T, f JournalFixture) {
	die := f.Mortal(t, "the dead")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	holder := ""
	lock, err := f.Journal.Lock(ctx, slipway.Claim{Holder: "heir", Waiting: func(h string) { holder = h; die() }})
	if err != nil {
		t.Fatal(err)
	}
	if holder != "the dead" {
		t.Errorf("waited for %q, want %q", holder, "the dead")
	}
	store(t, f.Journal, lock, slipway.Record{})
}

func newerSchema(t *testing.T, f JournalFixture) {
	lock := take(t, f.Journal, "a")
	f.Plant(t, fmt.Appendf(nil, `{"schemaVersion": %d, "live": "not what it is today"}`, slipway.RecordSchema+1))
	_, err := f.Journal.Load(t.Context())
	wantCode(t, "Load of a newer schema", err, slipway.Invalid)
	if _, err := f.Journal.Store(t.Context(), lock.Fence(), slipway.Record{}); err == nil {
		t.Error("Store replaced what a newer program wrote")
	}
}

func brokenBytes(t *testing.T, f JournalFixture) {
	for _, data := range []string{"", "{", "[]", `{"schemaVersion": 1, "history": 7}`, "\x00\x01"} {
		f.Plant(t, []byte(data))
		if r, err := f.Journal.Load(t.Context()); err == nil {
			t.Errorf("Load of %q gave %+v, want an error", data, r)
		}
	}
}

func take(t *testing.T, j slipway.Journal, holder string) slipway.Lock {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	lock, err := j.Lock(ctx, slipway.Claim{Holder: holder})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { release(t, lock) })
	return lock
}

func release(t *testing.T, lock slipway.Lock) {
	t.Helper()
	if err := lock.Unlock(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}

func store(t *testing.T, j slipway.Journal, lock slipway.Lock, r slipway.Record) slipway.Record {
	t.Helper()
	stored, err := j.Store(t.Context(), lock.Fence(), r)
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

func wantHold(t *testing.T, j slipway.Journal, by string) {
	t.Helper()
	r, err := j.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.Hold == nil || r.Hold.By != by {
		t.Errorf("stored hold is %+v, want one by %q", r.Hold, by)
	}
}

func wantCode(t *testing.T, what string, err error, code slipway.Code) {
	t.Helper()
	if got := slipway.CodeOf(err); got != code {
		t.Errorf("%s gave %q (%v), want %q", what, got, err, code)
	}
}

func receive[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came in time")
		panic("unreachable")
	}
}
