package relay

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-dev/slipway"
)

// keeper minds one model in one environment. It alone changes its promotion.
type keeper struct {
	*Relay
	Watched
	hints  chan struct{} // holds one: a look that begins after a hint sees what it was about
	hinted atomic.Bool
	first  time.Duration // until the second look
	asked  time.Time     // when the target was
	blind  string        // why it could not be asked then; "": it could
	unsure bool          // what is stored is not what the promotion is
	silent int           // looks in a row that failed

	mu        sync.Mutex
	promotion Promotion
	trouble   string // why the last look failed, or saw but a half
}

func (k *keeper) state() Promotion {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := k.promotion
	switch {
	case p.Why == "":
		p.Why = k.trouble
	case k.trouble != "":
		p.Why = k.trouble + "; " + p.Why
	}
	return p
}

func (k *keeper) hint() {
	k.hinted.Store(true)
	select {
	case k.hints <- struct{}{}:
	default:
	}
}

// run looks again and again until ctx ends.
func (k *keeper) run(ctx context.Context) {
	next := min(k.turnApart(ctx), k.first)
	for wait(ctx, next, k.hints) {
		next = k.turnApart(ctx)
	}
}

// turnApart is turn on a stack of its own, which goes with it: of a thousand
// keepers that wait, none keeps the stack that calls of a registry have made large.
func (k *keeper) turnApart(ctx context.Context) time.Duration {
	next := make(chan time.Duration)
	go func() { next <- k.turn(ctx) }()
	return <-next
}

// turn looks, decides and acts once, and returns when to do it again.
func (k *keeper) turn(ctx context.Context) time.Duration {
	hinted := k.hinted.Swap(false)
	p, start, err := k.look(ctx, hinted)
	if err != nil {
		return k.failed(ctx, hinted, err)
	}
	k.silent = 0
	if k.blame(k.blind) && k.blind != "" {
		k.config.Log.Warn("cannot ask the target", "model", k.Model.String(), "environment", k.Environment, "why", k.blind)
	}
	if !start {
		if err := k.keep(ctx, p); err != nil {
			return k.failed(ctx, hinted, err)
		}
		return k.until(p)
	}
	return k.start(ctx, p)
}

// look asks what there is to know and decides. Without a fresh hint it takes its
// place among the others, so that hints are not held up by a registry or
// targets that are slow.
func (k *keeper) look(ctx context.Context, hinted bool) (Promotion, bool, error) {
	if !hinted || k.silent > 0 {
		select {
		case k.slots <- struct{}{}:
			defer func() { <-k.slots }()
		case <-ctx.Done():
			return Promotion{}, false, context.Cause(ctx)
		}
	}
	limited, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	began := time.Now()
	version, err := k.config.World.Promoted(limited, k.Watched)
	k.stats.looked(err)
	if err != nil {
		return Promotion{}, false, err
	}
	p := k.promotion
	if p.State == Starting && p.Version == version {
		if p = k.settle(limited, p); p.State == Starting {
			return p, false, nil
		}
	}
	var o Outlook
	switch {
	case version == "":
		k.blind = ""
	case asking(p, version, hinted, k.asked, began):
		o = k.ask(limited, version, began)
	}
	p, start := decide(p, version, o, time.Now())
	if until := k.later(k.Starter); start && time.Now().Before(until) {
		p.Next, start = until, false
	}
	return p, start, nil
}

// ask asks the target, and notes why it does not answer.
func (k *keeper) ask(ctx context.Context, version slipway.Version, now time.Time) Outlook {
	o := k.config.World.Outlook(ctx, k.Watched, version)
	k.asked, k.blind = now, ""
	if o.Prospect == Unknown {
		k.blind = o.Why
	}
	return o
}

// keep stores the promotion if it has changed, and only then goes by it.
func (k *keeper) keep(ctx context.Context, p Promotion) error {
	if p == k.promotion && !k.unsure {
		return nil
	}
	err := k.store.putPromotion(ctx, p)
	k.unsure = err != nil
	if err != nil && p.State == Starting {
		return err // nothing was started
	}
	k.mu.Lock()
	changed := p.State != k.promotion.State || p.Version != k.promotion.Version || p.Why != k.promotion.Why
	k.promotion = p
	k.mu.Unlock()
	if p.tried() {
		k.begun.put(begun{p.Start, p.Model, p.Environment, p.Version, p.Tried, p.Where, p.Why}, func(b begun) bool { return b.ID == p.Start })
	}
	if changed {
		k.config.Log.Info("promotion", "model", p.Model, "environment", p.Environment, "version", string(p.Version),
			"state", string(p.State), "start", p.Start, "where", p.Where, "why", p.Why)
	}
	return err
}

// soonest keeps what is due already from being looked at without end.
const soonest = 10 * time.Millisecond

// until is when to look again: at the next poll, or when something is due.
func (k *keeper) until(p Promotion) time.Duration {
	if p.Next.IsZero() {
		return nextPoll(k.config.Poll, time.Now())
	}
	return min(k.config.Poll, max(time.Until(p.Next), soonest))
}

// nextPoll is when the next poll is due: at a whole second, where polls are
// seconds apart. A thousand keepers that wake up together, some each second,
// cost a processor less than a thousand that wake it up one by one.
func nextPoll(poll time.Duration, now time.Time) time.Duration {
	if poll < 10*time.Second {
		return poll
	}
	return now.Add(poll).Truncate(time.Second).Sub(now)
}

// failed notes why a look did not work and returns when to try again: soon
// where a hint made us look.
func (k *keeper) failed(ctx context.Context, hinted bool, err error) time.Duration {
	if ctx.Err() != nil {
		return 0
	}
	k.silent++
	if k.blame(reason(err)) {
		k.config.Log.Warn("cannot look", "model", k.Model.String(), "environment", k.Environment, "error", err.Error(), "fix", slipway.HintOf(err))
	}
	if !hinted {
		return k.config.Poll
	}
	k.hinted.Store(true)
	return min(time.Second<<min(k.silent-1, 10), k.config.Poll)
}

// blame keeps what is wrong, for the page, and reports whether that is news.
func (k *keeper) blame(why string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	news := k.trouble != why
	k.trouble = why
	return news
}
