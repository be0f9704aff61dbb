package mlmodel

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/slipway-dev/slipway"
)

// GoldenSchema is the newest form of Golden this program writes.
const GoldenSchema = 1

// The relative tolerances of golden predictions.
const (
	ToleranceFloat64 = 1e-9
	ToleranceFloat32 = 1e-5
)

// Tolerance returns the relative tolerance for the model's answers: that of
// float32 when the signature declares such an output.
func (m *Model) Tolerance() float64 {
	if m.Signature == nil || m.Signature.Outputs == nil {
		return ToleranceFloat64
	}
	for _, c := range m.Signature.Outputs.Columns {
		if c.Type.Kind == TypeFloat {
			return ToleranceFloat32
		}
	}
	for _, t := range m.Signature.Outputs.Tensors {
		if t.DType == "float32" || t.DType == "float16" {
			return ToleranceFloat32
		}
	}
	return ToleranceFloat64
}

// Encode returns the golden file's bytes, the same for the same predictions:
// one line a prediction, so that two files can be compared by eye.
func (g Golden) Encode() ([]byte, error) {
	predictions := g.Predictions
	g.Predictions = []Prediction{}
	text, err := marshal(g)
	if err != nil {
		return nil, err
	}
	text = bytes.TrimSuffix(text, []byte("]}"))
	for i, p := range predictions {
		line, err := marshal(p)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			text = append(text, ',')
		}
		text = append(append(text, '\n'), line...)
	}
	return append(text, "\n]}\n"...), nil
}

func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("writing the golden predictions: %w", err)
	}
	return bytes.TrimSpace(b.Bytes()), nil
}

// ReadGolden reads a model directory's golden predictions. Code NotFound:
// the directory carries none, because no image was made of it yet.
func ReadGolden(dir string) (Golden, error) {
	data, err := readFile(dir, ReleaseDir+"/"+GoldenFile, maxGoldenFile)
	if err != nil {
		return Golden{}, err
	}
	return DecodeGolden(data)
}

// DecodeGolden reads what Encode wrote.
func DecodeGolden(data []byte) (Golden, error) {
	const op = "reading the golden predictions"
	var g Golden
	if err := json.Unmarshal(data, &g); err != nil {
		return Golden{}, syntaxAt(op, data, err)
	}
	if g.SchemaVersion != GoldenSchema {
		return Golden{}, slipway.Errorf(slipway.Invalid, op, "they are of form %d, and this program reads form %d", g.SchemaVersion, GoldenSchema).
			WithHint("use the slipway that made the image, or a newer one")
	}
	for i, p := range g.Predictions {
		if len(p.Request) == 0 || len(p.Answer) == 0 {
			return Golden{}, slipway.Errorf(slipway.Invalid, op, "prediction %d lacks its request or its answer", i+1)
		}
	}
	return g, nil
}

// ReadManifest reads what an image's model directory says of itself. Code
// NotFound: it is a bare model directory.
func ReadManifest(dir string) (Manifest, error) {
	const op = "reading the release of the model"
	data, err := readFile(dir, ReleaseDir+"/"+ManifestFile, maxManifestFile)
	if err != nil {
		return Manifest{}, err
	}
	var m Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return Manifest{}, syntaxAt(op, data, err)
	}
	if m.SchemaVersion > slipway.RecordSchema {
		return Manifest{}, slipway.Errorf(slipway.Invalid, op, "it is of form %d, and this program reads form %d", m.SchemaVersion, slipway.RecordSchema).
			WithHint("use the slipway that made the image, or a newer one")
	}
	return m, nil
}

// maxGoldenRequests bounds a user's golden file: every replica answers them all
// before it is ready.
const maxGoldenRequests = 1000

// ReadGoldenFile reads a user's golden predictions: a list of
//
//	{"request": BODY, "answer": ANSWER}
//
// or an object with such a list under "predictions". BODY is what /invocations
// or /predict takes; ANSWER is the reply, or its "predictions" alone, and may
// be left out: the model then answers itself. Errors name line and column.
func ReadGoldenFile(name string) ([]Prediction, error) {
	op := "reading " + name
	f, err := os.Open(name)
	if err != nil {
		return nil, missing(op, errors.Unwrap(err))
	}
	defer f.Close()
	data, err := readBounded(f, op, maxGoldenFile)
	if err != nil {
		return nil, err
	}
	return ParseGoldenFile(op, data)
}

const goldenUsage = `write a list of {"request": {"dataframe_records": [{…}]}, "answer": […]}`

// ParseGoldenFile is ReadGoldenFile for the file's bytes; op begins its errors.
func ParseGoldenFile(op string, data []byte) ([]Prediction, error) {
	data = quoteBareNumbers(data)
	list, offset, err := goldenList(data)
	if err != nil {
		return nil, syntaxAt(op, data, err).WithHint(goldenUsage)
	}
	var items []json.RawMessage
	if err := json.Unmarshal(list, &items); err != nil {
		return nil, syntaxAt(op, data, err).WithHint(goldenUsage)
	}
	if len(items) == 0 || len(items) > maxGoldenRequests {
		return nil, slipway.Errorf(slipway.Invalid, op, "it holds %d predictions instead of 1 to %d", len(items), maxGoldenRequests).WithHint(goldenUsage)
	}
	predictions := make([]Prediction, len(items))
	for i, item := range items {
		offset += bytes.Index(data[offset:], item)
		if predictions[i], err = goldenItem(item); err != nil {
			line, column := position(data, offset)
			return nil, (&slipway.Error{Op: op, Code: slipway.Invalid, Message: fmt.Sprintf("line %d, column %d: prediction %d", line, column, i+1), Err: err}).WithHint(goldenUsage)
		}
		offset += len(item)
	}
	return predictions, nil
}

// goldenList returns the list of predictions and where in data it begins.
func goldenList(data []byte) (json.RawMessage, int, error) {
	trimmed := bytes.TrimSpace(data)
	start := bytes.Index(data, trimmed)
	if len(trimmed) == 0 || trimmed[0] == '[' {
		return trimmed, start, json.Unmarshal(data, &json.RawMessage{})
	}
	var object struct {
		Predictions json.RawMessage `json:"predictions"`
	}
	if err := strict(data, &object); err != nil {
		return nil, 0, err
	}
	return object.Predictions, max(bytes.Index(data, object.Predictions), 0), nil
}

func goldenItem(item json.RawMessage) (Prediction, error) {
	var p struct {
		Request json.RawMessage `json:"request"`
		Answer  json.RawMessage `json:"answer"`
	}
	if err := strict(item, &p); err != nil {
		return Prediction{}, err
	}
	if kind := first(p.Request); kind != '{' && kind != '[' {
		return Prediction{}, errors.New(`"request" must be an object or a list of records`)
	}
	return Prediction{Request: wrapList(p.Request), Answer: unwrapReply(p.Answer)}, nil
}

// wrapList makes a body of /invocations of a bare list, which only /predict takes.
func wrapList(body json.RawMessage) json.RawMessage {
	if first(body) != '[' {
		return body
	}
	var records []map[string]json.RawMessage
	if json.Unmarshal(body, &records) == nil {
		return request(formatRecords, body, nil)
	}
	return request(formatInputs, body, nil)
}

// unwrapReply takes the predictions out of a whole reply, which people copy
// from their terminals.
func unwrapReply(answer json.RawMessage) json.RawMessage {
	var reply struct {
		Predictions json.RawMessage `json:"predictions"`
		Model       any             `json:"model"`
		Version     any             `json:"version"`
	}
	if first(answer) == '{' && strict(answer, &reply) == nil && reply.Predictions != nil {
		return reply.Predictions
	}
	if first(answer) == 'n' { // null: no answer
		return nil
	}
	return answer
}

func first(raw json.RawMessage) byte {
	if len(raw) == 0 {
		return 0
	}
	return raw[0]
}

// strict decodes one JSON value and refuses unknown keys.
func strict(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("there is more than one JSON value")
	}
	return nil
}

// syntaxAt gives a JSON error its line and column.
func syntaxAt(op string, data []byte, err error) *slipway.Error {
	e := &slipway.Error{Op: op, Code: slipway.Invalid, Err: err}
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		line, column := position(data, int(syntax.Offset)-1)
		e.Message = fmt.Sprintf("line %d, column %d", line, column)
	case errors.As(err, &kind):
		line, column := position(data, int(kind.Offset)-1)
		e.Message = fmt.Sprintf("line %d, column %d", line, column)
	}
	return e
}

// position returns line and column, from 1, of an offset in bytes.
func position(data []byte, offset int) (line, column int) {
	before := data[:min(max(offset, 0), len(data))]
	return bytes.Count(before, []byte{'\n'}) + 1, len(before) - bytes.LastIndexByte(before, '\n')
}
