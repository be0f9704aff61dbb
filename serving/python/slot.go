package python

import (
	"context"
	"errors"
	"time"

	"github.com/slipway-dev/slipway"
)

// Waits between attempts to start a worker that does not start.
const (
	firstWait = 100 * time.Millisecond
	lastWait  = 30 * time.Second
)

// slot keeps one worker running until the predictor is closed. first, where it
// is not nil, learns how the first attempt ended; after a failed one the slot
// ends.
func (p *Predictor) slot(first chan<- error) {
	for wait := firstWait; p.ctx.Err() == nil; {
		w, err := p.startWorker()
		if first != nil {
			if first <- err; err != nil {
				return
			}
			first = nil
		}
		if err != nil {
			p.engine.config.Log.Error("a worker does not start", "error", err.Error(), "again", wait.String())
			pause(p.ctx, wait)
			wait = min(2*wait, lastWait)
			continue
		}
		began := time.Now()
		p.ready.Add(1)
		stop := context.AfterFunc(p.ctx, w.kill)
		err = p.serve(w)
		stop()
		p.ready.Add(-1)
		w.kill()
		<-w.exited
		if p.ctx.Err() != nil {
			return
		}
		p.restarts.Add(1)
		p.engine.config.Log.Error("a worker is replaced", "reason", err.Error())
		if time.Since(began) > lastWait {
			wait = firstWait
		}
	}
}

func pause(ctx context.Context, wait time.Duration) {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// startWorker starts a worker and has it load the model.
func (p *Predictor) startWorker() (*process, error) {
	ctx, cancel := context.WithTimeout(p.ctx, p.engine.config.LoadTimeout)
	defer cancel()
	w, err := p.engine.spawn(newOutput(p.engine.config.Log, &p.budget))
	if err != nil {
		return nil, &slipway.Error{Op: "starting Python", Code: slipway.Internal, Err: err}
	}
	start := time.Now()
	about, err := w.load(ctx, p.engine, p.dir)
	if err != nil {
		w.kill()
		<-w.exited
		return nil, p.notLoaded(err)
	}
	p.engine.config.Log.Info("a worker is ready", "pid", w.pid, "python", short(about.Python, 20), "took", time.Since(start).String())
	return w, nil
}

func (p *Predictor) notLoaded(err error) error {
	const op = "loading the model with Python"
	var known *slipway.Error
	var dead *death
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, context.DeadlineExceeded):
		return slipway.Errorf(slipway.Exhausted, op, "the model is not loaded after %s", p.engine.config.LoadTimeout)
	case errors.As(err, &dead) && slipway.CodeOf(dead.why) != "" && slipway.CodeOf(dead.why) != slipway.Invalid:
		return &slipway.Error{Op: op, Code: slipway.CodeOf(dead.why), Message: dead.why.Error(), Err: evidenceOf(dead.output), Hint: slipway.HintOf(dead.why)}
	case errors.As(err, &dead):
		return &slipway.Error{Op: op, Code: slipway.Invalid, Message: "the worker " + dead.reason + " while it loaded the model", Err: evidenceOf(dead.output)}
	}
	return &slipway.Error{Op: op, Code: slipway.Internal, Err: err}
}

// serve answers requests until the worker has to be replaced, and returns why.
func (p *Predictor) serve(w *process) error {
	var held *job // taken, but not of the same kind
	for {
		jobs := p.next(w, &held)
		if jobs == nil {
			if held != nil {
				p.again <- held
			}
			return w.died(errors.New("it is gone"))
		}
		if err := p.ask(w, jobs); err != nil {
			if held != nil {
				p.again <- held
			}
			return err
		}
	}
}
