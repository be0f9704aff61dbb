package mlmodel

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
)

// Rows are rows drawn for a model, to be asked together or in parts.
type Rows struct {
	head, tail []byte
	rows       [][]byte
}

// Len returns how many rows there are.
func (r Rows) Len() int { return len(r.rows) }

// Request returns a body for /invocations with the rows [from, to). It may
// hold the bare tokens NaN, Infinity and -Infinity of MLflow's protocol.
func (r Rows) Request(from, to int) []byte {
	body := append(bytes.Clone(r.head), bytes.Join(r.rows[from:to], []byte{','})...)
	return append(body, r.tail...)
}

// Bounds on what is drawn, in values.
const (
	maxDrawn      = 1 << 20 // in all
	maxDrawnBatch = 1 << 18 // in one request
)

// How many rows are asked together. Edges are what models refuse, and a
// refused request has to be asked again in parts; a single row is what most
// clients send.
const (
	calmBatch = 200
	edgeBatch = 20
	singles   = 10 // calm rows that are asked alone
	mostWild  = 20 // edges in one row
)

// Draw returns about n rows to compare two engines of the model with, in
// batches, always the same ones on every machine:
//
//   - seven of ten, which come first, are calm: values of the example in new mixtures, and numbers
//     around them, whole ones, halves and neighbours in float32 among them. A
//     third of these have a number right at or beside one of the cuts;
//   - the others are calm but for one value, or a few, at an edge: zeros, the
//     least and greatest of the type and of the example and their neighbours,
//     what overflows a float32, infinities, missing numbers, texts that are no
//     category, empty, padded, of other scripts, like numbers, very long.
//
// Columns come from the signature, without one from the example. A missing
// text is drawn only where the column is optional or the example has one: what
// Python makes of it elsewhere depends on the version of pandas and on the
// other rows. Nothing to draw from: none.
func (m *Model) Draw(n int, cuts []Cut) ([]Rows, error) {
	examples, err := m.Examples()
	if err != nil {
		return nil, err
	}
	return m.draw(examples, n, cuts), nil
}

func (m *Model) draw(examples []json.RawMessage, n int, cuts []Cut) []Rows {
	s := m.drawSource(examples)
	if s == nil || n < 1 {
		return nil
	}
	n = max(min(n, maxDrawn/s.width()), 1)
	d := &drawer{source: s, rand: rand.New(rand.NewPCG(20240501, 5))}
	calm := n*7/10 + 1
	alone, cut := min(singles, calm/4), d.cutRows(cuts, calm/3)
	most := max(maxDrawnBatch/s.width(), 1)
	batches := d.batches(d.calm(calm-alone-len(cut)), min(calmBatch, most))
	batches = append(batches, d.batches(cut, min(calmBatch, most))...)
	batches = append(batches, d.batches(d.calm(alone), 1)...)
	return append(batches, d.batches(d.edges(n-calm), min(edgeBatch, most))...)
}

// drawer draws rows of values, each value as JSON.
type drawer struct {
	source *drawSource
	rand   *rand.Rand
}

func (d *drawer) batches(rows [][][]byte, size int) []Rows {
	var out []Rows
	for from := 0; from < len(rows); from += size {
		batch := Rows{head: d.source.head, tail: d.source.tail}
		for _, values := range rows[from:min(from+size, len(rows))] {
			batch.rows = append(batch.rows, d.source.write(values))
		}
		out = append(out, batch)
	}
	return out
}

// boldness is how far a calm row goes from the example.
type boldness int

const (
	mixed boldness = iota // only its values
	near                  // measurements are moved; whole numbers, which may be codes of categories, are not
	free                  // all numbers are moved
)

func (d *drawer) calm(n int) [][][]byte {
	rows := make([][][]byte, max(n, 0))
	for i := range rows {
		rows[i] = d.calmRow()
	}
	return rows
}

func (d *drawer) calmRow() [][]byte {
	bold := boldness(d.rand.IntN(3))
	row := make([][]byte, len(d.source.columns))
	for j := range row {
		row[j] = d.source.columns[j].calm(d.rand, bold)
	}
	return row
}

// edges returns calm rows with one edge each, every edge of every column where
// there is room, and some with several. Extreme numbers come one a row: where
// several cancel out, Python's answer depends on the order in which a machine
// adds.
func (d *drawer) edges(n int) [][][]byte {
	wild := n / 5
	rows := d.placed(d.places(n - wild))
	for len(rows) < n {
		rows = append(rows, d.wildRow())
	}
	return rows[:max(min(n, len(rows)), 0)]
}

type place struct {
	column int
	value  []byte
}

// placed returns a calm row for each place, with its value there.
func (d *drawer) placed(places []place) [][][]byte {
	rows := make([][][]byte, len(places))
	for i, p := range places {
		rows[i] = d.calmRow()
		rows[i][p.column] = p.value
	}
	return rows
}

// places draws up to n edges, missing values before others.
func (d *drawer) places(n int) []place {
	var all, others []place
	columns := d.rand.Perm(len(d.source.columns))
	for _, j := range columns[:min(len(columns), max(n, 0))] {
		for _, v := range d.source.columns[j].edges() {
			if isMissing(v) {
				all = append(all, place{j, v})
			} else {
				others = append(others, place{j, v})
			}
		}
	}
	d.rand.Shuffle(len(others), func(a, b int) { others[a], others[b] = others[b], others[a] })
	all = append(all[:min(len(all), max(n/2, 1))], others...)
	return all[:max(min(n, len(all)), 0)]
}

// wildRow returns a calm row with mild edges in about a third of its columns.
func (d *drawer) wildRow() [][]byte {
	row := d.calmRow()
	for range min(len(row)/3+1, mostWild) {
		j := d.rand.IntN(len(row))
		if mild := d.source.columns[j].mild(); len(mild) > 0 {
			row[j] = mild[d.rand.IntN(len(mild))]
		}
	}
	return row
}

// drawSource is what rows are drawn from and how they are written.
type drawSource struct {
	columns    []drawColumn
	head, tail []byte
	write      func(values [][]byte) []byte
}

func (s *drawSource) width() int { return max(len(s.columns), 1) }

// frame writes the head and tail of a request in which the rows stand between
// before and after.
func (s *drawSource) frame(before, after string, params json.RawMessage) {
	s.head = []byte(before)
	if params != nil {
		after += `,"params":` + string(params)
	}
	s.tail = []byte(after + "}")
}

func writeList(values [][]byte) []byte {
	return append(append([]byte{'['}, bytes.Join(values, []byte{','})...), ']')
}
