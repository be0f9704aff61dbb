package rollout

import (
	"context"
	"sync"
	"time"

	"github.com/slipway-dev/slipway"
)

// Verifier asks every replica of the release that the observation shows. It
// does not return errors: what it cannot ask is a failed verdict, whose
// problem heals if asking again may help.
type Verifier interface {
	Verify(ctx context.Context, o slipway.Observation, r slipway.Release) slipway.Verdict
}

// Config is what a Driver may be told. Its zero value works.
type Config struct {
	Target      string        // as users write it, for the commands that hints name; default TARGET
	Environment string        // of the target, for events
	Holder      string        // who takes the lock, for others to read; default "slipway"
	Sink        slipway.Sink  // receives what happens; nil: nobody listens
	Limits      Limits        // how long each phase may take
	PollFirst   time.Duration // between two looks at a target that changes; 20 ms
	PollMost    time.Duration // between two looks at one that does not; 250 ms
}

func (c Config) withDefaults() Config {
	c.Limits = c.Limits.withDefaults()
	if c.Target == "" {
		c.Target = "TARGET"
	}
	if c.Holder == "" {
		c.Holder = "slipway"
	}
	if c.PollFirst <= 0 {
		c.PollFirst = 20 * time.Millisecond
	}
	if c.PollMost < c.PollFirst {
		c.PollMost = max(250*time.Millisecond, c.PollFirst)
	}
	return c
}

// Driver brings releases to one target and back. Its methods may be called at
// the same time, from any number of processes: the journal's lock lets one act
// at a time.
//
// Every operation that takes the lock first finishes or undoes what a dead run
// left. An operation whose context ends goes back within Limits.Stop if
// anything has moved; what does not fit stays journalled, and the outcome says
// so.
type Driver struct {
	target   slipway.Target
	journal  slipway.Journal
	verifier Verifier
	config   Config
	telling  sync.Mutex
}

// New returns the driver of the target whose journal it is.
func New(t slipway.Target, j slipway.Journal, v Verifier, c Config) *Driver {
	return &Driver{target: t, journal: j, verifier: v, config: c.withDefaults()}
}

// tell hands an event to whoever listens, one at a time.
func (d *Driver) tell(r slipway.Release, e slipway.Event) {
	if d.config.Sink == nil {
		return
	}
	e.At, e.Release, e.Environment, e.Deadline = time.Now().UTC(), r.ID, r.Environment, r.Deadline
	if e.Environment == "" {
		e.Environment = d.config.Environment
	}
	d.telling.Lock()
	defer d.telling.Unlock()
	d.config.Sink(e)
}

// patiently repeats a call to what is out of reach, for as long as that may be.
func (d *Driver) patiently(ctx context.Context, what string, call func(context.Context) error) error {
	var failing time.Time
	told := false
	for pause := d.config.PollFirst; ; pause = min(2*pause, d.config.PollMost) {
		began := time.Now()
		err := call(ctx)
		if took := time.Since(began); failing.IsZero() || took > d.config.Limits.Outage {
			failing = time.Now().Add(-min(took, d.config.Limits.Call)) // what waited for somebody was not out of reach
		}
		if err == nil || !passes(err) || ctx.Err() != nil || time.Since(failing)+pause > d.config.Limits.Outage {
			return err
		}
		if !told && time.Since(failing) > silence {
			d.tell(slipway.Release{}, slipway.Event{Kind: slipway.Warning, Step: stepRollout, Message: d.waitingFor(what, err)})
			told = true
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (d *Driver) once(ctx context.Context, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d.config.Limits.Call)
	defer cancel()
	return call(ctx)
}

func (d *Driver) load(ctx context.Context) (rec slipway.Record, err error) {
	err = d.patiently(ctx, theJournal, func(ctx context.Context) error {
		return d.once(ctx, func(ctx context.Context) error {
			rec, err = d.journal.Load(ctx)
			return err
		})
	})
	return rec, err
}

func (d *Driver) observe(ctx context.Context) (o slipway.Observation, err error) {
	err = d.patiently(ctx, theTarget, func(ctx context.Context) error {
		return d.once(ctx, func(ctx context.Context) error {
			o, err = d.target.Observe(ctx)
			return err
		})
	})
	return o, err
}
