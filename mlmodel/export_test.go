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
