package serving

import (
	"slices"
)

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
	d.wrapped = d.codec.nested
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
