package python

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/serving"
)

// Batchable reports whether the model gives the same answers to requests,
// bodies of /invocations, that are asked together as one by one. A model that
// does not answer with a row for each row, or in which rows depend on each
// other, does not; nor does one whose signature counts no rows. The error is
// that a request alone is not answered.
func Batchable(ctx context.Context, m *mlmodel.Model, p *Predictor, requests []json.RawMessage) (bool, error) {
	groups := map[string][]*member{}
	for _, body := range requests {
		alone, err := serving.Predict(ctx, m, p, body)
		if err != nil {
			return false, err
		}
		r, err := p.read(ctx, m, body)
		if err != nil {
			return false, err
		}
		if r.kind == "" {
			return false, nil
		}
		groups[r.kind] = append(groups[r.kind], &member{body: body, alone: alone, request: r})
	}
	for _, group := range groups {
		if len(group) == 1 {
			group = append(group, group[0])
		}
		if same, err := p.sameTogether(ctx, m, group); !same || err != nil {
			return false, err
		}
	}
	return len(groups) > 0, nil
}

// member is a request of a group, with its answer alone.
type member struct {
	*request
	body, alone json.RawMessage
}

// sameTogether asks a group and compares.
func (p *Predictor) sameTogether(ctx context.Context, m *mlmodel.Model, group []*member) (bool, error) {
	group = group[:min(len(group), maxTogether)]
	jobs := make([]*job, len(group))
	for i := range group {
		jobs[i] = p.newJob(ctx, group[i].request)
		jobs[i].once = true
	}
	select {
	case p.groups <- jobs:
	case <-ctx.Done():
		return false, ctx.Err()
	case <-p.ctx.Done():
		return false, ended()
	}
	for i, j := range jobs {
		out, err := p.await(ctx, j)
		if err != nil {
			return false, ctx.Err() // the model cannot answer them together
		}
		together, err := serving.Predict(ctx, m, known{out}, group[i].body)
		if err != nil || mlmodel.Compare(group[i].alone, together, mlmodel.Golden{Tolerance: m.Tolerance()}) != nil {
			return false, ctx.Err()
		}
	}
	return true, nil
}

// known answers with what is known already.
type known struct{ out *serving.Output }

func (k known) Predict(context.Context, *serving.Batch) (*serving.Output, error) { return k.out, nil }

// reader answers nothing and keeps the request.
type reader struct {
	encoder *encoder
	request *request
}

var errRead = errors.New("read")

func (r *reader) TakesBodies() {}

func (r *reader) Predict(_ context.Context, b *serving.Batch) (*serving.Output, error) {
	r.request = r.encoder.encode(b)
	return nil, errRead
}

// read returns a body as a request.
func (p *Predictor) read(ctx context.Context, m *mlmodel.Model, body []byte) (*request, error) {
	r := &reader{encoder: p.encoder}
	if _, err := serving.Predict(ctx, m, r, body); r.request == nil {
		return nil, err
	}
	return r.request, nil
}
