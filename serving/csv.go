package serving

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-dev/slipway/mlmodel"
)

// missingTexts are what pandas.read_csv takes for a missing value (pandas,
// "na_values").
var missingTexts = []string{"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
	"<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"}

// csv reads a body of text/csv: a line of column names, then rows. Only models
// whose columns are single values take it, as with MLflow.
func (d *decoder) csv() {
	if len(d.codec.fields) == 0 || d.codec.nested || !d.codec.named {
		d.fail(malformed("Failed to parse input as CSV: the model's signature has not only named columns of single values. Send JSON."))
		return
	}
	r := csv.NewReader(bytes.NewReader(d.buf))
	r.ReuseRecord = true
	names, err := r.Read()
	if err != nil {
		d.csvFailed(err)
		return
	}
	d.csvHeader(names)
	for d.err == nil {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			d.csvFailed(err)
			return
		}
		d.csvRow(row)
		d.row++
	}
	if d.err == nil {
		d.finish()
	}
}

func (d *decoder) csvFailed(err error) {
	d.fail(malformed("Failed to parse input as CSV: %s", short(err.Error(), 200)))
}

func (d *decoder) csvHeader(names []string) {
	for _, name := range names {
		i, known := d.codec.index[strings.TrimPrefix(name, "\ufeff")]
		if !known {
			i = -1
		}
		if known && slices.Contains(d.order, i) {
			d.fail(unfit("The column %s is given twice.", quoted(name)))
		}
		d.order = append(d.order, i)
	}
}

// csvRow reads one row. Each value is written as JSON and read as a cell, so
// that CSV and JSON obey one set of rules.
func (d *decoder) csvRow(row []string) {
	var cell decoder
	for k, text := range row {
		i := d.order[k]
		if i < 0 {
			continue
		}
		f := &d.codec.fields[i]
		cell = decoder{codec: d.codec, columns: d.columns, row: d.row}
		cell.buf = csvToken(f.Type.Kind, text)
		if cell.cell(i); cell.err == nil {
			cell.end()
		}
		if cell.err != nil {
			d.fail(cell.err)
			return
		}
	}
}

// csvToken writes a CSV value as the JSON that its column takes.
func csvToken(kind, text string) []byte {
	missing := slices.Contains(missingTexts, text)
	switch kind {
	case mlmodel.TypeString, mlmodel.TypeDatetime, mlmodel.TypeBinary:
		if missing {
			return []byte("null")
		}
		return appendText(nil, text)
	case mlmodel.TypeBoolean:
		return []byte(strings.ToLower(text))
	}
	text = strings.TrimSpace(text)
	f, err := strconv.ParseFloat(text, 64)
	switch {
	case missing:
		return []byte("null")
	case err != nil || strings.ContainsAny(text, "xX_+"):
		return appendText(nil, text)
	case strings.HasPrefix(text, ".") || strings.HasSuffix(text, ".") || strings.ContainsAny(text, "nN"):
		return appendFloat(nil, f, 64, bare)
	}
	return []byte(text)
}
