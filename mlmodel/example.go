package mlmodel

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/slipway-dev/slipway"
)

// exampleInfo is MLmodel's saved_input_example_info.
type exampleInfo struct {
	path    string // of input_example.json
	serving string // of serving_input_example.json; "" before MLflow 2.13 or so
	kind    string // dataframe, ndarray, json_object, sparse_matrix_csc, sparse_matrix_csr
	params  bool   // the file is {"inputs": …, "params": …}
}

func (k *keys) example() exampleInfo {
	in := k.inside("saved_input_example_info", k.mapping("saved_input_example_info"))
	info := exampleInfo{path: in.text("artifact_path"), serving: in.text("serving_input_path"), kind: in.text("type")}
	info.params = in.values["params"] == "true" || in.values["params"] == true
	if k.err == nil {
		k.err = in.err
	}
	return info
}

// The four formats of a request's rows.
const (
	formatSplit     = "dataframe_split"
	formatRecords   = "dataframe_records"
	formatInputs    = "inputs"
	formatInstances = "instances"
)

// Examples returns the rows of the model's example, one request for
// /invocations each, with their values as they are written in the file. A
// model without an example, or with one that is a sparse matrix, gives none.
func (m *Model) Examples() ([]json.RawMessage, error) {
	body, err := m.exampleBody()
	if err != nil || body == nil {
		return nil, err
	}
	rows, err := splitRows(body)
	if err != nil {
		return nil, &slipway.Error{Op: "reading the model's example", Code: slipway.Invalid, Err: err}
	}
	return rows, nil
}

// exampleBody returns the example as one request, or nil.
func (m *Model) exampleBody() (map[string]json.RawMessage, error) {
	if m.example.serving != "" {
		data, err := readOptional(m.Dir, m.example.serving, maxExample)
		if err != nil || data != nil {
			return object("reading "+m.example.serving, data, err)
		}
	}
	if m.example.path == "" {
		return nil, nil
	}
	data, err := readOptional(m.Dir, m.example.path, maxExample)
	if err != nil || data == nil {
		return nil, err
	}
	return m.wrapExample("reading "+m.example.path, bareToNull(data))
}

func object(op string, data []byte, err error) (map[string]json.RawMessage, error) {
	if err != nil {
		return nil, err
	}
	data = bareToNull(data)
	var body map[string]json.RawMessage
	if err := json.Unmarshal(data, &body); err != nil {
		return nil, syntaxAt(op, data, err)
	}
	return body, nil
}

// bareToNull writes the NaN tokens of Python's JSON as null, which every
// format reads as a missing number. Infinities become texts, which no column
// of numbers takes: such a row cannot be a golden request.
func bareToNull(data []byte) []byte {
	return bytes.ReplaceAll(quoteBareNumbers(data), []byte(`"NaN"`), []byte("null"))
}

// wrapExample makes a request of input_example.json, as MLflow itself does for
// serving_input_example.json.
func (m *Model) wrapExample(op string, data []byte) (map[string]json.RawMessage, error) {
	if !json.Valid(data) {
		return nil, syntaxAt(op, data, json.Unmarshal(data, new(any)))
	}
	data = bytes.TrimSpace(data)
	body := map[string]json.RawMessage{}
	var parts map[string]json.RawMessage
	if data[0] == '{' {
		if err := json.Unmarshal(data, &parts); err != nil {
			return nil, syntaxAt(op, data, err)
		}
	}
	if m.example.params && parts[formatInputs] != nil {
		body["params"], data = parts["params"], parts[formatInputs]
		parts = nil
		if err := json.Unmarshal(data, &parts); err != nil {
			parts = nil // a list: no mapping of parts
		}
	}
	switch {
	case m.example.kind == "dataframe" && parts["data"] != nil:
		body[formatSplit] = data
	case m.example.kind == "sparse_matrix_csc" || m.example.kind == "sparse_matrix_csr":
		return nil, nil
	case len(parts) == 1 && parts[formatInputs] != nil: // MLflow 1.x
		body[formatInputs] = parts[formatInputs]
	case len(parts) == 1 && parts[formatInstances] != nil:
		body[formatInstances] = parts[formatInstances]
	default:
		body[formatInputs] = data
	}
	return body, nil
}

// splitRows makes one request a row of a request with several.
func splitRows(body map[string]json.RawMessage) ([]json.RawMessage, error) {
	for _, format := range []string{formatSplit, formatRecords, formatInputs, formatInstances} {
		rows := body[format]
		if rows == nil {
			continue
		}
		pieces, err := splitFormat(format, rows)
		if err != nil {
			return nil, err
		}
		requests := make([]json.RawMessage, len(pieces))
		for i, piece := range pieces {
			requests[i] = request(format, piece, body["params"])
		}
		return requests, nil
	}
	return []json.RawMessage{encode(body)}, nil // an LLM's request: all of it is the row
}

func splitFormat(format string, rows json.RawMessage) ([]json.RawMessage, error) {
	switch {
	case format == formatSplit:
		return splitData(rows)
	case first(rows) == '[':
		var list []json.RawMessage
		err := json.Unmarshal(rows, &list)
		for i := range list {
			list[i] = encode([]json.RawMessage{list[i]})
		}
		return list, err
	case first(rows) == '{':
		return splitColumns(rows)
	}
	return []json.RawMessage{rows}, nil
}

func splitData(rows json.RawMessage) ([]json.RawMessage, error) {
	var split struct {
		Columns json.RawMessage   `json:"columns,omitempty"`
		Data    []json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(rows, &split); err != nil {
		return nil, err
	}
	all := split.Data
	pieces := make([]json.RawMessage, len(all))
	for i := range all {
		split.Data = all[i : i+1]
		pieces[i] = encode(split)
	}
	return pieces, nil
}

// splitColumns cuts a mapping of equally long lists into rows. Anything else
// is one row.
func splitColumns(rows json.RawMessage) ([]json.RawMessage, error) {
	var columns map[string]json.RawMessage
	if err := json.Unmarshal(rows, &columns); err != nil {
		return nil, err
	}
	lists := map[string][]json.RawMessage{}
	length := -1
	for name, raw := range columns {
		var list []json.RawMessage
		notAList := json.Unmarshal(raw, &list) != nil || list == nil
		if notAList || length >= 0 && len(list) != length {
			return []json.RawMessage{rows}, nil
		}
		lists[name], length = list, len(list)
	}
	pieces := make([]json.RawMessage, max(length, 0))
	for i := range pieces {
		row := map[string][]json.RawMessage{}
		for name, list := range lists {
			row[name] = list[i : i+1]
		}
		pieces[i] = encode(row)
	}
	return pieces, nil
}

// request writes one request.
func request(format string, rows, params json.RawMessage) json.RawMessage {
	body := map[string]json.RawMessage{format: rows}
	if params != nil {
		body["params"] = params
	}
	return encode(body)
}

// encode writes raw parts together, compact and in one order, numbers as they
// were written.
func encode(v any) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("mlmodel: encoding checked JSON: " + err.Error()) // the parts came out of a decoder
	}
	return slices.Clip(bytes.TrimSpace(b.Bytes()))
}
