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
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-dev/slipway/serving/sklearn"
	"github.com/slipway-dev/slipway/serving/sklearn/skops"
)

// TestEveryAttributeMatters changes, removes and adds every attribute of every
// stored object. Then the answer must change, or the model be refused, or the
// attribute be one that is passed over for a stated reason.
func TestEveryAttributeMatters(t *testing.T) {
	t.Parallel()
	for _, dir := range referenceDirs(t) {
		all := readReferences(t, dir)
		t.Run(all.Sklearn, func(t *testing.T) {
			t.Parallel()
			mutations, ignored := 0, map[string]string{}
			for _, c := range all.Cases {
				m := &mutant{t: t, name: c.Name, requests: c.Requests, methods: slices.Sorted(maps.Keys(c.Answers)), ignored: ignored}
				m.open(filepath.Join(dir, c.Name+".skops"))
				m.walk(m.schema, "")
				mutations += m.tried
			}
			t.Logf("scikit-learn %s: %d mutations of %d models; %d attributes are passed over", all.Sklearn, mutations, len(all.Cases), len(ignored))
			for _, name := range slices.Sorted(maps.Keys(ignored)) {
				t.Logf("  %s: %s", name, ignored[name])
			}
		})
	}
}

// mutant is one model whose attributes are changed, one at a time.
type mutant struct {
	t        *testing.T
	name     string
	requests []request
	methods  []string
	entries  map[string][]byte
	schema   map[string]any
	answers  []string
	reasons  map[[2]string]string
	ignored  map[string]string
	tried    int
}

func (m *mutant) open(path string) {
	m.t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		m.t.Fatal(err)
	}
	m.entries = unzip(m.t, data)
	if err := json.Unmarshal(m.entries["schema.json"], &m.schema); err != nil {
		m.t.Fatal(err)
	}
	file, err := skops.Read(data)
	if err != nil {
		m.t.Fatal(err)
	}
	if m.reasons, err = sklearn.Ignored(file, m.methods[0]); err != nil {
		if refused[m.name] == "" {
			m.t.Errorf("%s: %v", m.name, err)
		}
		m.schema = nil
		return
	}
	if m.answers, err = m.ask(); err != nil {
		m.t.Fatalf("%s: unchanged, but %v", m.name, err)
	}
}

func unzip(t *testing.T, data []byte) map[string][]byte {
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

// ask returns what the changed model answers to every request, by every method.
func (m *mutant) ask() ([]string, error) {
	schema, err := json.Marshal(m.schema)
	if err != nil {
		m.t.Fatal(err)
	}
	entries := maps.Clone(m.entries)
	entries["schema.json"] = schema
	file, err := skops.Read(rezip(m.t, entries))
	if err != nil {
		return nil, err
	}
	var answers []string
	for _, method := range m.methods {
		p, err := sklearn.Compile(file, method)
		if err != nil {
			return nil, err
		}
		for _, r := range m.requests {
			out, err := p.Predict(m.t.Context(), r.batch())
			if err != nil {
				answers = append(answers, "refused")
				continue
			}
			answers = append(answers, fmt.Sprint(*out))
		}
	}
	return answers, nil
}

// try asks the changed model and complains unless something is different.
func (m *mutant) try(class, attribute, how string) {
	m.t.Helper()
	m.tried++
	answers, err := m.ask()
	if err != nil || !slices.Equal(answers, m.answers) {
		return
	}
	if reason := m.reasons[[2]string{class, attribute}]; reason != "" && how != "added" {
		m.ignored[class+"."+attribute] = reason
		return
	}
	m.t.Errorf("%s: %s.%s was %s, and nothing changed", m.name, class, attribute, how)
}

// walk changes the attributes of every object below a node. Of lists of equal
// members it takes the first two and the last.
func (m *mutant) walk(v any, path string) {
	switch v := v.(type) {
	case map[string]any:
		if attributes, keys := objectOf(v); attributes != nil {
			m.attributes(v, attributes, keys)
			for _, name := range slices.Sorted(maps.Keys(attributes)) {
				if m.reasons[[2]string{className(v), name}] == "" {
					m.walk(attributes[name], path+"."+name)
				}
			}
			return
		}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			m.walk(v[key], path+"."+key)
		}
	case []any:
		for i := range v {
			if i < 2 || i == len(v)-1 {
				m.walk(v[i], fmt.Sprintf("%s[%d]", path, i))
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
		if m.reasons[[2]string{class, name}] != "" && m.ignored[class+"."+name] != "" {
			continue
		}
		kept := attributes[name].(map[string]any)
		delete(attributes, name)
		keys["content"] = types[1:]
		m.try(class, name, "removed")
		keys["content"] = types
		if changed := m.change(kept); changed != nil {
			attributes[name] = changed
			m.try(class, name, "changed")
		}
		attributes[name] = kept
	}
	attributes["something_new_"] = map[string]any{"__class__": "str", "__module__": "builtins", "__loader__": "JsonNode", "content": "1", "is_json": true}
	keys["content"] = append(slices.Clip(types), types[0])
	m.try(class, "something_new_", "added")
	delete(attributes, "something_new_")
	keys["content"] = types
}

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
			other["content"] = []any{map[string]any{"__class__": "str", "__module__": "builtins", "__loader__": "JsonNode", "content": "1", "is_json": true}}
			return other
		}
		first := m.change(items[0].(map[string]any))
		if first == nil {
			other["content"] = items[1:]
			return other
		}
		other["content"] = append([]any{first}, items[1:]...)
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
		return "0.125"
	}
	var v float64
	if _, err := fmt.Sscan(text, &v); err != nil {
		return "1"
	}
	if v == math.Trunc(v) && !strings.ContainsAny(text, ".eE") {
		return fmt.Sprint(int64(v) + 1)
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
			binary.LittleEndian.PutUint64(item, math.Float64bits(v*(1.5+float64(i)*0.37)+1))
		case a.DType == "<f4":
			v := math.Float32frombits(binary.LittleEndian.Uint32(item))
			binary.LittleEndian.PutUint32(item, math.Float32bits(v*(1.5+float32(i)*0.37)+1))
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
