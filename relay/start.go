package relay

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/slipway-dev/slipway"
)

// settle finds out what came of a start whose answer nobody heard: this relay
// or the host may have died at it. What stays Starting has to wait.
func (k *keeper) settle(ctx context.Context, p Promotion) Promotion {
	now, listed := time.Now(), p.Changed.Add(settling)
	finder, ok := k.Starter.(Finder)
	left := k.later(k.Starter)
	switch {
	case !ok:
		p.Next = time.Time{}
		return p.become(Waiting, p.Why, now)
	case now.Before(left):
		p.Next = left
		return p
	case now.Before(p.Next):
		return p
	case now.Before(listed):
		p.Next = listed
		return p
	}
	where, found, err := finder.Find(ctx, k.what(p))
	if slipway.Retryable(err) {
		p.Attempts++
		p.Next, p.Why = now.Add(k.rest(p, err)), reason(err)
		return p
	}
	p.Next = time.Time{}
	if found {
		p.Where, p.Attempts = where, 0
		return p.become(Started, "", now)
	}
	return p.become(Waiting, p.Why, now) // and is tried again under the same identifier
}

// settling is how long a host may take to list a run that it has taken.
const settling = 20 * time.Second

func (k *keeper) what(p Promotion) Start {
	return Start{ID: p.Start, Model: k.Model, Environment: k.Environment, Version: p.Version, At: p.Tried}
}

// start stores that the release is about to be started, starts it, and stores
// what came of it.
func (k *keeper) start(ctx context.Context, p Promotion) time.Duration {
	p, err := begin(p)
	if err == nil {
		err = k.keep(ctx, p)
	}
	if err != nil {
		return k.failed(ctx, true, err)
	}
	where, err := k.handOver(ctx, k.what(p))
	k.stats.started(err)
	now := time.Now()
	if err == nil {
		p.Where, p.Attempts, p.Next = where, 0, time.Time{}
		p = p.become(Started, "", now)
	} else {
		p = k.notTaken(ctx, p, err, now)
	}
	if err := k.keep(context.WithoutCancel(ctx), p); err != nil {
		return k.failed(ctx, true, err)
	}
	if _, ok := k.Starter.(Finder); !ok && err == nil {
		return 0 // the release has ended: what came of it?
	}
	return k.until(p)
}

// begin makes the promotion one that is being started. What is tried again
// keeps its identifier.
func begin(p Promotion) (Promotion, error) {
	now := time.Now()
	if p.Attempts == 0 {
		id, err := slipway.NewReleaseID(now, rand.Reader)
		if err != nil {
			return p, &slipway.Error{Code: slipway.Internal, Err: err}
		}
		p.Start, p.Where, p.Tried = string(id), "", now
	}
	p.Attempts++
	p.Next = time.Time{}
	return p.become(Starting, "", now), nil
}

// handOver calls the starter. What is only handed over is finished even if the
// relay is to stop: it takes seconds, and nobody need ask about it later.
func (k *keeper) handOver(ctx context.Context, s Start) (string, error) {
	if _, ok := k.Starter.(Finder); ok {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), handingLimit)
		defer cancel()
		ctx = limited
	}
	k.config.Log.Info("starting", "model", s.Model.String(), "environment", s.Environment, "version", string(s.Version), "start", s.ID)
	return k.Starter.Start(ctx, s)
}

// notTaken is what a promotion becomes when it could not be started. Where the
// host may have taken it all the same, it is asked first.
func (k *keeper) notTaken(ctx context.Context, p Promotion, err error, now time.Time) Promotion {
	p.Next = now.Add(k.rest(p, err))
	var done interface{ Done() bool }
	switch _, finds := k.Starter.(Finder); {
	case ctx.Err() != nil && !finds: // ended with the relay, to be started again with the next
		p.Attempts, p.Next = p.Attempts-1, time.Time{}
		return p.become(Waiting, "ended with the relay", now)
	case errors.As(err, &done) && done.Done():
		p.Next = time.Time{}
		return p.become(Started, reason(err), now)
	case slipway.Retryable(err) && finds:
		if listed := now.Add(settling); p.Next.Before(listed) { // the call may have taken as long as that
			p.Next = listed
		}
		p.Why = reason(err)
		return p
	}
	return p.become(Waiting, reason(err), now)
}

// reason is why something failed and what mends it.
func reason(err error) string {
	if hint := slipway.HintOf(err); hint != "" {
		return err.Error() + "; " + hint
	}
	return err.Error()
}

// rest is how long to wait after an error, and keeps the host alone if it asked
// for that.
func (k *keeper) rest(p Promotion, err error) time.Duration {
	var wants interface{ RetryAfter() time.Duration }
	if errors.As(err, &wants) && wants.RetryAfter() > 0 {
		d := pause(p.Attempts, wants.RetryAfter())
		k.leave(k.Starter, time.Now().Add(d))
		return d
	}
	return pause(p.Attempts, 0)
}
