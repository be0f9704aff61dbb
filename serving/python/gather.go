package python

import "time"

// next waits for requests and takes those that may be asked together.
func (p *Predictor) next(w *process, held **job) []*job {
	for {
		j, group := p.first(w, held)
		switch {
		case len(group) == 1 && group[0].over():
			group[0].finish(nil, late(p.engine.config.Timeout))
		case group != nil:
			return group
		case j == nil:
			return nil
		case j.over():
			j.finish(nil, late(p.engine.config.Timeout))
		case j.kind == "" || !p.engine.config.Batch:
			return []*job{j}
		default:
			return p.gather(j, held)
		}
	}
}

// first returns a request, to which others may be added, or a group. Those
// that are asked again, alone, come before those that nobody asked yet, so that
// there are never more than the workers had.
func (p *Predictor) first(w *process, held **job) (j *job, group []*job) {
	select {
	case j := <-p.again:
		return nil, []*job{j}
	default:
	}
	if j := *held; j != nil {
		*held = nil
		return j, nil
	}
	select {
	case <-p.ctx.Done():
	case <-w.exited:
	case j := <-p.again:
		return nil, []*job{j}
	case group = <-p.groups:
	case j = <-p.queue:
	}
	return j, group
}

// gather takes more requests of the first one's kind.
func (p *Predictor) gather(first *job, held **job) []*job {
	jobs, rows, limit := []*job{first}, first.rows, int(p.together.Load())
	var enough <-chan time.Time
	if wait := p.engine.config.BatchWait; wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		enough = t.C
	}
	for len(jobs) < limit && rows < maxRows {
		j := p.another(enough)
		switch {
		case j == nil:
			return jobs
		case j.over():
			j.finish(nil, late(p.engine.config.Timeout))
		case j.kind != first.kind || rows+j.rows > maxRows:
			*held = j
			return jobs
		default:
			jobs = append(jobs, j)
			rows += j.rows
		}
	}
	return jobs
}

// another returns a request that waits, or that comes before the time is over.
func (p *Predictor) another(enough <-chan time.Time) *job {
	if enough == nil {
		select {
		case j := <-p.queue:
			return j
		default:
			return nil
		}
	}
	select {
	case j := <-p.queue:
		return j
	case <-enough:
	case <-p.ctx.Done():
	}
	return nil
}
