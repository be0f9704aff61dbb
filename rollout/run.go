package rollout

import (
	"context"
	"errors"
	"time"

	"github.com/slipway-dev/slipway"
)

// run is the target held by this process, from taking the lock to letting it go.
type run struct {
	*Driver
	lock    slipway.Lock
	rec     slipway.Record
	inSteps bool             // end unverified
	stop    *slipway.Problem // why the release on its way is to be stopped, if it is
	over    chan struct{}    // closed when an interrupted run has no time left
	forget  func() bool      // stops waiting for the interruption

	fenced bool            // the target has seen a newer fence
	told   map[string]bool // the target's notes that were told
	outage outage
	coming coming

	// Of the present phase.
	acted   bool
	refused *slipway.Problem
	verdict *slipway.Verdict
	last    slipway.Observation
	pause   time.Duration
}

var (
	errLost = slipway.Errorf(slipway.Conflict, "rolling out", "the target's lock was lost")
	errOver = slipway.Errorf(slipway.Unavailable, "rolling out", "interrupted before it had ended")
)

// hold takes the target's lock and reads its record. Fence 0 takes a new one.
func (d *Driver) hold(ctx context.Context, fence uint64) (*run, error) {
	lock, err := d.take(ctx, fence)
	if err != nil {
		return nil, err
	}
	r := &run{Driver: d, lock: lock, over: make(chan struct{}), told: map[string]bool{}}
	r.forget = context.AfterFunc(ctx, func() {
		time.AfterFunc(d.config.Limits.Stop, func() { close(r.over) })
	})
	if r.rec, err = d.load(ctx); err != nil {
		r.letGo(ctx)
		return nil, err
	}
	return r, nil
}

// letGo gives the lock back. Failing to do so harms nobody for long: a process
// that ends loses its locks.
func (r *run) letGo(ctx context.Context) {
	r.forget()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.config.Limits.Stop)
	defer cancel()
	if err := r.lock.Unlock(ctx); err != nil {
		r.tell(slipway.Release{}, slipway.Event{Kind: slipway.Warning, Step: stepRollout, Message: "letting go of the target's lock: " + err.Error()})
	}
}

func (r *run) lost() bool { return r.fenced || closed(r.lock.Lost()) }

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// bounded returns a context for one call. It ends with the lock, with the time
// an interrupted run has left, and after the limit; with ctx only if the call
// is not sheltered from it.
func (r *run) bounded(ctx context.Context, sheltered bool, limit time.Duration) (context.Context, context.CancelFunc) {
	if sheltered {
		ctx = context.WithoutCancel(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	go func() {
		select {
		case <-r.lock.Lost():
		case <-r.over:
		case <-ctx.Done():
		}
		cancel()
	}()
	return ctx, cancel
}

// drive takes the current release to its end, or as far as this run may. The
// error is errLost, errOver, or that the journal could not be written.
func (r *run) drive(ctx context.Context) (slipway.Release, error) {
	r.enterPhase()
	for {
		release := r.current()
		seen := r.see(ctx, release)
		release = r.current()
		d := Next(release, seen, r.config.Limits)
		r.noteComing(release, d, seen)
		switch {
		case d.Action == slipway.Leave && d.Phase == release.Phase:
			return release, errLost
		case closed(r.over):
			return release, errOver
		case d.Phase != release.Phase || d.Action == slipway.Finish:
			if err := r.enter(ctx, d, seen); err != nil {
				return release, err
			}
		}
		switch d.Action {
		case slipway.Finish:
			return r.rec.History[len(r.rec.History)-1], nil
		case slipway.Leave:
			return *r.rec.Current, nil
		}
		r.do(ctx, d, seen)
	}
}

// current is the release on its way. The time in which the target was out of
// reach, or more replicas were waited for, is not its own.
func (r *run) current() slipway.Release {
	release, now := *r.rec.Current, time.Now()
	release.Deadline = release.Deadline.Add(r.outage.allowance(now, r.config.Limits.Outage) + r.coming.allowance(now))
	return release
}

// see looks at the target. What the user and the lock say comes before it and
// after it.
func (r *run) see(ctx context.Context, release slipway.Release) Seen {
	s := Seen{Acted: r.acted, Refused: r.refused, Verdict: r.verdict, InSteps: r.inSteps}
	if r.hear(ctx, &s); s.LockLost || s.Stop != nil && forward(release.Phase) {
		return s
	}
	call, cancel := r.bounded(ctx, !forward(release.Phase), r.timeLeft(release))
	defer cancel()
	began := time.Now()
	o, err := r.target.Observe(call)
	if err != nil {
		s.Unreachable = err
		r.missed(release, began, err)
	} else {
		s.Observation = &o
		r.reached(release)
		r.noteObserved(release, o)
	}
	r.hear(ctx, &s)
	return s
}

func (r *run) hear(ctx context.Context, s *Seen) {
	s.Now, s.LockLost, s.Stop = time.Now().UTC(), r.lost(), r.stop
	if s.Stop == nil && ctx.Err() != nil {
		s.Stop = interrupted(context.Cause(ctx))
	}
}

// timeLeft returns how long one look may take: not beyond the deadline, but
// one last look is always possible.
func (r *run) timeLeft(release slipway.Release) time.Duration {
	return min(r.config.Limits.Call, max(time.Second, time.Until(release.Deadline)))
}

// enter stores the phase the decision leads to, and tells.
func (r *run) enter(ctx context.Context, d Decision, s Seen) error {
	old := *r.rec.Current
	next := advance(old, d, s)
	rec := r.rec
	if next.Phase.Ended() {
		rec = conclude(rec, next)
	} else {
		rec.Current = &next
	}
	if next.Phase == slipway.RolledBack && rec.Live != nil {
		restored := *rec.Live
		restored.Verdict = s.Verdict
		rec.Live = &restored
	}
	if err := r.store(ctx, rec, r.current().Deadline); err != nil {
		return err
	}
	r.enterPhase()
	r.tellChange(old, next, s)
	return nil
}

func (r *run) enterPhase() {
	r.acted, r.refused, r.verdict, r.pause = false, nil, nil, r.config.PollFirst
	r.outage.enterPhase(time.Now())
	r.coming = coming{}
}

// store replaces the record. While the journal is out of reach it tries again,
// until the given time but for an outage at least. An answer that got lost is
// found out by reading.
func (r *run) store(ctx context.Context, rec slipway.Record, until time.Time) error {
	began := time.Now()
	if least := began.Add(r.config.Limits.Outage); until.Before(least) {
		until = least
	}
	pause := r.config.PollFirst
	for {
		err := r.storeOnce(ctx, rec)
		switch {
		case err == nil:
			r.outage.stored = time.Since(began)
			return nil
		case r.lost() || slipway.CodeOf(err) == slipway.Conflict:
			return errLost
		case closed(r.over):
			return errOver
		case !passes(err) || time.Now().After(until):
			return err
		}
		r.tellWaiting(rec, began, err)
		r.sleep(context.WithoutCancel(ctx), pause)
		pause = min(2*pause, r.config.PollMost)
	}
}

func (r *run) storeOnce(ctx context.Context, rec slipway.Record) error {
	if r.lost() {
		return errLost
	}
	ctx, cancel := r.bounded(ctx, true, r.config.Limits.Call)
	defer cancel()
	stored, err := r.journal.Store(ctx, r.lock.Fence(), rec)
	if err != nil {
		stored, err = r.isStored(ctx, rec, err)
	}
	if err == nil {
		r.rec = stored
	}
	return err
}

// isStored looks whether the record was written although Store failed.
func (r *run) isStored(ctx context.Context, rec slipway.Record, failure error) (slipway.Record, error) {
	stored, err := r.journal.Load(ctx)
	switch {
	case err != nil && passes(err):
		return rec, err // nobody knows yet: try again
	case err != nil || !alike(stored, rec):
		return rec, failure
	}
	return stored, nil
}

// do takes the action of the phase, then waits a moment if there is nothing
// new to see.
func (r *run) do(ctx context.Context, d Decision, s Seen) {
	news := false
	switch d.Action {
	case slipway.Apply, slipway.Remove:
		news = r.act(ctx, d.Action)
	case slipway.Verify:
		news = r.ask(ctx, *s.Observation)
	}
	if news {
		return
	}
	if !forward(d.Phase) {
		ctx = context.WithoutCancel(ctx)
	}
	r.sleep(ctx, min(r.pause, max(0, time.Until(d.Deadline))))
	r.pause = min(r.pause*3/2, r.config.PollMost)
}

// act tells the target what to do and reports whether it took it in.
func (r *run) act(ctx context.Context, kind slipway.ActionKind) bool {
	if r.lost() {
		return false
	}
	release := r.current()
	action := slipway.Action{Kind: kind, Fence: r.lock.Fence(), Release: release}
	if g := goal(release); g != nil {
		action.Release = *g
	}
	limit := max(time.Second, time.Until(release.Deadline))
	call, cancel := r.bounded(ctx, !forward(release.Phase), limit)
	defer cancel()
	err := r.target.Act(call, action)
	r.acted, r.refused = err == nil, nil
	switch {
	case err == nil || passes(err) || call.Err() != nil:
	case slipway.CodeOf(err) == slipway.Conflict:
		r.fenced = true
	default:
		r.refused = refusal(err)
	}
	return r.acted
}

// ask has every replica asked and reports whether the answer settles it.
func (r *run) ask(ctx context.Context, o slipway.Observation) bool {
	release := r.current()
	call, cancel := r.bounded(ctx, !forward(release.Phase), max(time.Second, time.Until(release.Deadline)))
	defer cancel()
	v := r.verifier.Verify(call, o, *goal(release))
	r.verdict = &v
	return v.Passed || !wrong(v).Heals
}

func (r *run) sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-r.lock.Lost():
	case <-r.over:
	}
}

// passes reports whether an error may pass by itself.
func passes(err error) bool {
	return slipway.Retryable(err) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}
