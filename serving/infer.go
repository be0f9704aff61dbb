package serving

import (
	"maps"
	"slices"
)

// inferRows reads the rows of a model without a signature: columns take the
// type of their values, lists of lists become a tensor of float64.
func (d *decoder) inferRows() {
	value := d.any()
	if d.err != nil {
		return
	}
	switch {
	case d.format == split:
		d.inferSplit(value)
	case isRecords(value):
		d.inferRecords(value.([]any))
	case d.format == records:
		d.fail(malformed("Invalid input. Dataframe records format must be a list of records."))
	default:
		d.inferTensor(value)
	}
}

func isRecords(value any) bool {
	list, ok := value.([]any)
	if !ok || len(list) == 0 {
		return false
	}
	for _, item := range list {
		if _, ok := item.(map[string]any); !ok {
			return false
		}
	}
	return true
}

func (d *decoder) inferSplit(value any) {
	object, _ := value.(map[string]any)
	data, ok := object["data"].([]any)
	if !ok {
		d.fail(malformed("Invalid input. Dataframe split format must have 'data' field and optionally 'columns' and 'index' fields."))
		return
	}
	names, _ := object["columns"].([]any)
	width := len(names)
	for i, item := range data {
		row, ok := item.([]any)
		if i == 0 && names == nil {
			width = len(row)
		}
		if !ok || len(row) != width {
			d.fail(unfit("Row %d has not %d values.", i+1, width))
			return
		}
	}
	for j := range width {
		name := ""
		if names != nil {
			name, _ = names[j].(string)
		}
		values := make([]any, len(data))
		for i := range data {
			values[i] = data[i].([]any)[j]
		}
		d.batch.Columns = append(d.batch.Columns, inferColumn(name, values))
	}
	d.row = len(data)
}

// inferRecords sorts the columns of each record by name, because a JSON object
// has no order of its own.
func (d *decoder) inferRecords(list []any) {
	seen := map[string]bool{}
	var names []string
	for _, item := range list {
		for _, name := range slices.Sorted(maps.Keys(item.(map[string]any))) {
			if !seen[name] {
				seen[name] = true
				names = append(names, name)
			}
		}
	}
	for _, name := range names {
		values := make([]any, len(list))
		for i, item := range list {
			values[i] = item.(map[string]any)[name]
		}
		d.batch.Columns = append(d.batch.Columns, inferColumn(name, values))
	}
	d.row = len(list)
}

// inferTensor reads a rectangular array of numbers.
func (d *decoder) inferTensor(value any) {
	t := &tensorBuffer{}
	t.reset("", "float64")
	if object, ok := value.(map[string]any); ok && d.format == inputs {
		d.inferRecords([]any{object})
		return
	}
	if !appendNumbers(t, value, 0) {
		d.fail(unfit("The model has no signature; send records, or a rectangular array of numbers."))
		return
	}
	if d.row = 1; len(t.Shape) > 0 {
		d.row = t.Shape[0]
	}
	d.batch.Tensors = append(d.batch.Tensors, t.tensor())
}

func appendNumbers(t *tensorBuffer, value any, depth int) bool {
	list, ok := value.([]any)
	if !ok {
		f, number := asFloat(value)
		t.Floats = append(t.Floats, f)
		fits := !t.fixed || depth == len(t.Shape)
		t.fixed = true
		return number && fits
	}
	if depth == len(t.Shape) && !t.fixed {
		t.Shape = append(t.Shape, len(list))
	}
	if depth >= len(t.Shape) || t.Shape[depth] != len(list) {
		return false
	}
	for _, item := range list {
		if !appendNumbers(t, item, depth+1) {
			return false
		}
	}
	return true
}

func asFloat(value any) (float64, bool) {
	switch v := value.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

// inferColumn takes the narrowest type that holds all values.
func inferColumn(name string, values []any) Column {
	var b columnBuffer
	b.reset(name, inferKind(values))
	for _, value := range values {
		if value == nil {
			b.miss()
		} else {
			b.add(value)
		}
	}
	return b.column()
}

func (b *columnBuffer) add(value any) {
	switch b.Kind {
	case Float:
		f, _ := asFloat(value)
		b.float(f)
	case Int:
		b.int(value.(int64))
	case Bool:
		b.bool(value.(bool))
	case String:
		b.string(value.(string))
	default:
		b.value(value)
	}
}

// inferKind returns the kind of a column of values. Whole numbers and truth
// values cannot be missing.
func inferKind(values []any) Kind {
	counts := map[Kind]int{}
	missing := 0
	for _, value := range values {
		switch value.(type) {
		case nil:
			missing++
		case bool:
			counts[Bool]++
		case string:
			counts[String]++
		case int64:
			counts[Int]++
		case float64:
			counts[Float]++
		default:
			return Any
		}
	}
	given := len(values) - missing
	switch {
	case counts[Int] == len(values):
		return Int
	case counts[Int]+counts[Float] == given:
		return Float
	case counts[Bool] == len(values):
		return Bool
	case counts[String] == given:
		return String
	}
	return Any
}
