package local

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/local/proxy"
	"github.com/slipway-dev/slipway/mlmodel"
)

// How replicas are watched.
const (
	probeEvery   = time.Second
	probeTimeout = 2 * time.Second
	probesLost   = 3                // silent probes in a row until a replica is ended
	steadyAfter  = time.Minute      // a replica that was up so long starts with a clean slate
	drainLimit   = 30 * time.Second // for requests in flight, and again for the process to end
	maxBackoff   = 30 * time.Second
)

// replica is one place of a set: a model server, started again when it ends.
type replica struct {
	supervisor *supervisor
	set        *set
	order      order // as it was when the replica was made; its release may be renamed since
	name       string
	dir        string
	ctx        context.Context // ends when the replica is retired
	cancel     context.CancelFunc
	done       chan struct{} // closed when nothing of it runs any more

	// Guarded by the supervisor's lock.
	state    slipway.ReplicaState
	since    time.Time
	restarts int
	problem  *slipway.Problem
	backend  *proxy.Backend
	url      string
}

func (s *supervisor) newReplica(t *set, name string) *replica {
	r := &replica{
		supervisor: s,
		set:        t,
		order:      t.order,
		name:       name,
		dir:        s.dir.path("replicas", name),
		done:       make(chan struct{}),
		state:      slipway.Starting,
		since:      time.Now(),
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// seen returns what is seen of the replica.
func (r *replica) seen(serving bool) slipway.Replica {
	return slipway.Replica{
		Name:     r.name,
		Release:  r.set.order.Release.ID,
		Image:    r.set.order.Release.Image.Digest,
		Model:    r.set.order.Release.Model,
		State:    r.state,
		Serving:  serving && r.state == slipway.Ready,
		URL:      r.url,
		Since:    r.since,
		Restarts: r.restarts,
		Problem:  r.problem,
	}
}

// run keeps the replica alive until it is retired. One of a set that never
// served and ends before it is ready has failed for good: starting it again
// would only delay the way back.
func (r *replica) run() {
	defer close(r.done)
	for crashes := 0; ; {
		life := r.live()
		if r.ctx.Err() != nil {
			return
		}
		if life.ready > steadyAfter {
			crashes = 0
		}
		crashes++
		hopeless := life.ready == 0 && !r.established()
		r.ended(life, crashes, hopeless)
		if hopeless {
			<-r.ctx.Done()
			return
		}
		if pause(r.ctx, backoff(crashes)) != nil {
			return
		}
		r.update(func() {
			r.state, r.since = slipway.Starting, time.Now()
			r.restarts++
		})
	}
}

// backoff returns the pause before the next start: 0.1 s after the first
// crash, twice as long after each further one, at most maxBackoff.
func backoff(crashes int) time.Duration {
	return min(maxBackoff, 100*time.Millisecond<<min(crashes-1, 20))
}

func (r *replica) established() bool {
	r.supervisor.mu.Lock()
	defer r.supervisor.mu.Unlock()
	return r.set.established
}

// ended records the end of a process that was not asked for.
func (r *replica) ended(l life, crashes int, hopeless bool) {
	p := l.problem
	p.Heals = !hopeless && crashes == 1
	if p.Heals {
		p.HealBy = time.Now().Add(r.order.StartupLimit)
	}
	r.supervisor.log.Warn("a replica ended", "replica", r.name, "problem", p.Kind, "message", p.Message, "crashes", crashes)
	r.update(func() {
		r.problem, r.url = &p, ""
		r.state = slipway.Failed
		if p.Heals {
			r.state = slipway.Starting
		}
	})
}

// update changes what is seen of the replica, unless it is retired.
func (r *replica) update(change func()) {
	r.supervisor.update(func() {
		if r.ctx.Err() == nil {
			change()
		}
	})
}

// life is how one process of a replica went.
type life struct {
	ready   time.Duration   // how long it was ready; 0: never
	problem slipway.Problem // why it ended
}

// live starts the model server and stays with it until it has ended.
func (r *replica) live() life {
	p, err := r.start()
	if err != nil {
		return life{problem: slipway.Problem{
			Kind:    "cannot-start",
			Message: "the model server does not start: " + printable(err.Error(), 300),
			Hint:    slipway.HintOf(err),
		}}
	}
	addr, ok := r.awaitReady(p)
	if !ok {
		expired := r.ctx.Err() == nil && running(p)
		p.terminate(time.Second)
		if expired {
			return life{problem: neverReady(p, r.order.StartupLimit)}
		}
		return life{problem: r.lastWords(p)}
	}
	since := time.Now()
	backend := r.supervisor.proxy.NewBackend(addr)
	r.update(func() {
		r.backend, r.url, r.state = backend, "http://"+addr, slipway.Ready
		if r.problem != nil && r.problem.Heals {
			r.problem = nil
		}
	})
	silent := r.watch(p, addr, since)
	r.finish(p, backend)
	l := life{ready: max(1, time.Since(since)), problem: r.lastWords(p)}
	if silent {
		l.problem = slipway.Problem{Kind: "unresponsive", Message: "the model server stopped answering", Evidence: p.log.lines(5)}
	}
	return l
}

func running(p *process) bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// start runs the model server of the order in a fresh folder.
func (r *replica) start() (*process, error) {
	if err := errors.Join(os.RemoveAll(r.dir), os.MkdirAll(r.dir, 0o700)); err != nil {
		return nil, fileError("starting a replica", r.dir, err)
	}
	// As in a cluster, the file is there before the container is.
	if err := os.WriteFile(r.path("termination-log"), nil, 0o600); err != nil {
		return nil, fileError("starting a replica", r.dir, err)
	}
	s, o := r.supervisor, r.order
	env, err := r.environment()
	if err != nil {
		return nil, err
	}
	args := []string{
		"--model", s.dir.image(o.Release.Image.Digest) + mlmodel.ImageModelDir,
		"--addr", "127.0.0.1:0",
		"--addr-file", r.path("addr"),
		"--drain-delay", "0s",
		"--termination-log", r.path("termination-log"),
	}
	p, err := s.launcher.launch(s.server(o), args, env, r.path("log"))
	if err != nil {
		return nil, err
	}
	if err := r.register(p); err != nil {
		p.terminate(0)
		return nil, fileError("starting a replica", r.dir, err)
	}
	return p, nil
}

func (r *replica) path(name string) string { return filepath.Join(r.dir, name) }

// register stores which process it is, for a later supervisor.
func (r *replica) register(p *process) error {
	id, err := identity(p.cmd.Process.Pid)
	if err != nil {
		return nil //nolint:nilerr // it has ended already, and live will see that
	}
	return birth{PID: p.cmd.Process.Pid, Identity: id}.store(r.path("process.json"))
}

func (r *replica) environment() ([]string, error) {
	s, release := r.supervisor, r.order.Release
	env := []string{"MODEL_NAME=" + string(release.Model.Name), "MODEL_VERSION=" + string(release.Model.Version)}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "LANG", "TZ"} {
		if value := s.getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	for name, value := range release.Env {
		env = append(env, name+"="+value)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range release.SecretEnv {
		value, ok := s.secrets[name]
		if !ok {
			return nil, slipway.Errorf(slipway.Invalid, "starting a replica", "the secret %s is not known any more", name).
				WithHint("set the environment variable %s and deploy again", name)
		}
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	return env, nil
}

// awaitReady waits until the model server says that it is ready, has ended,
// or took too long.
func (r *replica) awaitReady(p *process) (addr string, ok bool) {
	ctx, cancel := context.WithTimeout(r.ctx, r.order.StartupLimit)
	defer cancel()
	for every := 3 * time.Millisecond; ; every = min(every*11/10, 100*time.Millisecond) {
		if addr == "" {
			addr = readAddr(r.path("addr"))
		}
		if addr != "" && probe(ctx, addr) == ready {
			return addr, true
		}
		select {
		case <-p.done:
			return "", false
		case <-ctx.Done():
			return "", false
		case <-time.After(every):
		}
	}
}

// readAddr returns the address in the file, or "" while there is none. Only
// one of this machine is believed.
func readAddr(path string) string {
	data, err := readFile(path, 256)
	if err != nil {
		return ""
	}
	addr, err := netip.ParseAddrPort(strings.TrimSpace(string(data)))
	if err != nil || !addr.Addr().IsLoopback() || addr.Port() == 0 {
		return ""
	}
	return addr.String()
}

// health is what a probe found.
type health int

const (
	silent  health = iota // no answer
	unready               // an answer, but not ready
	ready
)

// probe asks the replica whether it is ready.
func probe(ctx context.Context, addr string) health {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/ready", nil)
	if err != nil {
		return silent
	}
	transport := &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return silent
	}
	defer resp.Body.Close()
	// What it says is not needed, only that it ends.
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	if resp.StatusCode != http.StatusOK {
		return unready
	}
	return ready
}

// watch probes a ready replica until it ends, is retired or has been silent
// for too long.
func (r *replica) watch(p *process, addr string, since time.Time) (wasSilent bool) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for lost := 0; lost < probesLost; {
		select {
		case <-p.done:
			return false
		case <-r.ctx.Done():
			return false
		case <-tick.C:
		}
		h := probe(r.ctx, addr)
		lost++
		if h != silent {
			lost = 0
			r.note(h == ready, since)
		}
	}
	return true
}

// note records what a probe found.
func (r *replica) note(isReady bool, since time.Time) {
	r.update(func() {
		r.state = slipway.Starting
		if isReady {
			r.state = slipway.Ready
		}
		if time.Since(since) > steadyAfter {
			r.problem = nil
		}
	})
}

// finish takes requests away from the replica, lets it answer those it has,
// and ends it.
func (r *replica) finish(p *process, b *proxy.Backend) {
	if !running(p) || r.ctx.Err() == nil {
		p.signal(syscall.SIGKILL) // it is dead or silent: there is nothing to wait for
		<-p.done
		r.update(func() { r.state = slipway.Starting })
	}
	ctx, cancel := context.WithTimeout(context.Background(), drainLimit)
	defer cancel()
	if err := b.Drain(ctx); err != nil {
		r.supervisor.log.Warn("requests still in flight", "replica", r.name, "requests", b.InFlight())
	}
	p.terminate(drainLimit)
}
