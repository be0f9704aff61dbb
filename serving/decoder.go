package serving

// door is where a request came in.
type door uint8

const (
	invocations door = iota // MLflow's protocol
	predict                 // the everyday door, which also takes a bare list
)

// The formats of a request's rows (MLflow, "Accepted request formats").
const (
	split     = "dataframe_split"
	records   = "dataframe_records"
	inputs    = "inputs"
	instances = "instances"
)

// decoder reads one request's body into a batch.
type decoder struct {
	reader
	codec   *codec
	columns []columnBuffer
	tensors []tensorBuffer
	order   []int // what a dataframe_split's columns are: an index of columns, or -1
	row     int   // being read, from 0
	at      int   // where the value being read begins
	format  string
	params  []byte
	llm     bool // the whole body is the input, as of a language model
	wrapped bool // "inputs" is one row of a model that takes arrays or objects
	batch   Batch
}

func (d *decoder) begin(body []byte) {
	d.reset(body)
	d.row, d.format, d.params, d.llm, d.wrapped, d.order = 0, "", nil, false, false, d.order[:0]
	for i := range d.columns {
		d.columns[i].reset(d.codec.fields[i].Name, d.codec.fields[i].kind)
		d.columns[i].Type = d.codec.fields[i].Type.Kind
	}
	for i := range d.tensors {
		d.tensors[i].reset(d.codec.tensors[i].Name, d.codec.tensors[i].DType)
	}
}

func (d *decoder) body(door door) {
	c := d.next()
	switch {
	case c == '{':
		d.formats()
	case c == '[' && door == predict:
		d.rows(d.bareFormat())
		d.end()
	default:
		d.skip()
		if d.end(); d.err == nil {
			d.fail(malformed("Invalid input. The input must be a JSON dictionary with exactly one of the input fields %s. Received a %s.", formatNames, jsonKind(c)))
		}
		return
	}
	if d.err == nil {
		d.finish()
	} else if c == '{' {
		d.checkForm()
	}
}

// checkForm looks at a body whose values do not fit once more, for its form
// alone: that it is not JSON, or has two formats, is said first.
func (d *decoder) checkForm() {
	r := reader{buf: d.buf}
	var given []string
	r.open('{', "an object")
	for n := 0; r.more('}', n); n++ {
		if key := string(r.key()); isFormat(key) {
			given = append(given, key)
		}
		r.skip()
	}
	if r.end(); r.err == nil && len(given) > 1 {
		r.err = wrongFormats(given)
	}
	if r.err != nil {
		d.err = r.err
	}
}

func isFormat(key string) bool {
	return key == split || key == records || key == inputs || key == instances
}

// bareFormat tells a list of records from an array.
func (d *decoder) bareFormat() string {
	if d.element() == '{' {
		return records
	}
	return inputs
}

// element returns the first byte inside the array that begins here, without
// passing anything.
func (d *decoder) element() byte {
	d.next()
	at := d.pos
	d.pos++
	c := d.next()
	d.pos = at
	return c
}

// formats reads the top object, of whose keys exactly one must be a format.
func (d *decoder) formats() {
	var given []string
	d.open('{', "an object")
	for n := 0; d.more('}', n); n++ {
		switch key := string(d.key()); key {
		case split, records, inputs, instances:
			if given = append(given, key); len(given) == 1 {
				d.rows(key)
				continue
			}
			d.skip()
		case "params":
			start := d.pos
			d.skip()
			d.params = d.buf[min(start, d.pos):d.pos]
		case "messages", "prompt", "input":
			d.llm = true
			d.skip()
		default:
			d.skip()
		}
	}
	d.end()
	switch {
	case d.err != nil:
	case d.llm && (d.codec.lenient || d.codec.bodies && !d.codec.signature && len(given) == 0):
		d.wholeBody()
	case len(given) != 1:
		d.fail(wrongFormats(given))
	}
}

// wholeBody reads a body that MLflow takes for a call of a language model: all
// of it is one row.
func (d *decoder) wholeBody() {
	body := d.buf
	d.begin(body)
	d.llm = true
	d.rows(inputs)
}

// rows reads the value of a format's key.
func (d *decoder) rows(format string) {
	d.format = format
	switch {
	case len(d.codec.tensors) > 0:
		d.tensorRows()
	case !d.codec.signature && d.codec.bodies:
		d.bodyRows()
	case !d.codec.signature:
		d.inferRows()
	case format == split:
		d.splitRows()
	case format == records:
		d.recordRows("Dataframe records format must be a list of records.")
	default:
		d.inputRows()
	}
}

// inputRows reads "inputs" or "instances" of a model with columns.
func (d *decoder) inputRows() {
	single := len(d.codec.fields) == 1
	switch c := d.next(); {
	case c == '[' && d.element() == '{' && !(single && d.codec.fields[0].kind == Any && !d.codec.named):
		d.recordRows("a list of records")
	case c == '[' && single:
		d.singleColumn()
	case c == '[' && !d.codec.named:
		d.dataRows(d.inOrder())
	case c == '[':
		d.skip()
		d.missingInputs("The values are not named; send records or columns.")
	case c == '{' && d.format == inputs && d.codec.named:
		d.columnRows()
	case single:
		d.cell(0)
		d.row = 1
	default:
		d.skip()
		d.missingInputs("")
	}
}

// finish checks the whole and makes the batch.
func (d *decoder) finish() {
	d.batch.Rows = d.row
	for i := range d.columns {
		b := &d.columns[i]
		if b.n == 0 && d.codec.fields[i].Required {
			d.missingInputs("")
			return
		}
		if b.n == 0 {
			continue
		}
		for b.n < d.row {
			d.absent(i)
		}
		d.batch.Columns = append(d.batch.Columns, b.column())
	}
	d.finishTensors()
	if d.err == nil && d.batch.Rows == 0 {
		d.fail(unfit("The request has no rows."))
	}
	if d.err == nil {
		d.batch.Params = d.readParams()
	}
}
