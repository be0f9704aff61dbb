package serving

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

func wrongFormats(given []string) *refusal {
	return malformed("The input must be a JSON dictionary with exactly one of the input fields %s. Received dictionary with input fields: %s.", formatNames, pythonList(given))
}

const formatNames = "{'dataframe_records', 'inputs', 'instances', 'dataframe_split'}"

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
	case d.codec.lenient && problem != zoned && !d.wrapped:
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
	return short(string(d.buf[d.at:min(max(d.at, d.pos), d.at+100)]), 40)
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
