package slipwaytest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/slipway-dev/slipway"
)

var _ slipway.Target = (*MemoryTarget)(nil)

// Behaviour is how the replicas of one image behave. The zero value is ready
// at once and stays so.
type Behaviour struct {
	ReadyAfter time.Duration    // between the start of a replica and its being ready or failing
	Never      bool             // never ready, never failing
	Fails      *slipway.Problem // fails with this instead of becoming ready
	CrashAfter time.Duration    // crashes this long after it became ready, again and again; 0: never
	From       int              // only the replicas from this index on do so; the ones before are ready
	DrainFor   time.Duration    // how long a retired replica is seen draining
	Refused    string           // why the target refuses the release; empty: it does not
}

// GoldenDiffers is the behaviour of an image whose replicas do not give their
// golden predictions.
func GoldenDiffers() Behaviour {
	return Behaviour{Fails: &slipway.Problem{
		Kind:     "golden-differs",
		Message:  "golden prediction 2 differs",
		Evidence: `expected "versicolor", got "virginica"`,
		Hint:     "slipway explain",
	}}
}

// MemoryTarget is a slipway.Target in memory. It goes on with the clock
// (time.Now, so testing/synctest can drive it) and only when it is looked at.
// Old replicas serve until every new one is ready.
type MemoryTarget struct {
	mu          sync.Mutex
	replicas    int
	behaviours  map[slipway.Digest]Behaviour
	fence       uint64
	desired     *memorySet
	serving     *memorySet
	retired     []*memorySet
	acts        []slipway.Action
	observed    int
	unreachable time.Time
	failing     int
}

// memorySet is the replicas of one Apply.
type memorySet struct {
	release   slipway.Release
	behaviour Behaviour
	want      int
	started   time.Time
	retiredAt time.Time
}

// NewMemoryTarget returns a target that serves nothing yet and runs so many
// replicas of releases that do not say how many.
func NewMemoryTarget(replicas int) *MemoryTarget {
	return &MemoryTarget{replicas: replicas, behaviours: map[slipway.Digest]Behaviour{}}
}

// Behave sets how replicas of the image behave that are started from now on.
func (m *MemoryTarget) Behave(image slipway.Digest, b Behaviour) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.behaviours[image] = b
}

// UnreachableFor makes the target answer Unavailable for the duration.
func (m *MemoryTarget) UnreachableFor(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unreachable = time.Now().Add(d)
}

// FailNext makes the next n calls answer Unavailable.
func (m *MemoryTarget) FailNext(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failing = n
}

// Acts returns the actions the target took in, oldest first.
func (m *MemoryTarget) Acts() []slipway.Action {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.acts)
}

// Observed returns how often the target was looked at.
func (m *MemoryTarget) Observed() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.observed
}

// Observe implements slipway.Target.
func (m *MemoryTarget) Observe(ctx context.Context) (slipway.Observation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.reachable(ctx, "observing the target"); err != nil {
		return slipway.Observation{}, err
	}
	m.observed++
	now := time.Now()
	m.advance(now)
	o := slipway.Observation{At: now}
	if m.desired != nil {
		o.Desired, o.Release, o.Want = m.desired.release.Image.Digest, m.desired.release.ID, m.desired.want
	}
	for _, set := range m.sets() {
		o.Replicas = append(o.Replicas, set.replicas(now, set == m.serving)...)
	}
	return o, nil
}

// Act implements slipway.Target.
func (m *MemoryTarget) Act(ctx context.Context, a slipway.Action) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.reachable(ctx, "acting on the target"); err != nil {
		return err
	}
	if err := m.check(a); err != nil {
		return err
	}
	m.fence = a.Fence
	m.acts = append(m.acts, a)
	now := time.Now()
	m.advance(now)
	if a.Kind == slipway.Remove {
		m.retire(m.desired, now)
		m.retire(m.serving, now)
		m.desired, m.serving = nil, nil
		return nil
	}
	m.apply(a.Release, now)
	return nil
}

func (m *MemoryTarget) reachable(ctx context.Context, op string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if m.failing > 0 {
		m.failing--
		return slipway.Errorf(slipway.Unavailable, op, "the target is out of reach")
	}
	if time.Now().Before(m.unreachable) {
		return slipway.Errorf(slipway.Unavailable, op, "the target is out of reach")
	}
	return nil
}

func (m *MemoryTarget) check(a slipway.Action) error {
	const op = "acting on the target"
	if a.Fence < m.fence {
		return slipway.Errorf(slipway.Conflict, op, "a newer release owns the target")
	}
	if a.Kind == slipway.Remove {
		return nil
	}
	if a.Kind != slipway.Apply {
		return slipway.Errorf(slipway.Invalid, op, "%q is no action for a target", a.Kind)
	}
	if _, err := slipway.ParseDigest(string(a.Release.Image.Digest)); err != nil {
		return err
	}
	if why := m.behaviours[a.Release.Image.Digest].Refused; why != "" {
		return slipway.Errorf(slipway.Invalid, op, "%s", why)
	}
	return nil
}

func (m *MemoryTarget) apply(r slipway.Release, now time.Time) {
	want := r.Replicas
	if want == 0 {
		want = m.replicas
	}
	if adopt := m.runs(r, want, now); adopt != nil {
		if m.desired != adopt && m.desired != m.serving {
			m.retire(m.desired, now)
		}
		adopt.release = r
		m.desired = adopt
		return
	}
	if m.desired != m.serving {
		m.retire(m.desired, now)
	}
	m.desired = &memorySet{release: r, behaviour: m.behaviours[r.Image.Digest], want: want, started: now}
}

// runs returns the replicas that already are what the release asks for. Ones
// that failed are only kept for the release that started them.
func (m *MemoryTarget) runs(r slipway.Release, want int, now time.Time) *memorySet {
	for _, set := range []*memorySet{m.desired, m.serving} {
		if set == nil || set.release.Image.Digest != r.Image.Digest || set.want != want {
			continue
		}
		if set.release.ID == r.ID || !set.failed(now) {
			return set
		}
	}
	return nil
}

func (m *MemoryTarget) retire(set *memorySet, now time.Time) {
	if set != nil && !slices.Contains(m.retired, set) {
		set.retiredAt = now
		m.retired = append(m.retired, set)
	}
}

// advance switches to the desired replicas once all are ready and forgets
// those that have drained.
func (m *MemoryTarget) advance(now time.Time) {
	if m.desired != m.serving && m.desired != nil && m.desired.ready(now) {
		m.retire(m.serving, now)
		m.serving = m.desired
	}
	m.retired = slices.DeleteFunc(m.retired, func(set *memorySet) bool {
		return !now.Before(set.retiredAt.Add(set.behaviour.DrainFor))
	})
}

func (m *MemoryTarget) sets() []*memorySet {
	var sets []*memorySet
	if m.serving != nil {
		sets = append(sets, m.serving)
	}
	if m.desired != nil && m.desired != m.serving {
		sets = append(sets, m.desired)
	}
	return append(sets, m.retired...)
}

func (s *memorySet) ready(now time.Time) bool {
	for i := range s.want {
		if state, _ := s.state(i, now); state != slipway.Ready {
			return false
		}
	}
	return true
}

func (s *memorySet) failed(now time.Time) bool {
	for i := range s.want {
		if state, _ := s.state(i, now); state == slipway.Failed {
			return true
		}
	}
	return false
}

func (s *memorySet) replicas(now time.Time, serving bool) []slipway.Replica {
	var list []slipway.Replica
	for i := range s.want {
		state, problem := s.state(i, now)
		restarts := 0
		if state == slipway.Failed && problem.Kind == "crashed" {
			restarts = 2
		}
		list = append(list, slipway.Replica{
			Name:     fmt.Sprintf("%s-%d", s.release.ID, i+1),
			Release:  s.release.ID,
			Image:    s.release.Image.Digest,
			Model:    s.release.Model,
			State:    state,
			Serving:  serving && state == slipway.Ready,
			Since:    s.started,
			Restarts: restarts,
			Problem:  problem,
		})
	}
	return list
}

func (s *memorySet) state(i int, now time.Time) (slipway.ReplicaState, *slipway.Problem) {
	b, age := s.behaviour, now.Sub(s.started)
	misbehaves := i >= b.From
	switch {
	case !s.retiredAt.IsZero():
		return slipway.Draining, nil
	case b.Never && misbehaves, age < b.ReadyAfter:
		return slipway.Starting, nil
	case b.Fails != nil && misbehaves:
		problem := *b.Fails
		return slipway.Failed, &problem
	case b.CrashAfter > 0 && misbehaves && age >= b.ReadyAfter+b.CrashAfter:
		return slipway.Failed, &slipway.Problem{Kind: "crashed", Message: "exited with code 1, for the second time", Evidence: "signal: killed"}
	}
	return slipway.Ready, nil
}
