package local

import (
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/local/proxy"
)

// supervisor keeps what is served. Its lock guards everything below it,
// including the sets and what is seen of their replicas.
type supervisor struct {
	dir      folder
	address  string
	getenv   func(string) string
	log      *slog.Logger
	launcher launcher
	proxy    *proxy.Proxy
	work     sync.WaitGroup // replicas and listeners that are not done
	ended    chan struct{}  // closed when there is nothing left to do

	mu      sync.Mutex
	fence   uint64
	desired *set // what the target is set to; nil: nothing
	serving *set // what receives requests; nil: nothing does
	retired []*replica
	suspect []slipway.Digest // images whose replicas failed, not to be kept
	secrets map[string]string
	front   *http.Server
	door    net.Listener // of front
	problem *slipway.Problem
	closing bool
	idle    *time.Timer
}

func newSupervisor(dir folder, address string, getenv func(string) string, log *slog.Logger) *supervisor {
	s := &supervisor{
		dir:      dir,
		address:  address,
		getenv:   getenv,
		log:      log,
		launcher: newLauncher(),
		proxy:    proxy.New(proxy.Config{}),
		ended:    make(chan struct{}),
		secrets:  map[string]string{},
	}
	s.idle = time.AfterFunc(idleLimit, s.rest)
	return s
}

// restore takes up what the last supervisor was told and where it was.
func (s *supervisor) restore() error {
	stored, err := s.dir.readState()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fence = stored.Fence
	if stored.Desired == nil {
		return nil
	}
	s.idle.Stop()
	for _, o := range []*order{stored.Desired, stored.Serving} {
		s.secretsFromEnvironment(o)
	}
	s.desired = &set{order: *stored.Desired}
	if stored.Serving != nil {
		s.serving = s.desired
		if !stored.Serving.same(*stored.Desired) {
			s.serving = &set{order: *stored.Serving}
			s.startSet(s.serving)
		}
		s.serving.established = true
	}
	s.startSet(s.desired)
	s.route()
	s.openFrontOrRetry()
	return nil
}

func (s *supervisor) secretsFromEnvironment(o *order) {
	if o == nil {
		return
	}
	for _, name := range o.Release.SecretEnv {
		if value := s.getenv(name); value != "" {
			s.secrets[name] = value
		}
	}
}

// act takes a command in. What it will do is stored before any of it is done.
func (s *supervisor) act(c command) error {
	const op = "acting on the local target"
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closing:
		return errEnding
	case c.Fence < s.fence:
		return slipway.Errorf(slipway.Conflict, op, "a newer release owns the target (fence %d, this is %d)", s.fence, c.Fence)
	case c.Kind == slipway.Apply && c.Order != nil:
		return s.apply(c)
	case c.Kind == slipway.Remove:
		return s.remove(c.Fence)
	}
	return slipway.Errorf(slipway.Invalid, op, "%q is no action for a target", c.Kind)
}

func (s *supervisor) apply(c command) error {
	o := *c.Order
	if err := s.checkOrder(o); err != nil {
		return err
	}
	if s.front == nil {
		if err := s.openFront(); err != nil {
			return err
		}
	}
	next, old := s.runs(o), s.desired
	if next == nil {
		next = &set{order: o}
	}
	serving := orderOf(s.serving)
	if next == s.serving {
		serving = &o
	}
	if err := s.store(c.Fence, &o, serving); err != nil {
		s.rearm()
		return err
	}
	s.idle.Stop()
	next.order.Release = o.Release
	s.desired = next
	maps.Copy(s.secrets, c.Secrets)
	if old != nil && old != next && old != s.serving {
		s.retire(old)
	}
	if len(next.replicas) == 0 {
		s.startSet(next)
	}
	s.log.Info("set to", "release", o.Release.ID, "model", o.Release.Model.String(), "digest", o.Release.Image.Digest, "fence", c.Fence)
	s.reconcile()
	return nil
}

func (s *supervisor) checkOrder(o order) error {
	const op = "acting on the local target"
	if err := o.check(); err != nil {
		return err
	}
	dir := s.dir.image(o.Release.Image.Digest)
	now := time.Now()
	if err := os.Chtimes(dir, now, now); err != nil {
		return &slipway.Error{Op: op, Code: slipway.NotFound, Message: "the image is not unpacked", Err: err}
	}
	if _, err := os.Stat(s.server(o)); err != nil {
		return (&slipway.Error{Op: op, Code: slipway.Invalid, Message: "there is no model server to run", Err: err}).
			WithHint("build the image again, or name a model server with --server FILE")
	}
	return nil
}

// runs returns the replicas that already are what the order asks for. Ones
// that failed are only kept for the release that started them.
func (s *supervisor) runs(o order) *set {
	for _, t := range []*set{s.desired, s.serving} {
		if t != nil && t.order.sameProcess(o) && (t.order.Release.ID == o.Release.ID || !t.failed()) {
			return t
		}
	}
	return nil
}

func (s *supervisor) remove(fence uint64) error {
	if err := s.store(fence, nil, nil); err != nil {
		return err
	}
	s.log.Info("set to nothing", "fence", fence)
	s.clear()
	return nil
}

// stop sets the target to nothing and ends the supervisor.
func (s *supervisor) stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return nil
	}
	if err := s.store(s.fence, nil, nil); err != nil {
		return err
	}
	s.close()
	return nil
}

// end lets everything drain and waits for it. What the target is set to
// stays stored.
func (s *supervisor) end() {
	s.mu.Lock()
	s.close()
	s.mu.Unlock()
	s.work.Wait()
}

func (s *supervisor) close() {
	if s.closing {
		return
	}
	s.closing = true
	s.idle.Stop()
	s.clear()
	close(s.ended)
}

// rest ends a supervisor that has nothing to serve.
func (s *supervisor) rest() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.desired == nil && s.serving == nil && len(s.retired) == 0 {
		s.close()
	}
}

// rearm starts the wait for work, if there is nothing to serve.
func (s *supervisor) rearm() {
	if s.desired == nil && len(s.retired) == 0 && !s.closing {
		s.closeFront()
		s.idle.Reset(idleLimit)
	}
}

func (s *supervisor) clear() {
	s.closeFront()
	sets := []*set{s.desired}
	if s.serving != s.desired {
		sets = append(sets, s.serving)
	}
	s.desired, s.serving, s.problem = nil, nil, nil
	s.route()
	for _, t := range sets {
		s.retire(t)
	}
	s.rearm()
}

// store persists the fence and the orders, and remembers the fence.
func (s *supervisor) store(fence uint64, desired, serving *order) error {
	if err := s.dir.writeState(state{Fence: fence, Desired: desired, Serving: serving}); err != nil {
		return err
	}
	s.fence = fence
	return nil
}

func orderOf(t *set) *order {
	if t == nil {
		return nil
	}
	return &t.order
}

// update changes what is seen of a replica and acts on it.
func (s *supervisor) update(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	s.reconcile()
}

// reconcile switches to the desired replicas once every one of them is ready.
func (s *supervisor) reconcile() {
	old := s.serving
	if s.desired == nil || s.desired == old || !s.desired.ready() {
		s.route()
		return
	}
	// If this cannot be stored, a later supervisor starts from the replicas
	// before and switches again: nothing is lost by going on.
	if err := s.store(s.fence, &s.desired.order, &s.desired.order); err != nil {
		s.log.Error("storing the switch", "error", err)
	}
	s.serving = s.desired
	s.serving.established = true
	s.route()
	s.log.Info("switched", "release", s.serving.order.Release.ID, "digest", s.serving.order.Release.Image.Digest)
	s.retire(old)
}

// route tells the proxy who is fit to serve, and whether a replica is on its
// way back.
func (s *supervisor) route() {
	var backends []*proxy.Backend
	returning := false
	if s.serving != nil {
		for _, r := range s.serving.replicas {
			if r.state == slipway.Ready {
				backends = append(backends, r.backend)
			}
			returning = returning || r.state == slipway.Starting
		}
	}
	s.proxy.Route(backends, returning)
}

// status says what is served now.
func (s *supervisor) status() status {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := slipway.Observation{At: time.Now(), Problem: s.problem}
	if s.desired != nil {
		o.Desired, o.Release, o.Want = s.desired.order.Release.Image.Digest, s.desired.order.Release.ID, s.desired.order.Want
	}
	for _, t := range []*set{s.serving, s.desired} {
		if t == nil || t == s.serving && len(o.Replicas) > 0 {
			continue
		}
		for _, r := range t.replicas {
			o.Replicas = append(o.Replicas, r.seen(t == s.serving))
		}
	}
	for _, r := range s.retired {
		o.Replicas = append(o.Replicas, r.seen(false))
	}
	return status{Observation: o, Stats: s.proxy.Stats(), PID: os.Getpid()}
}

// server returns the model server's path for the order.
func (s *supervisor) server(o order) string {
	if o.Server != "" {
		return o.Server
	}
	return s.dir.imageServer(o.Release.Image.Digest)
}
