package python

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/serving"
)

const op = "predicting with Python"

// Predictor is a model that worker processes have loaded.
type Predictor struct {
	engine   *Engine
	dir      string
	encoder  *encoder
	queue    chan *job   // what nobody has asked yet
	again    chan *job   // what is asked again, alone
	groups   chan []*job // what is to be asked together, whatever the configuration says
	ctx      context.Context
	cancel   context.CancelFunc
	slots    sync.WaitGroup
	budget   budget
	ready    atomic.Int64
	restarts atomic.Uint64
	together atomic.Int64 // requests that are asked together at most
}

var (
	_ serving.Predictor = (*Predictor)(nil)
	_ serving.Asker     = (*Predictor)(nil)
	_ serving.Stateful  = (*Predictor)(nil)
)

// maxTogether bounds a batch of requests, maxRows their rows.
const (
	maxTogether = 64
	maxRows     = 1024
)

// job is a request on its way.
type job struct {
	*request
	id       string
	deadline time.Time
	ctx      context.Context // of the client
	kills    int             // workers that died of it
	once     bool            // it is not asked again
	done     chan result     // takes one without waiting
}

type result struct {
	output *serving.Output
	err    error
}

func (j *job) finish(o *serving.Output, err error) { j.done <- result{o, err} }

// start starts the workers; the first must come to be ready.
func start(ctx context.Context, e *Engine, m *mlmodel.Model) (*Predictor, error) {
	p := &Predictor{engine: e, dir: m.Dir, encoder: newEncoder(m)}
	p.queue = make(chan *job, e.config.Queue)
	p.again = make(chan *job, e.config.Workers*(maxTogether+1))
	p.groups = make(chan []*job)
	p.ctx, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
	p.together.Store(maxTogether)
	first := make(chan error, 1)
	stop := context.AfterFunc(ctx, p.cancel)
	p.slots.Go(func() { p.slot(first) })
	if err := <-first; err != nil {
		stop()
		p.cancel()
		p.slots.Wait()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	if !stop() {
		p.slots.Wait()
		return nil, ctx.Err()
	}
	for range e.config.Workers - 1 {
		p.slots.Go(func() { p.slot(nil) })
	}
	return p, nil
}

// Close ends the workers. Requests that wait are refused, code Unavailable.
func (p *Predictor) Close() error {
	p.cancel()
	p.slots.Wait()
	for {
		select {
		case j := <-p.queue:
			j.finish(nil, ended())
		case j := <-p.again:
			j.finish(nil, ended())
		default:
			return nil
		}
	}
}

func ended() error {
	return slipway.Errorf(slipway.Unavailable, op, "the model server ends")
}

// TakesBodies implements serving.Asker: a model without declared inputs gets what the
// client sent, as from MLflow.
func (p *Predictor) TakesBodies() {}

// State returns how the workers are.
func (p *Predictor) State() serving.State {
	return serving.State{Workers: int(p.ready.Load()), Wanted: p.engine.config.Workers, Restarts: p.restarts.Load(), Waiting: len(p.queue) + len(p.again)}
}

// Predict has a worker answer the batch. Codes: Exhausted, too many requests
// wait; Internal, workers died of it or the answer makes no sense. An error
// that is a context.DeadlineExceeded is that the time is over, and a
// serving.ModelError is the model's own.
func (p *Predictor) Predict(ctx context.Context, b *serving.Batch) (*serving.Output, error) {
	j := p.newJob(ctx, p.encoder.encode(b))
	select {
	case p.queue <- j:
	default:
		return nil, slipway.Errorf(slipway.Exhausted, op, "%d requests wait already", p.engine.config.Queue)
	}
	return p.await(ctx, j)
}

func (p *Predictor) newJob(ctx context.Context, r *request) *job {
	return &job{request: r, id: serving.RequestID(ctx), deadline: time.Now().Add(p.engine.config.Timeout), ctx: ctx,
		once: serving.Once(ctx), done: make(chan result, 1)}
}

// await waits for the answer, but not longer than the request's time.
func (p *Predictor) await(ctx context.Context, j *job) (*serving.Output, error) {
	timeout := p.engine.config.Timeout
	timer := time.NewTimer(time.Until(j.deadline))
	defer timer.Stop()
	select {
	case r := <-j.done:
		return r.output, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timer.C: // its worker is being replaced, or there was none
		return nil, late(timeout)
	case <-p.ctx.Done():
		return nil, ended()
	}
}

func late(timeout time.Duration) error {
	return &slipway.Error{Op: op, Code: slipway.Exhausted, Message: "no answer within " + timeout.String(), Err: context.DeadlineExceeded,
		Hint: "give it longer with --timeout (SLIPWAY_TIMEOUT), if it needs that"}
}

// over reports whether nobody waits for the answer any more.
func (j *job) over() bool { return j.ctx.Err() != nil || !time.Now().Before(j.deadline) }

// isLate reports whether an exchange ended at its deadline.
func isLate(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}
