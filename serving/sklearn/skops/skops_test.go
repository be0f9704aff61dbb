package skops_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/serving/sklearn/skops"
)

// npy makes a version 1.0 file.
func npy(header string, data ...byte) []byte {
	out := []byte("\x93NUMPY\x01\x00")
	out = binary.LittleEndian.AppendUint16(out, uint16(len(header)))
	return append(append(out, header...), data...)
}

func TestReadNPY(t *testing.T) {
	t.Parallel()
	grid := npy("{'descr': '<i4', 'fortran_order': True, 'shape': (2, 3), }", 1, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 3, 0, 0, 0, 6, 0, 0, 0)
	a, err := skops.ReadNPY(grid)
	if err != nil {
		t.Fatal(err)
	}
	got, err := a.Ints()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int64{1, 2, 3, 4, 5, 6}, got); diff != "" {
		t.Error(diff)
	}
	text := npy("{'descr': '<U2', 'fortran_order': False, 'shape': (2,), }", 'a', 0, 0, 0, 0, 0, 0, 0, 0xfc, 0, 0, 0, 'z', 0, 0, 0)
	if a, err = skops.ReadNPY(text); err != nil {
		t.Fatal(err)
	}
	if got, _ := a.Strings(); cmp.Diff([]string{"a", "üz"}, got) != "" {
		t.Errorf("texts are %q", got)
	}
}

func TestBadNPY(t *testing.T) {
	t.Parallel()
	for _, header := range []string{
		"{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }",
		"{'descr': '<f8', 'fortran_order': False, 'shape': (9223372036854775807, 9223372036854775807), }",
		"{'descr': '<f8', 'fortran_order': False, 'shape': (4611686018427387904,), }",
		"{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }",
		"{'descr': '<f8', 'fortran_order': False, 'shape': 3, }",
		"{'descr': '|O', 'fortran_order': False, 'shape': (0,), }",
		"{'descr': '>f8', 'fortran_order': False, 'shape': (0,), }",
		"{'descr': '<U99999999999', 'fortran_order': False, 'shape': (0,), }",
		"{'descr': [('x', '<f8', (99999999, 99999999))], 'fortran_order': False, 'shape': (0,), }",
		"{'descr': '<f8', 'fortran_order': 1, 'shape': (0,), }",
		"{'descr': '<f8', 'shape': (0,)}",
		"{" + strings.Repeat("'a': (", 30),
		"", "{", "[1", "('a'", "{1: 2}",
	} {
		if a, err := skops.ReadNPY(npy(header)); err == nil {
			t.Errorf("%s: read as %v", header, a.Shape)
		}
	}
}

// archive makes a zip of stored entries.
func archive(t testing.TB, method uint16, entries ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for i := 0; i < len(entries); i += 2 {
		e, err := w.CreateHeader(&zip.FileHeader{Name: entries[i], Method: method})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Write([]byte(entries[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

const scalarNode = `{"__class__":"str","__module__":"builtins","__loader__":"JsonNode","content":"%s","__id__":%d}`

func node(content string, id int) string { return fmt.Sprintf(scalarNode, content, id) }

func list(id int, items ...string) string {
	return fmt.Sprintf(`{"__class__":"list","__module__":"builtins","__loader__":"ListNode","content":[%s],"__id__":%d,"protocol":2}`, strings.Join(items, ","), id)
}

func TestSharedNodes(t *testing.T) {
	t.Parallel()
	f, err := skops.Read(archive(t, zip.Store, "schema.json", list(1, node("3", 7), node("4", 7), node("NaN", 8), node("-Infinity", 9), node(`\"ü\\n\"`, 10))))
	if err != nil {
		t.Fatal(err)
	}
	items := f.Root.Items
	if items[0] != items[1] || items[0].Value != int64(3) {
		t.Errorf("the second node with an id is %v, not the first one, %v", items[1], items[0])
	}
	if items[4].Value != "ü\n" {
		t.Errorf("text is %q", items[4].Value)
	}
}

func TestHostileFiles(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat(`{"a":`, 500) + "1" + strings.Repeat("}", 500)
	bomb := strings.Repeat(" ", 100<<20)
	cycle := list(1, `{"__class__":"list","__module__":"builtins","__loader__":"ListNode","content":[],"__id__":1}`)
	for name, c := range map[string]struct {
		data []byte
		code slipway.Code
	}{
		"no zip":           {[]byte("PK"), slipway.Invalid},
		"no schema":        {archive(t, zip.Store, "a", "b"), slipway.Invalid},
		"two schemas":      {archive(t, zip.Store, "schema.json", list(1), "schema.json", list(1)), slipway.Invalid},
		"no JSON":          {archive(t, zip.Store, "schema.json", "{"), slipway.Invalid},
		"deep":             {archive(t, zip.Store, "schema.json", deep), slipway.Invalid},
		"bomb":             {archive(t, zip.Deflate, "schema.json", bomb), slipway.Exhausted},
		"cycle":            {archive(t, zip.Store, "schema.json", cycle), slipway.Invalid},
		"unknown loader":   {archive(t, zip.Store, "schema.json", strings.Replace(list(1), "ListNode", "NewNode", 1)), slipway.Invalid},
		"unknown protocol": {archive(t, zip.Store, "schema.json", strings.Replace(list(1), `"protocol":2`, `"protocol":3`, 1)), slipway.Invalid},
		"key twice":        {archive(t, zip.Store, "schema.json", strings.Replace(list(1), `"protocol":2`, `"protocol":2,"protocol":1`, 1)), slipway.Invalid},
	} {
		if _, err := skops.Read(c.data); slipway.CodeOf(err) != c.code {
			t.Errorf("%s: %v, not %s", name, err, c.code)
		}
	}
}

// TestLyingEntry reads an archive whose entry unpacks to more than it says.
func TestLyingEntry(t *testing.T) {
	t.Parallel()
	data := archive(t, zip.Deflate, "schema.json", list(1)+strings.Repeat(" ", 1<<20))
	at := bytes.LastIndex(data, []byte("PK\x01\x02"))
	binary.LittleEndian.PutUint32(data[at+24:], 100) // the central directory's uncompressed size
	if _, err := skops.Read(data); err == nil {
		t.Error("an entry longer than its header says was read")
	}
}

func FuzzNPY(f *testing.F) {
	f.Add(npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }", 0, 0, 0, 0, 0, 0, 0, 0))
	f.Add(npy("{'descr': '<U2', 'fortran_order': True, 'shape': (1, 1), }", 'a', 0, 0, 0, 'b', 0, 0, 0))
	f.Add(npy("{'descr': [('left_child', '<i8'), ('', '|V7'), ('b', '|u1', (2,))], 'fortran_order': False, 'shape': (0,), }"))
	f.Add(npy("{'descr': '|b1', 'fortran_order': False, 'shape': (), }", 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := skops.ReadNPY(data)
		if err != nil {
			return
		}
		if len(a.Data) != a.Size*a.Item {
			t.Errorf("%d bytes for %d elements of %d", len(a.Data), a.Size, a.Item)
		}
		for _, read := range []func() (int, error){
			func() (int, error) { v, err := a.Floats(); return len(v), err },
			func() (int, error) { v, err := a.Ints(); return len(v), err },
			func() (int, error) { v, err := a.Strings(); return len(v), err },
		} {
			if n, err := read(); err == nil && n != a.Size {
				t.Errorf("%d of %d elements", n, a.Size)
			}
		}
	})
}

// FuzzJSON holds the reader against encoding/json, which lacks Python's NaN
// and takes keys twice.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{`{"a":[1,2.5e3,true,null,"x\u00fc\ud83d\ude00\\"]}`, `[NaN,-Infinity]`, `{"a":1,"a":2}`, `"\ud800"`, `[01]`, `[1.]`, `-`, `{"a" : {} , "b":[ ]}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		err := skops.ParseJSON(text)
		if err == nil && !strings.Contains(text, "NaN") && !strings.Contains(text, "Infinity") && !json.Valid([]byte(text)) {
			t.Errorf("%q is no JSON", text)
		}
	})
}

func FuzzLiteral(f *testing.F) {
	f.Add("{'descr': [('a', '<f8', (2, 3))], 'fortran_order': False, 'shape': (1,), }")
	f.Add("(1, 'a', None, True, [\"x\"])")
	f.Fuzz(func(t *testing.T, text string) {
		_ = skops.ParseLiteral(text) // it ends, and does not panic
	})
}

func FuzzRead(f *testing.F) {
	f.Add(archive(f, zip.Store, "schema.json", list(1, node("3", 7), node("3", 7))))
	f.Add(archive(f, zip.Deflate, "schema.json", list(1), "1.npy", string(npy("{'descr': '<f8', 'fortran_order': False, 'shape': (0,), }"))))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := skops.Read(data)
		if (err == nil) != (file != nil) {
			t.Error("neither a file nor an error")
		}
		if code := slipway.CodeOf(err); err != nil && code != slipway.Invalid && code != slipway.Exhausted {
			t.Errorf("code %s: %v", code, err)
		}
	})
}
