package serving

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

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
	llm     bool
	batch   Batch
}

func (d *decoder) begin(body []byte) {
	d.reset(body)
	d.row, d.format, d.params, d.llm, d.order = 0, "", nil, false, d.order[:0]
	for i := range d.columns {
		d.columns[i].reset(d.codec.fields[i].Name, d.codec.fields[i].kind)
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

func wrongFormats(given []string) *refusal {
	return malformed("The input must be a JSON dictionary with exactly one of the input fields %s. Received dictionary with input fields: %s.", formatNames, pythonList(given))
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

const formatNames = "{'dataframe_records', 'inputs', 'instances', 'dataframe_split'}"

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
	case d.llm && d.codec.lenient:
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

// inOrder maps columns to fields by position.
func (d *decoder) inOrder() []int {
	d.order = d.order[:0]
	for i := range d.codec.fields {
		d.order = append(d.order, i)
	}
	return d.order
}

// singleColumn reads a list of the only column's values. For a column of
// single values each may also stand in a list of its own.
func (d *decoder) singleColumn() {
	scalar := d.codec.fields[0].kind != Any
	d.open('[', "an array")
	for n := 0; d.more(']', n); n++ {
		if scalar && d.next() == '[' {
			d.open('[', "an array")
			d.cell(0)
			if d.more(']', 1) {
				d.fail(unfit("Row %d has more than one value, and the model takes one.", d.row+1))
			}
		} else {
			d.cell(0)
		}
		d.row++
	}
}

// splitRows reads {"columns": […], "data": [[…]], "index": […]} with its keys
// in any order.
func (d *decoder) splitRows() {
	if d.next() != '{' {
		d.notA("Dataframe split format must be a dictionary.")
		return
	}
	data, header, unknown := -1, false, ""
	d.open('{', "an object")
	for n := 0; d.more('}', n); n++ {
		switch key := string(d.key()); key {
		case "columns":
			header = true
			d.header()
		case "data":
			if data = d.pos; header || !d.codec.named {
				d.splitData()
			} else {
				d.skip()
			}
		case "index":
			d.skip()
		default:
			unknown = key
			d.skip()
		}
	}
	switch {
	case d.err != nil:
	case data < 0 || unknown != "":
		d.fail(malformed("Invalid input. Dataframe split format must have 'data' field and optionally 'columns' and 'index' fields. Got %s.", gotKeys(data, header, unknown)))
	case d.codec.named && !header:
		d.missingInputs(`"dataframe_split" has no "columns".`)
	case d.row == 0:
		after := d.pos
		d.pos = data
		d.splitData()
		d.pos = max(d.pos, after)
	}
}

func gotKeys(data int, header bool, unknown string) string {
	var keys []string
	if data >= 0 {
		keys = append(keys, "data")
	}
	if header {
		keys = append(keys, "columns")
	}
	if unknown != "" {
		keys = append(keys, short(unknown, 40))
	}
	return pythonList(keys)
}

// header reads the columns' names; numbers are names too.
func (d *decoder) header() {
	d.order = d.order[:0]
	d.open('[', "an array of column names")
	for n := 0; d.more(']', n); n++ {
		name := d.columnName()
		i, known := d.codec.index[string(name)]
		if !known || !d.codec.named {
			i = -1
		}
		if known && slices.Contains(d.order, i) {
			d.fail(unfit("The column %s is given twice.", quoted(string(name))))
		}
		d.order = append(d.order, i)
	}
}

func (d *decoder) columnName() []byte {
	if d.next() == '"' {
		return d.name()
	}
	token, _ := d.number()
	return token
}

func (d *decoder) splitData() {
	if !d.codec.named {
		d.inOrder()
	}
	d.dataRows(d.order)
}

// dataRows reads rows of values in the given order of columns.
func (d *decoder) dataRows(order []int) {
	d.open('[', "an array of rows")
	start := d.pos
	for n := 0; d.more(']', n); n++ {
		d.foresee(start)
		d.open('[', "an array of values")
		k := 0
		for ; d.more(']', k); k++ {
			switch {
			case k >= len(order) && !(d.codec.lenient && !d.codec.named):
				d.fail(unfit("Row %d has more values than there are columns (%d).", d.row+1, len(order)))
			case k >= len(order) || order[k] < 0:
				d.skip()
			default:
				d.cell(order[k])
			}
		}
		if k < len(order) && d.err == nil {
			d.fail(unfit("Row %d has %d values for %d columns.", d.row+1, k, len(order)))
		}
		d.row++
	}
}

// foresee makes room for as many rows as there will be if all are as long as
// the first 64, so that a large batch is not copied over and over as it grows.
func (d *decoder) foresee(start int) {
	const sample = 64
	if d.row != sample || d.err != nil {
		return
	}
	rows := (len(d.buf) - start) / max((d.pos-start)/sample, 1)
	for i := range d.columns {
		if d.columns[i].n == sample {
			d.columns[i].grow(rows - sample)
		}
	}
}

// recordRows reads a list of objects.
func (d *decoder) recordRows(what string) {
	if d.next() != '[' {
		d.notA(what)
		return
	}
	d.open('[', "an array")
	start := d.pos
	for n := 0; d.more(']', n); n++ {
		d.record()
		d.row++
		d.foresee(start)
	}
}

// record reads one row. Clients send columns in one order, so the field after
// the last one is tried first.
func (d *decoder) record() {
	if !d.codec.named {
		d.skip()
		d.fail(untyped("The model's columns have no names; send \"dataframe_split\" without \"columns\", or a list of rows as \"inputs\"."))
		return
	}
	set, guess := 0, 0
	d.open('{', "a record")
	for n := 0; d.more('}', n); n++ {
		key := d.key()
		i := guess
		if i >= len(d.codec.fields) || d.codec.fields[i].Name != string(key) {
			var known bool
			if i, known = d.codec.index[string(key)]; !known {
				d.skip()
				continue
			}
		}
		guess = i + 1
		if d.columns[i].n > d.row && !d.again(i) {
			return
		}
		d.cell(i)
		set++
	}
	if set < len(d.codec.fields) && d.err == nil {
		d.incomplete()
	}
}

// again handles a column that a record names twice: the last one counts for
// MLflow, as for Python.
func (d *decoder) again(i int) bool {
	if !d.codec.lenient {
		d.fail(unfit("Row %d names the column %s twice.", d.row+1, quoted(d.codec.fields[i].Name)))
		return false
	}
	d.columns[i].drop()
	return true
}

// incomplete refuses a record without a required column. MLflow reads NaN
// there; in its mode only a column that no row has is missing.
func (d *decoder) incomplete() {
	for i, f := range d.codec.fields {
		if f.Required && d.columns[i].n <= d.row && !d.codec.lenient {
			d.fail(unfit("Model is missing inputs ['%s'] (row %d).", short(f.Name, 100), d.row+1))
			return
		}
	}
}

// columnRows reads {"column": [values], …}, or one row {"column": value, …}. A
// model that takes arrays or objects gets one row, as from MLflow.
func (d *decoder) columnRows() {
	rows := -1
	d.open('{', "an object")
	for n := 0; d.more('}', n); n++ {
		i, known := d.codec.index[string(d.key())]
		if !known {
			d.skip()
			continue
		}
		d.row = 0
		if d.columns[i].n > 0 && !d.again(i) {
			return
		}
		if d.next() == '[' && !d.codec.nested {
			d.open('[', "an array")
			for k := 0; d.more(']', k); k++ {
				d.cell(i)
				d.row++
			}
		} else {
			d.cell(i)
			d.row = 1
		}
		if rows >= 0 && rows != d.row && d.err == nil {
			d.fail(unfit("The columns are not equally long: %s has %d values.", quoted(d.codec.fields[i].Name), d.row))
		}
		rows = d.row
	}
	d.row = max(rows, 0)
}

// cell reads the value of one column in the present row.
func (d *decoder) cell(i int) {
	b := &d.columns[i]
	for b.n < d.row {
		d.absent(i)
	}
	d.next()
	d.at = d.pos
	f := &d.codec.fields[i]
	f.read(d, f, b)
}

// absent adds the missing value of a row that did not name the column.
func (d *decoder) absent(i int) {
	f := &d.codec.fields[i]
	if f.kind == Int {
		d.fail(unfit("The column %s is missing in row %d, and whole numbers cannot be missing.", quoted(f.Name), d.columns[i].n+1))
	}
	d.columns[i].miss()
}

// wrong refuses the value being read: what it is and what it should be, or the
// problem.
func (d *decoder) wrong(f *field, problem string) {
	if d.err != nil {
		return
	}
	value := d.snippet()
	if d.err != nil { // the value is not even JSON
		return
	}
	if problem == "" {
		problem = "is not " + article(f.Type.String())
	}
	switch {
	case d.codec.lenient && !d.codec.named:
		d.fail(untyped("Failed to validate the input against the signature: %s %s.", value, problem))
		return
	case d.codec.lenient && problem != zoned && !(d.codec.nested && d.format == inputs):
		d.fail(malformed("Invalid input. Data is not compatible with model signature. Failed to convert column %s to type '%s'. Error: '%s %s'", f.Name, f.Type, value, problem))
		return
	}
	column := "column " + quoted(f.Name)
	if f.Name == "" {
		column = "column " + strconv.Itoa(d.fieldIndex(f)+1)
	}
	d.fail(unfit("Row %d, %s: %s %s.", d.row+1, column, value, problem))
}

func (d *decoder) fieldIndex(f *field) int {
	return slices.IndexFunc(d.codec.fields, func(other field) bool { return other.Column.Name == f.Name })
}

// snippet returns the beginning of the value being read.
func (d *decoder) snippet() string {
	d.pos = d.at
	d.skip()
	return short(string(d.buf[d.at:max(d.at, d.pos)]), 40)
}

// notA refuses a value of the wrong JSON kind.
func (d *decoder) notA(what string) {
	kind := jsonKind(d.next())
	if d.skip(); d.err == nil {
		d.fail(malformed("Invalid input. %s Got %s.", what, kind))
	}
}

// missingInputs refuses a request without its columns.
func (d *decoder) missingInputs(more string) {
	if d.err != nil {
		return
	}
	var names []string
	for i, f := range d.codec.fields {
		if f.Required && d.columns[i].n == 0 {
			names = append(names, f.Name)
		}
	}
	d.fail(unfit("%s", strings.TrimSpace(fmt.Sprintf("Model is missing inputs %s. %s", short(pythonList(names), 300), more))))
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

// pythonList writes names as Python does, as in MLflow's messages.
func pythonList(names []string) string {
	for i, name := range names {
		names[i] = "'" + name + "'"
	}
	return "[" + strings.Join(names, ", ") + "]"
}

// jsonKind names the kind of value that begins with the byte.
func jsonKind(c byte) string {
	switch c {
	case '{':
		return "dictionary"
	case '[':
		return "list"
	case '"':
		return "text"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	}
	return "number"
}

func article(noun string) string {
	if strings.ContainsRune("aeiouA", rune(noun[0])) {
		return "an " + noun
	}
	return "a " + noun
}
