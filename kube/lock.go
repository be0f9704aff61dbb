package kube

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-dev/slipway"
)

// annotationToken tells one taking of the lock from another: two runs may call
// themselves the same and carry the same number.
const annotationToken = "slipway.dev/token"

const (
	lockPoll   = 250 * time.Millisecond // how often a waiting claim looks again
	maxTerm    = time.Minute            // a Lease that says it lasts longer is not believed
	maxHolder  = 200                    // bytes of a holder's name
	leastSight = 2 * time.Second        // a look at the Lease that comes later than this after the one before starts the count again
)

// claim is one attempt of one process to hold the target.
type claim struct {
	slipway.Claim
	token string
}

// Lock implements slipway.Journal.
//
// The holder writes into the Lease every third of its duration. Whoever waits
// takes it when that has not happened for a whole duration, by the clock of
// the one who waits and only counting time in which the API server answered:
// a holder that could not write either is not dead.
func (j *Journal) Lock(ctx context.Context, c slipway.Claim) (slipway.Lock, error) {
	mine := claim{Claim: c, token: rand.Text()}
	mine.Holder = printable(c.Holder, maxHolder)
	fence, err := j.wait(ctx, mine)
	if err != nil {
		j.abandon(ctx, mine)
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	j.token.Store(&mine.token)
	l := &lock{journal: j, claim: mine, fence: fence, lost: make(chan struct{}), end: make(chan struct{})}
	go l.keep(context.WithoutCancel(ctx))
	return l, nil
}

// wait returns the number of the lock once the claim holds it.
func (j *Journal) wait(ctx context.Context, c claim) (uint64, error) {
	var watch vigil
	told, answered := false, time.Now()
	for {
		fence, holder, err := j.try(ctx, c, &watch)
		switch {
		case err == nil && fence != 0:
			return fence, nil
		case err == nil:
			answered = time.Now()
		case !slipway.Retryable(err) || time.Since(answered) > j.lease:
			return 0, err
		}
		if holder != "" && !told && c.Waiting != nil {
			c.Waiting(holder)
			told = true
		}
		if err := pause(ctx, lockPoll); err != nil {
			return 0, err
		}
	}
}

// try takes the lock if it is free; else it returns the holder, or "" if
// somebody was faster.
func (j *Journal) try(ctx context.Context, c claim, watch *vigil) (fence uint64, holder string, err error) {
	s, err := j.standing(ctx)
	if err != nil {
		return 0, "", err
	}
	if c.Fence != 0 && c.Fence != s.fence {
		return 0, "", superseded(s)
	}
	if !c.owns(s.lease) {
		if isHeld(s.lease) && !watch.dead(s.lease, j.lease, time.Now()) {
			return 0, holderOf(s.lease), nil
		}
		if s.lease, err = j.take(ctx, s, c, c.next(s)); s.lease == nil {
			return 0, "", err
		}
	}
	if fence, err = j.fenceOf("lease", s.lease); err != nil {
		return 0, "", err
	}
	if err := j.stamp(ctx, fence); errors.Is(err, errOvertaken) {
		return 0, "", nil
	} else if err != nil {
		return 0, "", err
	}
	return fence, "", nil
}

// next is the number under which the claim takes the lock.
func (c claim) next(s standing) uint64 {
	if c.Fence != 0 {
		return c.Fence
	}
	return s.fence + 1
}

// take writes the claim into the Lease; nil: somebody else changed it first.
func (j *Journal) take(ctx context.Context, s standing, c claim, fence uint64) (*coordinationv1.Lease, error) {
	lease, err := j.write(ctx, c.written(s.lease, j, fence), s.lease == nil)
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		return nil, nil
	}
	if err != nil {
		return nil, apiError("taking the target's lock", err)
	}
	return lease, nil
}

func (j *Journal) write(ctx context.Context, lease *coordinationv1.Lease, create bool) (*coordinationv1.Lease, error) {
	if create {
		return j.leases().Create(ctx, lease, metav1.CreateOptions{FieldManager: Manager})
	}
	return j.leases().Update(ctx, lease, metav1.UpdateOptions{FieldManager: Manager})
}

// written returns the Lease as the claim holds it.
func (c claim) written(old *coordinationv1.Lease, j *Journal, fence uint64) *coordinationv1.Lease {
	lease := &coordinationv1.Lease{ObjectMeta: j.meta()}
	if old != nil {
		lease = old.DeepCopy()
	}
	now := metav1.NewMicroTime(time.Now())
	if !c.owns(lease) {
		lease.Spec.AcquireTime = &now
	}
	seconds := int32(max(1, (j.lease+time.Second-1)/time.Second))
	lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds, lease.Spec.RenewTime = &c.Holder, &seconds, &now
	setFence(lease, fence)
	lease.Annotations[annotationToken] = c.token
	return lease
}

func (c claim) owns(lease *coordinationv1.Lease) bool {
	return isHeld(lease) && lease.Annotations[annotationToken] == c.token
}

func isHeld(lease *coordinationv1.Lease) bool {
	return lease != nil && lease.Spec.HolderIdentity != nil && *lease.Spec.HolderIdentity != ""
}

func holderOf(lease *coordinationv1.Lease) string {
	if !isHeld(lease) {
		return "another run"
	}
	return printable(*lease.Spec.HolderIdentity, maxHolder)
}

func superseded(s standing) error {
	return slipway.Errorf(slipway.Superseded, "locking the target", "a newer release owns the target: %s took it", holderOf(s.lease))
}

// abandon takes back a claim of which nobody knows whether it was written.
func (j *Journal) abandon(ctx context.Context, c claim) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = j.free(ctx, c) // what cannot be taken back ends by itself, a lease later
}

// free takes the claim out of the Lease, if it is there. The number stays.
func (j *Journal) free(ctx context.Context, c claim) error {
	for {
		lease, err := there(j.leases().Get(ctx, j.name, metav1.GetOptions{}))
		if err != nil || !c.owns(lease) {
			return err
		}
		lease.Spec.HolderIdentity = nil
		delete(lease.Annotations, annotationToken)
		if _, err = j.write(ctx, lease, false); !apierrors.IsConflict(err) {
			_, err = there(lease, err)
			return err
		}
	}
}

// vigil counts how long a holder has given no sign of life, by this machine's
// clock: those of others may be wrong.
type vigil struct {
	sign   sign
	since  time.Time // when the sign was first seen
	looked time.Time
}

type sign struct {
	holder, token string
	renewed       int64
}

// dead reports whether the Lease has not been renewed for as long as it lasts.
func (v *vigil) dead(lease *coordinationv1.Lease, ours time.Duration, now time.Time) bool {
	term := ours
	if s := lease.Spec.LeaseDurationSeconds; s != nil && *s > 0 {
		term = min(time.Duration(*s)*time.Second, maxTerm)
	}
	seen := sign{holder: holderOf(lease), token: lease.Annotations[annotationToken]}
	if lease.Spec.RenewTime != nil {
		seen.renewed = lease.Spec.RenewTime.UnixMicro()
	}
	if seen != v.sign || now.Sub(v.looked) > max(term/2, leastSight) {
		v.sign, v.since = seen, now
	}
	v.looked = now
	return now.Sub(v.since) > term
}

// lock is a held Lease.
type lock struct {
	journal *Journal
	claim   claim
	fence   uint64
	once    sync.Once
	lost    chan struct{}
	end     chan struct{}
	taken   bool // another run has it; to be read once lost is closed
	err     error
}

func (l *lock) Fence() uint64 { return l.fence }

func (l *lock) Lost() <-chan struct{} { return l.lost }

func (l *lock) Unlock(ctx context.Context) error {
	l.once.Do(func() {
		close(l.end)
		<-l.lost
		if !l.taken {
			l.err = l.unlock(ctx)
		}
	})
	return l.err
}

// unlock tries for as long as the Lease would last anyway.
func (l *lock) unlock(ctx context.Context) error {
	const op = "letting go of the target's lock"
	ctx, cancel := context.WithTimeout(ctx, l.journal.lease)
	defer cancel()
	for {
		err := apiError(op, l.journal.free(ctx, l.claim))
		if err == nil {
			return nil
		}
		if !slipway.Retryable(err) || pause(ctx, lockPoll) != nil {
			return fmt.Errorf("%w; it ends by itself after %s", err, l.journal.lease)
		}
	}
}

// keep renews the Lease until the lock is let go or another run has it. While
// the API server is away it goes on trying: nobody else can take it either.
func (l *lock) keep(ctx context.Context) {
	defer close(l.lost)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-l.end:
			cancel()
		case <-ctx.Done():
		}
	}()
	tick := time.NewTicker(l.journal.lease / 3)
	defer tick.Stop()
	for {
		select {
		case <-l.end:
			return
		case <-tick.C:
			if l.taken = l.renew(ctx); l.taken {
				return
			}
		}
	}
}

// renew writes a sign of life and reports whether another run has the lock. A
// Lease that was deleted or emptied by hand is taken again.
func (l *lock) renew(ctx context.Context) (taken bool) {
	ctx, cancel := context.WithTimeout(ctx, max(l.journal.lease/2, time.Second))
	defer cancel()
	for ctx.Err() == nil {
		s, err := l.journal.standing(ctx)
		switch {
		case err != nil:
			return false
		case s.fence > l.fence, isHeld(s.lease) && !l.claim.owns(s.lease):
			return true
		}
		if lease, err := l.journal.take(ctx, s, l.claim, l.fence); lease != nil || err != nil {
			return false
		}
	}
	return false
}

// pause waits for d or the context's end.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
