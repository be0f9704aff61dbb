// Package serving answers predictions over HTTP: MLflow's scoring protocol and
// the everyday door /predict, with the signature enforced, health, readiness
// gated by the golden predictions, drain and metrics.
//
// Engines live below it, one package each; it never imports what deploys.
package serving

import (
	"context"

	"github.com/slipway-dev/slipway/mlmodel"
)

// Engine makes predictors of the models it knows.
type Engine interface {
	// Name is short and stable: "sklearn".
	Name() string

	// Check reports whether the engine can serve the model exactly. The
	// error, code Invalid, names what it does not know: a flavour, a library
	// version, an estimator, a parameter, an attribute.
	Check(m *mlmodel.Model) error

	// Load reads the model. It never runs code of the model, and a hostile
	// file gives an error of code Invalid or Exhausted.
	Load(ctx context.Context, m *mlmodel.Model) (Predictor, error)
}

// Predictor is a loaded model. It is safe for concurrent use.
type Predictor interface {
	// Predict answers a batch. It keeps neither the batch nor parts of it.
	// Code Invalid: the input does not fit the model (an unknown category
	// where the model refuses them, a wrong number of columns).
	Predict(ctx context.Context, b *Batch) (*Output, error)
}

// Asker is a Predictor that takes what a client sent as it is, where the model
// declares no inputs: in Batch.Body instead of columns and tensors.
type Asker interface {
	TakesBodies()
}

// State is how the processes behind a Predictor are. A Predictor without any
// has no State.
type State struct {
	Workers  int    // that can answer now
	Wanted   int    // that there should be
	Restarts uint64 // workers replaced since the model was loaded
	Waiting  int    // requests that no worker has taken yet
}

// Stateful is a Predictor with processes of its own. While none can answer,
// the server is not ready.
type Stateful interface {
	State() State
}

// Kind is the type of the values of a Column or an Output.
type Kind uint8

// The kinds. A signature's integer and long are Int; float and double are
// Float, and float results are marked Float32 so that they are written with
// the digits of a float32.
const (
	Float Kind = iota
	Float32
	Int
	Bool
	String
	Time  // datetime: Ints holds nanoseconds since 1970 UTC
	Bytes // binary: Strings holds the raw bytes
	Any   // array, object, map, any: Values holds what encoding/json would give, whole numbers as int64 but where doubles are declared
)

// Batch is the rows of one request: columns, or one or several tensors.
type Batch struct {
	Rows    int
	Columns []Column
	Tensors []Tensor
	Params  map[string]any
	Format  string // of Body: dataframe_split, dataframe_records, inputs, instances, or whole: a language model's call
	Body    []byte // for an Asker, where the model declares no inputs: the value as it was sent, JSON with Python's NaN and Infinity
}

// Column is one column of a batch. The slice that Kind names has Rows values.
type Column struct {
	Name    string // "" where the signature names no columns
	Kind    Kind
	Floats  []float64 // Float, Float32; missing: NaN
	Ints    []int64   // Int, Time
	Bools   []bool
	Strings []string // String, Bytes
	Values  []any    // Any
	Missing []bool   // nil when no value is missing
	Type    string   // as declared, in MLflow's spelling: "integer"; "" where the signature declares none
	Literal []bool   // String: where true, the text stands for a number or truth value as Python writes it, which MLflow hands on; nil: nowhere
}

// Tensor is a dense array in row-major order.
type Tensor struct {
	Name    string
	DType   string // numpy's name: "float32"
	Shape   []int
	Floats  []float64 // float*
	Ints    []int64   // int*, uint*, bool (0 and 1)
	Strings []string  // str, bytes
}

// Output is the answer to a batch: one array, or for several outputs of
// different widths (predict_proba of a multi-output classifier) a list of them,
// or named columns, or JSON.
type Output struct {
	Name    string // of a column; "" for an array
	Shape   []int  // [rows] or [rows, width]; row-major
	Kind    Kind
	Floats  []float64
	Ints    []int64
	Bools   []bool
	Strings []string
	List    []Output // when set, everything above but Name is empty
	Columns bool     // List holds named columns: answered as a list of records
	JSON    []byte   // when set, all the rest is empty: the answer as Python writes it, NaN and Infinity bare
	Free    bool     // the answer need not have as many rows as the batch
}
