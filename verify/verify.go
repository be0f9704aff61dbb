// Package verify asks the replicas of a release whether they are what they
// should be: health, readiness, the golden predictions, and that nothing else
// answers at the front door.
//
// It looks and compares. What follows from its verdict is not its affair.
package verify

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

// The lines that people look for in CI logs.
const (
	HealthPassed      = "Health check passed"
	PredictionsPassed = "Prediction tests successful"
)

// Config says how to ask. The zero value works.
type Config struct {
	HTTP    *http.Client  // default: one of its own, without proxies
	Front   string        // URL of the target's front door; empty: it is not asked
	Timeout time.Duration // of one request; default 10 s
	Spacing time.Duration // between two health checks of a replica; default 20 ms
	Sink    slipway.Sink  // may be nil
}

// Golden returns the golden predictions of a release's image.
type Golden func(ctx context.Context, r slipway.Release) (mlmodel.Golden, error)

// Verifier verifies releases whose golden predictions it looks up.
type Verifier struct {
	Config Config
	Golden Golden
}

// Verify asks every replica of the release that the observation shows.
func (v Verifier) Verify(ctx context.Context, o slipway.Observation, r slipway.Release) slipway.Verdict {
	golden, err := v.Golden(ctx, r)
	if err != nil {
		p := &slipway.Problem{
			Kind:     "golden-missing",
			Message:  "the golden predictions of the image cannot be read",
			Evidence: printable(err.Error()),
			Hint:     slipway.HintOf(err),
		}
		if slipway.Retryable(err) {
			heals(p)
		}
		return slipway.Verdict{At: time.Now(), Problem: p}
	}
	return Replicas(ctx, v.Config, o, r, golden)
}

// Replicas asks every replica of the release's image, all at the same time,
// and then the front door. The first difference that stays ends it.
func Replicas(ctx context.Context, cfg Config, o slipway.Observation, r slipway.Release, golden mlmodel.Golden) slipway.Verdict {
	verdict := slipway.Verdict{At: time.Now()}
	if verdict.Problem = unfit(o, r); verdict.Problem != nil {
		return verdict
	}
	c := newChecker(cfg, r, golden)
	replicas := of(o, r)
	c.total = int64(len(replicas) * (slipway.HealthChecks + len(golden.Predictions)))
	verdict.Replicas = c.all(ctx, replicas)
	verdict.Problem = worst(verdict.Replicas)
	if verdict.Problem == nil {
		verdict.Problem = c.front(ctx, len(replicas))
	}
	verdict.Passed = verdict.Problem == nil
	c.tell(verdict)
	return verdict
}

// unfit says why there is no use in asking.
func unfit(o slipway.Observation, r slipway.Release) *slipway.Problem {
	for _, replica := range o.Replicas {
		if replica.Serving && replica.Image != r.Image.Digest {
			return &slipway.Problem{
				Kind:    "other-serves",
				Message: fmt.Sprintf("%s of %s (%s) still receives requests", replica.Name, replica.Model, replica.Image.Short()),
			}
		}
	}
	if !o.Settled(r.Image.Digest) { // replicas may be starting again: the target's own supervisor can die
		p := &slipway.Problem{
			Kind:    "not-settled",
			Message: fmt.Sprintf("the target does not serve %s with %d ready replicas", r.Image.Digest.Short(), o.Want),
		}
		heals(p)
		return p
	}
	return nil
}

// of returns the replicas of the release that receive requests.
func of(o slipway.Observation, r slipway.Release) []slipway.Replica {
	var list []slipway.Replica
	for _, replica := range o.Replicas {
		if replica.Serving && replica.Image == r.Image.Digest {
			list = append(list, replica)
		}
	}
	return list
}

// checker asks on behalf of one verdict.
type checker struct {
	cfg     Config
	release slipway.Release
	golden  mlmodel.Golden
	total   int64

	mu   sync.Mutex // of done and the sink
	done int64
}

func newChecker(cfg Config, r slipway.Release, golden mlmodel.Golden) *checker {
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.Spacing == 0 {
		cfg.Spacing = 20 * time.Millisecond
	}
	client := http.Client{Transport: &http.Transport{MaxResponseHeaderBytes: 64 << 10}}
	if cfg.HTTP != nil {
		client = *cfg.HTTP
	}
	// A model server that sends elsewhere is not what answers.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	cfg.HTTP = &client
	return &checker{cfg: cfg, release: r, golden: golden}
}

// errEnough ends the other checks once one has failed for good.
var errEnough = errors.New("another replica is wrong already")

func (c *checker) all(ctx context.Context, replicas []slipway.Replica) []slipway.ReplicaCheck {
	defer c.cfg.HTTP.CloseIdleConnections()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	checks := make([]slipway.ReplicaCheck, len(replicas))
	var wg sync.WaitGroup
	for i, replica := range replicas {
		wg.Go(func() {
			checks[i] = c.one(ctx, replica)
			if p := checks[i].Problem; p != nil && !p.Heals {
				cancel(errEnough)
			}
		})
	}
	wg.Wait()
	return checks
}

// one asks a replica: first what tells most.
func (c *checker) one(ctx context.Context, r slipway.Replica) slipway.ReplicaCheck {
	check := slipway.ReplicaCheck{Replica: r.Name, Image: r.Image}
	if r.URL == "" {
		check.Problem = &slipway.Problem{Kind: "unreachable", Message: "the target does not say where it is"}
	}
	for i := range c.golden.Predictions {
		if check.Problem == nil {
			check.Problem = c.predict(ctx, r.URL, i)
		}
		if check.Problem == nil {
			check.Predictions++
			c.progress(1)
		}
	}
	if check.Problem == nil {
		check.Problem = c.get(ctx, r.URL, "/ready", "not-ready", "it is not ready")
		check.Ready = check.Problem == nil
	}
	for check.Problem == nil && check.Health < slipway.HealthChecks {
		if check.Problem = c.health(ctx, r.URL, check.Health); check.Problem == nil {
			check.Health++
			c.progress(1)
		}
	}
	if check.Problem != nil {
		named := *check.Problem
		named.Message = r.Name + ": " + named.Message
		check.Problem = &named
	}
	return check
}

// health is one health check, Spacing after the one before.
func (c *checker) health(ctx context.Context, url string, before int) *slipway.Problem {
	if before > 0 {
		select {
		case <-ctx.Done():
		case <-time.After(c.cfg.Spacing):
		}
	}
	return c.get(ctx, url, "/health", "unhealthy", fmt.Sprintf("health check %d of %d failed", before+1, slipway.HealthChecks))
}

// front asks the front door often enough to meet every replica, and that only
// the release answers.
func (c *checker) front(ctx context.Context, replicas int) *slipway.Problem {
	if c.cfg.Front == "" {
		return nil
	}
	for range 2 * replicas {
		p := c.get(ctx, c.cfg.Front, "/ready", "front-door", "the front door does not lead to a ready replica")
		if p == nil && len(c.golden.Predictions) > 0 {
			p = c.predict(ctx, c.cfg.Front, 0)
		}
		if p != nil {
			named := *p
			named.Message = "at the front door, " + c.cfg.Front + ": " + p.Message
			return &named
		}
	}
	return nil
}

// worst returns the first problem that stays, else the first at all.
func worst(checks []slipway.ReplicaCheck) *slipway.Problem {
	var first *slipway.Problem
	for _, check := range checks {
		p := check.Problem
		if p != nil && !p.Heals {
			return p
		}
		if p != nil && first == nil {
			first = p
		}
	}
	return first
}

// progress counts checks that went well.
func (c *checker) progress(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done += n
	if c.cfg.Sink != nil {
		c.cfg.Sink(c.event(slipway.Event{Kind: slipway.Progress, Done: c.done, Total: c.total, Unit: "checks"}))
	}
}

// tell emits the lines of a release that passed. A failure is told by whoever
// acts on it.
func (c *checker) tell(v slipway.Verdict) {
	if c.cfg.Sink == nil || !v.Passed {
		return
	}
	n := len(v.Replicas)
	c.cfg.Sink(c.event(slipway.Event{
		Kind: slipway.Note, Indicator: HealthPassed,
		Message: fmt.Sprintf("%d of %d health checks on each of %d replicas", slipway.HealthChecks, slipway.HealthChecks, n),
	}))
	if v.Predictions() == 0 {
		return
	}
	c.cfg.Sink(c.event(slipway.Event{
		Kind: slipway.Note, Indicator: PredictionsPassed,
		Message: fmt.Sprintf("%d of %d golden predictions", v.Predictions(), n*len(c.golden.Predictions)),
	}))
}

func (c *checker) event(e slipway.Event) slipway.Event {
	e.At, e.Step, e.Release, e.Environment = time.Now(), "verify", c.release.ID, c.release.Environment
	return e
}
