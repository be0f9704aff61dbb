package mlmodel

import (
	"bytes"
	"encoding/json"

	"github.com/slipway-dev/slipway"
)

// Answer returns the golden form of a model server's reply: the value of
// "predictions", in which the bare tokens NaN, Infinity and -Infinity that
// MLflow's protocol allows, and JSON does not, are texts. Code Invalid: the
// reply is no answer.
func Answer(reply []byte) (json.RawMessage, error) {
	const op = "reading the answer"
	var r struct {
		Predictions json.RawMessage `json:"predictions"`
	}
	if err := json.Unmarshal(quoteBareNumbers(reply), &r); err != nil {
		return nil, &slipway.Error{Op: op, Code: slipway.Invalid, Message: "it is not JSON", Err: err}
	}
	if r.Predictions == nil {
		return nil, slipway.Errorf(slipway.Invalid, op, `it holds no "predictions": %.200q`, reply)
	}
	return r.Predictions, nil
}

var bareNumbers = []string{"NaN", "-Infinity", "Infinity"}

// quoteBareNumbers puts the number tokens that Python writes and JSON lacks in
// quotes. The input is returned as it is when there are none.
func quoteBareNumbers(data []byte) []byte {
	if !bytes.Contains(data, []byte("NaN")) && !bytes.Contains(data, []byte("Infinity")) {
		return data
	}
	out := make([]byte, 0, len(data)+16)
	inString := false
	for i := 0; i < len(data); i++ {
		if token := bareNumber(data[i:]); token != "" && !inString {
			out = append(append(append(out, '"'), token...), '"')
			i += len(token) - 1
			continue
		}
		switch {
		case data[i] == '"':
			inString = !inString
		case data[i] == '\\' && inString && i+1 < len(data):
			out = append(out, data[i])
			i++
		}
		out = append(out, data[i])
	}
	return out
}

func bareNumber(data []byte) string {
	for _, token := range bareNumbers {
		if bytes.HasPrefix(data, []byte(token)) {
			return token
		}
	}
	return ""
}
