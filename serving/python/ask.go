package python

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/slipway-dev/slipway"
)

// ask has the worker answer the requests. An error is that it has to be
// replaced; the requests have been answered or will be asked again.
func (p *Predictor) ask(w *process, jobs []*job) error {
	messages, ids := make([][]byte, len(jobs)), make([]string, 0, len(jobs))
	for i, j := range jobs {
		messages[i] = j.message
		if j.id != "" {
			ids = append(ids, j.id)
		}
	}
	w.frames++
	w.output.announce(w.frames, strings.Join(ids, " "))
	answers, err := w.exchange(messages, p.deadline(jobs))
	if err != nil {
		return p.lost(w, jobs, err)
	}
	return p.share(w, jobs, answers)
}

// deadline is when the worker is given up: for requests that were asked
// together early enough to ask each alone.
func (p *Predictor) deadline(jobs []*job) time.Time {
	earliest := jobs[0].deadline
	for _, j := range jobs[1:] {
		if j.deadline.Before(earliest) {
			earliest = j.deadline
		}
	}
	if len(jobs) > 1 {
		return time.Now().Add(time.Until(earliest) / 2)
	}
	return earliest
}

// lost handles requests whose worker died or hangs.
func (p *Predictor) lost(w *process, jobs []*job, err error) error {
	var reason error
	if late := isLate(err); late {
		w.kill()
		reason = errors.New("a worker did not answer in time")
		p.together.Store(max(1, int64(len(jobs)/2)))
	} else {
		reason = w.died(err)
	}
	for _, j := range jobs {
		j.kills++
		switch {
		case j.over():
			j.finish(nil, late(p.engine.config.Timeout))
		case j.kills > 1 || j.once:
			j.finish(nil, j.deadly(reason))
		default:
			p.again <- j
		}
	}
	return reason
}

// deadly is that workers died of the request.
func (j *job) deadly(reason error) error {
	e := &slipway.Error{Op: op, Code: slipway.Internal, Message: "the request ended a worker", Err: reason}
	if j.kills > 1 {
		e.Message = fmt.Sprintf("the request ended %d workers", j.kills)
	}
	return e
}

// share gives each request its answer.
func (p *Predictor) share(w *process, jobs []*job, answers []message) error {
	if len(answers) == 0 {
		return p.lost(w, jobs, errFrame)
	}
	head, err := decodeReply(answers[0])
	switch {
	case err != nil:
		return p.lost(w, jobs, err)
	case head.Failed != nil:
		p.refuse(jobs, head.Failed)
		return nil
	case len(answers) != len(jobs):
		return p.lost(w, jobs, errFrame)
	}
	for i, j := range jobs {
		if head, err = decodeReply(answers[i]); err != nil {
			return p.lost(w, jobs[i:], err)
		}
		o, err := head.output(answers[i].body, j.request)
		switch {
		case errors.Is(err, errFrame):
			return p.lost(w, jobs[i:], err)
		case err != nil && len(jobs) > 1 && !j.once:
			p.again <- j
		case err != nil:
			j.finish(nil, &slipway.Error{Op: op, Code: slipway.Internal, Err: err})
		default:
			j.finish(o, nil)
		}
	}
	return nil
}

// refuse answers requests with the exception they came to. Of several, each is
// asked alone: one of them may be to blame.
func (p *Predictor) refuse(jobs []*job, f *failure) {
	for _, j := range jobs {
		if len(jobs) > 1 && !j.once {
			p.again <- j
		} else {
			j.finish(nil, f.atPredict(p.engine.config, j.id))
		}
	}
}
