package mlmodel

import "encoding/json"

// ParseMLmodel reads an MLmodel file alone.
var ParseMLmodel = parseMLmodel

// RowsOfExample reads an input_example.json.
func RowsOfExample(data []byte, dataframe, params bool) ([]json.RawMessage, error) {
	m := Model{example: exampleInfo{kind: "ndarray", params: params}}
	if dataframe {
		m.example.kind = "dataframe"
	}
	body, err := m.wrapExample("reading", bareToNull(data))
	if err != nil || body == nil {
		return nil, err
	}
	return splitRows(body)
}

// DrawFor draws for a signature and the rows of one example.
func DrawFor(s *Signature, example json.RawMessage, n int) []Rows {
	m := Model{Signature: s}
	return m.draw([]json.RawMessage{example}, n, []Cut{{Column: 0, At: 0.5}, {Column: 7, At: 1e300}})
}

// ParseRequirements reads the text as a requirements file of dir.
func ParseRequirements(dir, text string) (Needs, error) {
	r := requirementsReader{dir: dir}
	err := r.read("requirements.txt", logicalLines(text), 0)
	return r.needs, err
}
