package serving

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

// Config is what a model server serves and how. Dir and Engines are required.
type Config struct {
	Dir     string   // the model directory
	Engines []Engine // the first that can serve the model does, unless the image names one

	ModelName    string // for directories that are not of an image; default: the directory's name
	ModelVersion string // likewise; default: none

	Schema      Schema        // default: Strict
	DrainDelay  time.Duration // how long to keep answering after the order to stop
	StopWithin  time.Duration // from the order to stop to the end; default 29 s, below Kubernetes' 30 s
	MaxBody     int           // bytes of a request; default 16 MiB
	MaxInFlight int           // requests answered at a time, more are told to come back; default 256
	MaxMemory   int64         // bytes for all requests beyond 64 KiB, counted with what they grow to; others wait; default 128 MiB
	MaxConns    int           // open connections: beyond half of them replies end theirs, beyond all new ones are closed; default 2048
	Timeout     time.Duration // for reading a request, and for writing its reply; default 30 s
	Log         *slog.Logger  // default: nowhere
	AnswerIn    time.Duration // how long the engine may take for an answer, beside Timeout; default 0: it is quick
	Ready       func()        // called once, when the model is ready; may be nil
}

// Server is a model server.
type Server struct {
	config Config
	who    identity
	state  atomic.Pointer[model]
	open   closers
	phase  atomic.Int32
	inside atomic.Int64 // requests being answered
	conns  atomic.Int64 // open connections
	large  *semaphore.Weighted
	stats  *metrics
	log    *sampledLog
}

// model is a loaded model whose golden predictions came out right.
type model struct {
	*answerer
	about *mlmodel.Model
}

// The phases of a server's life.
const (
	starting int32 = iota
	ready
	draining
)

// New makes a server. Nothing is read before Run.
func New(c Config) *Server {
	c.Schema = Schema(orDefault(string(c.Schema), string(Strict)))
	setDefault(&c.StopWithin, 29*time.Second)
	setDefault(&c.MaxBody, 16<<20)
	setDefault(&c.MaxInFlight, 256)
	setDefault(&c.MaxMemory, 128<<20)
	setDefault(&c.MaxConns, 2048)
	setDefault(&c.Timeout, 30*time.Second)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{config: c, who: identify(c), log: &sampledLog{log: c.Log}, large: semaphore.NewWeighted(c.MaxMemory)}
	s.stats = newMetrics(s)
	return s
}

func setDefault[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

func orDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// Run serves on the listener until ctx ends, then drains: it is not ready from
// then on, keeps answering for the drain delay while it asks clients to close
// their connections, and finishes what is in flight.
//
// The model is loaded, and its golden predictions are checked, while /health
// already answers. A model that does not load or answers otherwise than
// expected ends Run at once with an error of code Invalid that says why.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	h := s.httpServer()
	serving, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	var group errgroup.Group
	group.Go(func() error {
		err := h.Serve(l)
		stop(err)
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return fmt.Errorf("serving: %w", err)
	})
	defer s.open.close()
	loaded := make(chan error, 1)
	go func() { loaded <- s.load(ctx) }()
	for {
		select {
		case err := <-loaded:
			if err != nil && ctx.Err() == nil {
				return errors.Join(err, h.Close(), group.Wait())
			}
			loaded = nil
		case <-ctx.Done():
			return errors.Join(s.drain(h), group.Wait())
		case <-serving.Done(): // the listener failed
			return group.Wait()
		}
	}
}

func (s *Server) httpServer() *http.Server {
	return &http.Server{
		Handler:           s,
		ReadHeaderTimeout: min(5*time.Second, s.config.Timeout),
		ReadTimeout:       s.config.Timeout,
		WriteTimeout:      2*s.config.Timeout + s.config.AnswerIn, // from the end of the header: reading the body counts too
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ConnState:         s.countConns,
		ErrorLog:          slog.NewLogLogger(s.config.Log.Handler(), slog.LevelDebug),
	}
}

// countConns keeps the number of connections, whose buffers are memory too.
func (s *Server) countConns(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		if s.conns.Add(1) > int64(s.config.MaxConns) {
			_ = c.Close() // its client learns as much
		}
	case http.StateClosed, http.StateHijacked:
		s.conns.Add(-1)
	}
}

// load makes the server ready.
func (s *Server) load(ctx context.Context) error {
	start := time.Now()
	if s.who.err != nil {
		return s.who.err
	}
	m, err := mlmodel.Open(s.config.Dir)
	if err != nil {
		return err
	}
	engine, p, err := s.loadWith(ctx, m)
	if err != nil {
		return err
	}
	s.open.add(p)
	g, err := mlmodel.ReadGolden(s.config.Dir)
	switch {
	case slipway.CodeOf(err) == slipway.NotFound: // a bare model directory
	case err != nil:
		return err
	default:
		if err := CheckGolden(ctx, m, p, g); err != nil {
			return err
		}
	}
	s.state.Store(&model{answerer: newAnswerer(m, p, s.config.Schema), about: m})
	s.phase.CompareAndSwap(starting, ready)
	if s.config.Ready != nil {
		s.config.Ready()
	}
	s.config.Log.Info("ready", "model", s.who.name, "version", s.who.version, "engine", engine.Name(),
		"golden", len(g.Predictions), "took", time.Since(start).String())
	return nil
}

// loadWith loads the model with the engine that the image was built for, or a
// bare directory with the first that can.
func (s *Server) loadWith(ctx context.Context, m *mlmodel.Model) (Engine, Predictor, error) {
	const op = "choosing the engine"
	engines := s.config.Engines
	if name := s.who.engine; name != "" {
		engines = slices.DeleteFunc(slices.Clone(engines), func(e Engine) bool { return e.Name() != name })
		if len(engines) == 0 {
			return nil, nil, slipway.Errorf(slipway.Invalid, op, "the image asks for the engine %q, and this model server has %s", name, s.engineNames()).
				WithHint("build the image with the model server of the same slipway release")
		}
	}
	var reasons []string
	for _, e := range engines {
		p, err := e.Load(ctx, m)
		if err == nil {
			return e, p, nil
		}
		if len(engines) == 1 {
			return nil, nil, err
		}
		reasons = append(reasons, e.Name()+": "+err.Error())
	}
	return nil, nil, slipway.Errorf(slipway.Invalid, op, "no engine serves this model of flavour %q: %s", m.Flavor(), orDefault(strings.Join(reasons, "; "), "there is none"))
}

func (s *Server) engineNames() string {
	var names []string
	for _, e := range s.config.Engines {
		names = append(names, e.Name())
	}
	return orDefault(strings.Join(names, ", "), "none")
}

// drain stops the server within StopWithin.
func (s *Server) drain(h *http.Server) error {
	deadline := time.Now().Add(s.config.StopWithin)
	delay := min(s.config.DrainDelay, s.config.StopWithin)
	if s.phase.Swap(draining) == starting {
		delay = 0 // nobody was sent here yet
	}
	s.config.Log.Info("draining", "delay", delay.String(), "inFlight", s.inside.Load())
	<-time.After(delay)
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	if err := h.Shutdown(ctx); err != nil {
		left := s.inside.Load()
		return errors.Join(slipway.Errorf(slipway.Exhausted, "draining", "%d requests were not finished within %s", left, s.config.StopWithin), h.Close())
	}
	return nil
}

// identity is what a server says of its model on every answer.
type identity struct {
	name, version, engine string
	nameHeader            []string
	versionHeader         []string
	err                   error // why the image's word cannot be read
}

// identify takes the image's word before anything else.
func identify(c Config) identity {
	who := identity{name: c.ModelName, version: c.ModelVersion}
	switch m, err := mlmodel.ReadManifest(c.Dir); {
	case err == nil:
		who = identity{name: string(m.Model.Name), version: string(m.Model.Version), engine: m.Engine}
	case slipway.CodeOf(err) != slipway.NotFound:
		who.err = err
	}
	who.name = orDefault(who.name, filepath.Base(c.Dir))
	who.nameHeader, who.versionHeader = []string{headerValue(who.name)}, []string{headerValue(who.version)}
	return who
}

// headerValue keeps control characters out of a header.
func headerValue(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return '_'
		}
		return c
	}, s)
}
