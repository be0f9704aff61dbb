package kube

import (
	"encoding/json"
	"slices"
	"strings"
)

// found is how others left the fields that releases set, so that they can be
// put back. It is kept in an annotation.
type found struct {
	Container string `json:"container,omitempty"`
	Served    bool   `json:"served,omitempty"` // whether pods were ready when the first release came
	Fields    values `json:"fields,omitempty"` // null: the field was not there
}

// maxFound bounds the annotation, in bytes.
const maxFound = 64 << 10

// decodeFound reads the annotation. One that is missing, or that we cannot
// have written, says nothing.
func decodeFound(text string) found {
	var f found
	if len(text) > maxFound || json.Unmarshal([]byte(text), &f) != nil {
		return found{}
	}
	for key, v := range f.Fields {
		if !isKey(key) || !fits(key, v) {
			return found{}
		}
	}
	return f
}

func (f found) encode() (string, error) {
	data, err := json.Marshal(f)
	return string(data), err
}

func isKey(key string) bool {
	if name, ok := strings.CutPrefix(key, keyEnv); ok {
		return isVariable(name)
	}
	return slices.Contains([]string{keyImage, keyCPU, keyMemory, keyProbe, keyThreshold, keyCause, keyMaxUnavailable}, key)
}

// fits reports whether the value is of the field's kind, so that no other part
// of the Deployment can be reached through it. What it says, the API server
// checks.
func fits(key string, v value) bool {
	var text string
	var object map[string]any
	switch {
	case v.isNull():
		return key != keyImage
	case strings.HasPrefix(key, keyEnv):
		return v.decode(&object) == nil && object["name"] == strings.TrimPrefix(key, keyEnv)
	case key == keyProbe:
		return v.decode(&object) == nil
	case key == keyThreshold:
		var n int32
		return v.decode(&n) == nil
	case key == keyMaxUnavailable:
		var n int32
		return v.decode(&text) == nil || v.decode(&n) == nil
	}
	return v.decode(&text) == nil
}
