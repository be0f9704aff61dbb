//go:build e2e

package local_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
)

// A disk that is really full: nothing that was there is lost, the errors say
// what to do, and with space again all goes on.
func TestE2EAFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		e2e.NotRun(t, "mounting a small file system needs root")
	}
	b := newBench(t)
	if err := os.MkdirAll(b.path(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("slipway-test", b.path(), "tmpfs", 0, "size=1m,mode=700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(b.target.Stop(context.WithoutCancel(t.Context())), syscall.Unmount(b.path(), syscall.MNT_DETACH)); err != nil {
			t.Error(err)
		}
	})
	b.deploy(t, 1, release(2))
	b.deploy(t, 1, release(1))
	b.await(t, func(o slipway.Observation) bool { return len(o.Replicas) == o.Want }) // the files of the others are gone
	journal := b.target.Journal()
	lock, err := journal.Lock(t.Context(), slipway.Claim{Holder: "a"})
	if err != nil {
		t.Fatal(err)
	}
	kept, err := journal.Store(t.Context(), lock.Fence(), slipway.Record{Hold: &slipway.Hold{By: "ada"}})
	if err != nil {
		t.Fatal(err)
	}

	full := filepath.Join(b.path(), "full")
	if err := os.WriteFile(full, bytes.Repeat([]byte("x"), 2<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling the disk gave %v", err)
	}
	for what, err := range map[string]error{
		"a new image":   b.target.Act(t.Context(), slipway.Action{Kind: slipway.Apply, Fence: 2, Release: release(3)}),
		"an old image":  b.target.Act(t.Context(), slipway.Action{Kind: slipway.Apply, Fence: 2, Release: release(2)}),
		"removing":      b.target.Act(t.Context(), slipway.Action{Kind: slipway.Remove, Fence: 2}),
		"the journal":   second(journal.Store(t.Context(), lock.Fence(), kept)),
		"the next lock": nextLock(t, b, lock),
	} {
		if slipway.CodeOf(err) != slipway.Exhausted || slipway.HintOf(err) == "" {
			t.Errorf("%s: %q: %v", what, slipway.CodeOf(err), err)
		}
	}
	if o := b.await(t, func(slipway.Observation) bool { return true }); !o.Settled(digest(1)) {
		t.Errorf("with a full disk: %+v", o)
	}
	b.wantAnswer(t, "1")
	got, err := journal.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(kept, got); diff != "" {
		t.Errorf("the record (-want +got):\n%s", diff)
	}

	if err := os.Remove(full); err != nil {
		t.Fatal(err)
	}
	b.deploy(t, 2, release(3))
	b.wantAnswer(t, "3")
}

func second[T any](_ T, err error) error { return err }

// nextLock gives the lock away and takes it again.
func nextLock(t *testing.T, b *bench, lock slipway.Lock) error {
	t.Helper()
	if err := lock.Unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := b.target.Journal().Lock(t.Context(), slipway.Claim{Holder: "b"})
	return err
}
