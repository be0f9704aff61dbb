package sklearn_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-dev/slipway/serving"
	"github.com/slipway-dev/slipway/serving/sklearn"
	"github.com/slipway-dev/slipway/serving/sklearn/skops"
)

// harmless are changes without influence in scikit-learn too, beside the
// attributes that are passed over where they are read.
var harmless = map[string]string{
	"feature_names_in_ removed":      "scikit-learn then only warns that it was fitted without names",
	"_sklearn_output_config removed": "then the outputs are arrays, with the same values",
	"sparse_output changed":          "a sparse matrix holds the same values",
	"sparse_output_ changed":         "a sparse matrix holds the same values",
	"_preprocessor removed":          "it was None",
	"raw_left_cat_bitsets changed":   "no node of the tree asks for a category",
}

// TestEveryAttributeMatters changes, removes and adds every attribute of every
// stored object. The answer must change or the model be refused, in at least
// one of the models that have the attribute, unless it is passed over for a
// stated reason.
func TestEveryAttributeMatters(t *testing.T) {
	t.Parallel()
	for _, all := range committed(t) {
		t.Run(all.Sklearn, func(t *testing.T) {
			t.Parallel()
			found := &findings{matters: map[string]bool{}, without: map[string]string{}, passed: map[string]string{}}
			for _, c := range all.Cases {
				m := &mutant{findings: found, t: t, name: c.Name, methods: slices.Sorted(maps.Keys(c.Answers))}
				for _, r := range c.Requests {
					m.batches = append(m.batches, r.batch())
				}
				m.open(all.files[c.Name+".skops"])
				m.walk(m.schema)
			}
			found.report(t, all.Sklearn)
		})
	}
}

// findings are what changes of attributes did, by "class.attribute how".
type findings struct {
	tried   int
	matters map[string]bool
	without map[string]string // the model that did not mind
	passed  map[string]string // the reason why it is passed over
}

func (f *findings) report(t *testing.T, version string) {
	for _, change := range slices.Sorted(maps.Keys(f.without)) {
		how := change[strings.LastIndex(change, ".")+1:]
		if !f.matters[change] && harmless[how] == "" {
			t.Errorf("%s: %s, and nothing changed", f.without[change], change)
		}
	}
	t.Logf("scikit-learn %s: %d changes tried, %d kinds of them matter, %d are of attributes passed over:", version, f.tried, len(f.matters), len(f.passed))
	for _, name := range slices.Sorted(maps.Keys(f.passed)) {
		t.Logf("  %s: %s", name, f.passed[name])
	}
	if len(f.matters) < 300 {
		t.Errorf("only %d kinds of changes were seen to matter", len(f.matters))
	}
}

// mutant is one model whose attributes are changed, one at a time.
type mutant struct {
	*findings
	t       *testing.T
	name    string
	batches []*serving.Batch
	methods []string
	entries map[string][]byte
	schema  map[string]any
	answers []string
	reasons map[[2]string]string
}

func (m *mutant) open(data []byte) {
	m.t.Helper()
	m.entries = unzip(m.t, data)
	if err := json.Unmarshal(m.entries["schema.json"], &m.schema); err != nil {
		m.t.Fatal(err)
	}
	file, err := skops.Read(data)
	if err != nil {
		m.t.Fatal(err)
	}
	if m.reasons, err = sklearn.Ignored(file, m.methods[0]); err != nil {
		m.t.Fatalf("%s: %v", m.name, err)
	}
	if _, err = m.same(); err != nil {
		m.t.Fatalf("%s: unchanged, but %v", m.name, err)
	}
}

func unzip(t testing.TB, data []byte) map[string][]byte {
	t.Helper()
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	entries := map[string][]byte{}
	for _, e := range archive.File {
		r, err := e.Open()
		if err != nil {
			t.Fatal(err)
		}
		if entries[e.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return entries
}

func rezip(t testing.TB, entries map[string][]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		e, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Write(entries[name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// same asks the changed model and stops at the first answer that is not the
// one of the unchanged model; without those it keeps the answers.
func (m *mutant) same() (bool, error) {
	schema, err := json.Marshal(m.schema)
	if err != nil {
		m.t.Fatal(err)
	}
	entries := maps.Clone(m.entries)
	entries["schema.json"] = schema
	file, err := skops.Read(rezip(m.t, entries))
	if err != nil {
		return false, err
	}
	first, n := m.answers == nil, 0
	for _, method := range m.methods {
		p, err := sklearn.Compile(file, method)
		if err != nil {
			return false, err
		}
		for _, r := range m.batches {
			answer := "refused"
			if out, err := p.Predict(m.t.Context(), r); err == nil {
				answer = fmt.Sprint(*out)
			}
			if first {
				m.answers = append(m.answers, answer)
			} else if m.answers[n] != answer {
				return false, nil
			}
			n++
		}
	}
	return true, nil
}

// try asks the changed model and notes whether anything is different. What was
// seen to matter is not tried again.
func (m *mutant) try(change string, apply, undo func()) {
	m.t.Helper()
	if m.matters[change] {
		return
	}
	apply()
	defer undo()
	m.tried++
	if same, err := m.same(); err != nil || !same {
		m.matters[change] = true
		return
	}
	m.without[change] = m.name
}

// walk changes the attributes of every object below a node, but not inside of
// attributes that are passed over. Of lists of equal members it takes the
// first two and the last.
func (m *mutant) walk(v any) {
	switch v := v.(type) {
	case map[string]any:
		attributes, keys := objectOf(v)
		if attributes == nil {
			for _, key := range slices.Sorted(maps.Keys(v)) {
				m.walk(v[key])
			}
			return
		}
		m.attributes(v, attributes, keys)
		for _, name := range slices.Sorted(maps.Keys(attributes)) {
			if m.reasons[[2]string{className(v), name}] == "" {
				m.walk(attributes[name])
			}
		}
	case []any:
		for i := range v {
			if i < 2 || i == len(v)-1 {
				m.walk(v[i])
			}
		}
	}
}

// objectOf returns the attributes of an object's node and the list of their
// keys' types.
func objectOf(node map[string]any) (attributes, keys map[string]any) {
	if loader := node["__loader__"]; loader != "ObjectNode" && loader != "TreeNode" {
		return nil, nil
	}
	dict, ok := node["content"].(map[string]any)
	if !ok || dict["__loader__"] != "DictNode" {
		return nil, nil
	}
	return dict["content"].(map[string]any), dict["key_types"].(map[string]any)
}

func className(node map[string]any) string {
	return fmt.Sprint(node["__module__"], ".", node["__class__"])
}

func (m *mutant) attributes(node, attributes, keys map[string]any) {
	class := className(node)
	types := keys["content"].([]any)
	if len(types) == 0 {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		if reason := m.reasons[[2]string{class, name}]; reason != "" {
			m.passed[class+"."+name] = reason
			continue
		}
		kept := attributes[name].(map[string]any)
		undo := func() {
			attributes[name], keys["content"] = kept, types
		}
		m.try(class+"."+name+" removed", func() {
			delete(attributes, name)
			keys["content"] = types[1:]
		}, undo)
		if changed := m.change(kept); changed != nil {
			m.try(class+"."+name+" changed", func() { attributes[name] = changed }, undo)
		}
	}
	m.try(class+".something_new_ added", func() {
		attributes["something_new_"] = number1
		keys["content"] = append(slices.Clip(types), types[0])
	}, func() {
		delete(attributes, "something_new_")
		keys["content"] = types
	})
}

var number1 = map[string]any{"__class__": "str", "__module__": "builtins", "__loader__": "JsonNode", "content": "1", "is_json": true}

// change returns another node in place of one; nil where there is no sensible one.
func (m *mutant) change(node map[string]any) map[string]any {
	other := maps.Clone(node)
	delete(other, "__id__")
	switch node["__loader__"] {
	case "JsonNode":
		other["content"] = changeScalar(node["content"].(string))
	case "TypeNode":
		other["__class__"] = "int8"
	case "NdArrayNode":
		if node["type"] == "numpy" {
			m.entries["changed.npy"] = changeArray(m.t, m.entries[node["file"].(string)])
			other["file"] = "changed.npy"
			return other
		}
		fallthrough
	case "ListNode", "TupleNode":
		items := node["content"].([]any)
		if len(items) == 0 {
			other["content"] = []any{number1}
			return other
		}
		var changed []any
		for _, item := range items {
			if one := m.change(item.(map[string]any)); one != nil {
				changed = append(changed, one)
			} else {
				other["content"] = items[1:] // of objects, the first is left out
				return other
			}
		}
		other["content"] = changed
	case "DictNode":
		content := node["content"].(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(content)) {
			if changed := m.change(content[key].(map[string]any)); changed != nil {
				inner := maps.Clone(content)
				inner[key] = changed
				other["content"] = inner
				return other
			}
		}
		return nil
	case "ObjectNode":
		return nil // its attributes are changed one by one
	default:
		return nil
	}
	return other
}

func changeScalar(text string) string {
	switch {
	case text == "true":
		return "false"
	case text == "false":
		return "true"
	case text == "null":
		return "3"
	case strings.HasPrefix(text, `"`):
		return `"x` + text[1:]
	case text == "NaN":
		return "2.0"
	}
	var v float64
	if _, err := fmt.Sscan(text, &v); err != nil {
		return "1"
	}
	if v == math.Trunc(v) && !strings.ContainsAny(text, ".eE") {
		return fmt.Sprint(int64(v) + 17)
	}
	return fmt.Sprint(v*1.5 + 0.25)
}

// changeArray changes the elements of an npy file: each number moves by its own
// amount, so that neither order nor ratio stays.
func changeArray(t *testing.T, file []byte) []byte {
	t.Helper()
	a, err := skops.ReadNPY(bytes.Clone(file))
	if err != nil {
		t.Fatal(err)
	}
	for i := range a.Size {
		item := a.Data[i*a.Item : (i+1)*a.Item]
		switch {
		case a.DType == "<f8":
			v := math.Float64frombits(binary.LittleEndian.Uint64(item))
			binary.LittleEndian.PutUint64(item, math.Float64bits(v*0.8/(1+0.3*float64(i))+0.013*float64(i+1)))
		case a.DType == "<f4":
			v := math.Float32frombits(binary.LittleEndian.Uint32(item))
			binary.LittleEndian.PutUint32(item, math.Float32bits(v*0.8/(1+0.3*float32(i))+0.013*float32(i+1)))
		case a.Fields != nil: // of trees: value, children, threshold and all
			for k := range item {
				item[k] ^= 0x55
			}
		case len(item) > 0:
			item[0] ^= 1
		}
	}
	if a.Size == 0 { // other elements than none: a number
		return bytes.Replace(file, []byte("(0,)"), []byte("(9,)"), 1)
	}
	header := len(file) - a.Size*a.Item
	return append(bytes.Clone(file[:header]), a.Data...)
}
