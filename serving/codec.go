package serving

import (
	"sync"

	"github.com/slipway-dev/slipway/mlmodel"
)

// Schema says how values are fitted to the signature.
type Schema string

// The two ways.
const (
	Strict     Schema = "strict" // a value that does not fit is refused
	LikeMLflow Schema = "mlflow" // values are bent as MLflow's scoring server bends them
)

// codec turns the bodies of requests into batches for one model. It is made
// once and then only read.
type codec struct {
	lenient   bool
	fields    []field
	index     map[string]int // of the fields and of the tensors, by name
	named     bool
	nested    bool // some column is an array, object, map or any
	tensors   []mlmodel.Tensor
	params    []mlmodel.Param
	signature bool // inputs are declared
	bodies    bool // the predictor takes bodies where they are not
	decoders  sync.Pool
}

func newCodec(s *mlmodel.Signature, schema Schema) *codec {
	c := &codec{lenient: schema == LikeMLflow, index: map[string]int{}}
	c.decoders.New = func() any { return c.newDecoder() }
	if s == nil {
		return c
	}
	c.params = s.Params
	if s.Inputs == nil {
		return c
	}
	c.signature, c.named, c.tensors = true, s.Inputs.Named(), s.Inputs.Tensors
	for i, column := range s.Inputs.Columns {
		c.fields = append(c.fields, c.newField(column))
		c.index[column.Name] = i
		c.nested = c.nested || !column.Type.Scalar()
	}
	for i, t := range s.Inputs.Tensors {
		c.index[t.Name] = i
	}
	return c
}

func (c *codec) newField(column mlmodel.Column) field {
	f := field{Column: column, kind: Any, read: readValue}
	if kind, ok := kinds[column.Type.Kind]; ok {
		f.kind, f.read = kind, strictCells[column.Type.Kind]
		if c.lenient {
			f.read = lenientCells[column.Type.Kind]
		}
	}
	return f
}

func (c *codec) newDecoder() *decoder {
	return &decoder{codec: c, columns: make([]columnBuffer, len(c.fields)), tensors: make([]tensorBuffer, len(c.tensors))}
}

// decode reads a body. The batch is the caller's until it gives the decoder
// back with done.
func (c *codec) decode(body []byte, kind bodyKind, door door) (*decoder, *refusal) {
	d := c.decoders.Get().(*decoder)
	d.begin(body)
	if kind == csvBody {
		d.csv()
	} else {
		d.body(door)
	}
	if d.err != nil {
		err := d.err
		d.done()
		return nil, err
	}
	return d, nil
}

// done gives the decoder and its batch to the next request.
func (d *decoder) done() {
	for i := range d.columns {
		d.columns[i].release()
	}
	for i := range d.tensors {
		d.tensors[i].release()
	}
	d.reader = reader{}
	d.batch = Batch{Columns: d.batch.Columns[:0], Tensors: d.batch.Tensors[:0]}
	d.codec.decoders.Put(d)
}
