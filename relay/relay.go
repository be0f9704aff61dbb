package relay

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-dev/slipway"
)

// Config is what a relay needs. Database, Watch and World are required, and
// Secrets unless Unsigned.
type Config struct {
	Database string // a file; made when it is missing
	Watch    []Watched
	World    World
	Secrets  []string      // any of them may have signed a delivery: two while one is replaced
	Unsigned bool          // take deliveries without a signature, too
	Poll     time.Duration // between two looks at what is promoted; default 30 s
	Log      *slog.Logger  // default: nowhere
}

const (
	lookLimit    = 30 * time.Second // for asking the model registry, or a target
	handingLimit = 30 * time.Second // for handing a start over; also after the order to stop
	together     = 8                // looks without a hint at a time
	pruneEvery   = 5 * time.Minute
	bodyLimit    = 10 * time.Second // for a delivery to arrive
)

// Relay starts releases of what is promoted.
type Relay struct {
	config  Config
	store   *store
	keepers []*keeper
	slots   chan struct{} // of looks without a hint
	large   chan struct{} // of bodies that are large
	stats   *stats
	seen    recent[delivery]
	begun   recent[begun]
	body    time.Duration // bodyLimit; less in tests

	draining atomic.Bool // deliveries are not welcome any more

	mu     sync.Mutex
	resume map[Starter]time.Time // a host that asked to be left alone until then
}

// Open opens the database and reads what it holds. Nothing is asked or started
// before Run. The codes: Conflict, another relay has the database; Corrupt, it
// is damaged; Invalid, the configuration is.
func Open(ctx context.Context, c Config) (*Relay, error) {
	if len(c.Secrets) == 0 && !c.Unsigned {
		return nil, slipway.Errorf(slipway.Invalid, "", "no secret is given, so no delivery could be checked").
			WithHint("set SLIPWAY_WEBHOOK_SECRET to the secret of the webhook in MLflow")
	}
	c.Poll = cmp.Or(c.Poll, 30*time.Second)
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	s, err := openStore(c.Database)
	if err != nil {
		return nil, err
	}
	r := &Relay{config: c, store: s, slots: make(chan struct{}, together), large: make(chan struct{}, maxLarge), resume: map[Starter]time.Time{}}
	r.stats, r.body = newStats(), bodyLimit
	if err := r.remember(ctx); err != nil {
		return nil, closing(s, storeError(c.Database, err))
	}
	return r, nil
}

func closing(s *store, err error) error {
	_ = s.close() // why it could not be used says more
	return err
}

// remember makes the keepers, each with what is stored of its promotion.
func (r *Relay) remember(ctx context.Context) error {
	for i, w := range r.config.Watch {
		p, err := r.store.promotion(w.Model.String(), w.Environment)
		if err != nil {
			return err
		}
		k := &keeper{Relay: r, Watched: w, hints: make(chan struct{}, 1), promotion: p}
		k.first = r.config.Poll * time.Duration(i+1) / time.Duration(len(r.config.Watch)) // spread evenly from then on
		r.keepers = append(r.keepers, k)
	}
	starts, err := r.store.starts(ctx)
	if err != nil {
		return err
	}
	for _, b := range slices.Backward(starts) {
		r.begun.add(b)
	}
	deliveries, err := r.store.deliveries(ctx)
	for _, d := range slices.Backward(deliveries) {
		r.seen.add(d)
	}
	return err
}

// Run looks at what is promoted, at once and then again and again, and starts
// what is due, until ctx ends. Then it returns as soon as what is being handed
// over is.
func (r *Relay) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, k := range r.keepers {
		all.Go(func() { k.run(ctx) })
	}
	all.Go(func() { r.tidy(ctx) })
	all.Wait()
}

// Close closes the database.
func (r *Relay) Close() error { return r.store.close() }

func (r *Relay) tidy(ctx context.Context) {
	for wait(ctx, pruneEvery, nil) {
		if err := r.store.prune(ctx, time.Now()); err != nil && ctx.Err() == nil {
			r.config.Log.Warn("forgetting old deliveries", "error", err.Error())
		}
	}
}

// Promotions returns what the relay knows, in the order of Watch.
func (r *Relay) Promotions() []Promotion {
	var all []Promotion
	for _, k := range r.keepers {
		all = append(all, k.state())
	}
	return all
}

// concerned returns those whose promotion may have moved.
func (r *Relay) concerned(e Event) (all []*keeper) {
	for _, k := range r.keepers {
		if e.concerns(k.Model) {
			all = append(all, k)
		}
	}
	return all
}

// later and leave keep a host alone that asked for it.
func (r *Relay) later(s Starter) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.resume[s]
}

func (r *Relay) leave(s Starter, until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resume[s] = until
}

// wait waits and reports whether there is something to do: the time is over or
// a hint came, and ctx has not ended.
func wait(ctx context.Context, d time.Duration, hints <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-hints:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}
