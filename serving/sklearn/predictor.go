package sklearn

import (
	"context"
	"math"
	"sync"

	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/serving"
)

// Predictor is a loaded model.
type Predictor struct {
	model  *model
	method *method
	chunk  int       // rows that are computed at a time
	pool   sync.Pool // of *scratch
	cuts   []mlmodel.Cut
}

var _ serving.Predictor = (*Predictor)(nil)

// Every step works row by row, so that a chunk of rows bounds the memory of a
// large request and stays in the cache.
const (
	chunkRows   = 256
	chunkValues = 1 << 20 // of the widest frame
)

func newPredictor(m *model, answer *method, widest int) *Predictor {
	widest = max(widest, m.check.width, answer.width, 1)
	p := &Predictor{model: m, method: answer, chunk: min(chunkRows, max(1, chunkValues/widest))}
	p.pool.New = func() any { return new(scratch) }
	return p
}

// Predict answers a batch.
func (p *Predictor) Predict(ctx context.Context, b *serving.Batch) (*serving.Output, error) {
	if b.Rows < 1 {
		return nil, refuse("the request has no rows")
	}
	s := p.pool.Get().(*scratch)
	defer func() {
		s.reset()
		p.pool.Put(s)
	}()
	if err := s.read(b); err != nil {
		return nil, err
	}
	out := p.newOutput(b.Rows)
	for from := 0; from < b.Rows; from += p.chunk {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		f := s.chunk(from, min(from+p.chunk, b.Rows))
		if err := p.rows(s, f, out); err != nil {
			return nil, err
		}
		s.release()
	}
	return out, nil
}

// rows answers one chunk.
func (p *Predictor) rows(s *scratch, f frame, out *serving.Output) error {
	for _, step := range p.model.steps {
		var err error
		if f, err = step.transform(s, &f); err != nil {
			return err
		}
	}
	if err := p.model.check.run(&f); err != nil {
		return err
	}
	x, err := s.input(&f, p.model)
	if err != nil {
		return err
	}
	values := s.floats.take(f.rows * p.method.width)
	p.method.eval(s, x, values)
	at := 0
	for i := range p.method.parts {
		part, target := &p.method.parts[i], out
		if p.method.list {
			target = &out.List[i]
		}
		part.write(target, values, f, at, p.method.width, x.single)
		at += part.width
	}
	return nil
}

// input returns the matrix the final estimator computes with.
func (s *scratch) input(f *frame, m *model) (matrix, error) {
	x, err := s.matrix(f, m.finite)
	if err != nil {
		return x, err
	}
	if m.double && x.single {
		return x, refuse("the model takes float64, not float32")
	}
	for _, j := range m.guards {
		for i := range x.rows {
			if v := x.data[i*x.cols+j]; v >= 256 {
				return x, refuse("row %d: %s is %v, and categories are below 256", f.first+i, f.columnName(j), v)
			}
		}
	}
	if !m.single {
		return x, nil
	}
	for i, v := range x.data {
		rounded := float64(float32(v))
		if math.IsInf(rounded, 0) {
			return x, refuse("row %d: %s is too large for the model's float32", f.first+i/x.cols, f.columnName(i%x.cols))
		}
		x.data[i] = rounded
	}
	x.single = true
	return x, nil
}

// newOutput makes room for the answer.
func (p *Predictor) newOutput(rows int) *serving.Output {
	if !p.method.list {
		out := new(serving.Output)
		p.method.parts[0].allocate(out, rows)
		return out
	}
	out := &serving.Output{List: make([]serving.Output, len(p.method.parts))}
	for i := range p.method.parts {
		p.method.parts[i].allocate(&out.List[i], rows)
	}
	return out
}

func (p *part) allocate(out *serving.Output, rows int) {
	out.Shape = append(make([]int, 0, 2), rows)
	if !p.flat {
		out.Shape = append(out.Shape, p.width)
	}
	n := rows * p.width
	switch {
	case p.labels == nil && !p.ints:
		out.Kind, out.Floats = serving.Float, make([]float64, n)
	case p.labels == nil:
		out.Kind, out.Ints = serving.Int, make([]int64, n)
	default:
		out.Kind = p.labels[0].kind
		switch out.Kind {
		case serving.String:
			out.Strings = make([]string, n)
		case serving.Int:
			out.Ints = make([]int64, n)
		case serving.Bool:
			out.Bools = make([]bool, n)
		default:
			out.Floats = make([]float64, n)
		}
	}
}

// write puts a chunk's numbers, from the column at of each row, into the output.
func (p *part) write(out *serving.Output, values []float64, f frame, at, width int, single bool) {
	if p.single && single {
		out.Kind = serving.Float32
	}
	for i := range f.rows {
		row := values[i*width+at:][:p.width]
		to := (f.first + i) * p.width
		for k, v := range row {
			p.put(out, to+k, k, v)
		}
	}
}

func (p *part) put(out *serving.Output, to, k int, v float64) {
	if p.labels == nil {
		switch out.Kind {
		case serving.Int:
			out.Ints[to] = int64(v)
		case serving.Float32:
			out.Floats[to] = float64(float32(v))
		default:
			out.Floats[to] = v
		}
		return
	}
	switch l := p.labels[k]; l.kind {
	case serving.String:
		out.Strings[to] = l.texts[int(v)]
	case serving.Int:
		out.Ints[to] = l.ints[int(v)]
	case serving.Bool:
		out.Bools[to] = l.boolean[int(v)]
	default:
		out.Floats[to] = l.floats[int(v)]
	}
}
