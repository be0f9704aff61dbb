package skops

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/slipway-dev/slipway"
)

// Limits of one file. A forest of 1000 trees has 5 entries a tree.
const (
	maxFile    = 4 << 30   // bytes of the archive
	maxEntries = 1_000_000 // of the archive
	maxSchema  = 512 << 20 // bytes of schema.json
	// An archive may unpack to 64 MiB and a hundred times its own size: a
	// schema compresses to a twentieth, deflate itself to a thousandth.
	maxRatio  = 100
	unpackMin = 64 << 20
)

const op = "reading the skops file"

// File is a skops file that was read.
type File struct {
	Root     *Node
	Protocol int    // of the format: 1 (until skops 0.9) or 2
	Version  string // of the skops that wrote it

	entries map[string]*zip.File
	budget  int64 // bytes that may still be unpacked
}

// Open reads the file at path. The errors: Invalid when it is no skops file or
// not well formed, Exhausted when it is beyond a limit.
func Open(path string) (*File, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, slipway.Errorf(slipway.Invalid, op, "the model directory lacks %s", filepath.Base(path)).
			WithHint("save and register the model again: its files are not complete")
	}
	if err != nil {
		return nil, slipway.Errorf(slipway.Invalid, op, "it cannot be opened: %v", err)
	}
	if !info.Mode().IsRegular() {
		return nil, slipway.Errorf(slipway.Invalid, op, "it is not a regular file")
	}
	if info.Size() > maxFile {
		return nil, slipway.Errorf(slipway.Exhausted, op, "%d bytes are more than the %d that are read", info.Size(), int64(maxFile))
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, slipway.Errorf(slipway.Invalid, op, "it cannot be opened: %v", err)
	}
	return Read(data)
}

// Read reads a file in memory; see Open.
func Read(data []byte) (*File, error) {
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, invalid("it is no zip archive", err)
	}
	if len(archive.File) > maxEntries {
		return nil, slipway.Errorf(slipway.Exhausted, op, "%d entries are more than the %d that are read", len(archive.File), maxEntries)
	}
	f := &File{entries: make(map[string]*zip.File, len(archive.File)), budget: unpackMin + maxRatio*int64(len(data))}
	for _, e := range archive.File {
		if f.entries[e.Name] != nil {
			return nil, invalid(fmt.Sprintf("entry %.80q is there twice", e.Name), nil)
		}
		f.entries[e.Name] = e
	}
	if err := f.readSchema(); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *File) readSchema() error {
	text, err := f.unpack("schema.json", maxSchema)
	if err != nil {
		return err
	}
	schema, err := parseJSON(string(text))
	if err != nil {
		return invalid("schema.json", err)
	}
	protocol := schema.get("protocol")
	if protocol == nil || protocol.kind != 'l' || len(protocol.text) != 1 || protocol.text < "1" || protocol.text > "2" {
		return invalid("its protocol is not known", nil)
	}
	f.Protocol, f.Version = int(protocol.text[0]-'0'), schema.str("_skops_version")
	b := builder{memo: map[string]*Node{}}
	if f.Root, err = b.node(schema); err != nil {
		return invalid("schema.json", err)
	}
	return nil
}

// unpack returns the bytes of an entry.
func (f *File) unpack(name string, limit int64) ([]byte, error) {
	e := f.entries[name]
	if e == nil {
		return nil, invalid(fmt.Sprintf("entry %.80q is missing", name), nil)
	}
	size := int64(e.UncompressedSize64)
	if e.UncompressedSize64 > uint64(limit) || size > f.budget {
		return nil, slipway.Errorf(slipway.Exhausted, op, "entry %.80q unpacks to %d bytes, more than is read", name, e.UncompressedSize64)
	}
	f.budget -= size
	r, err := e.Open()
	if err != nil {
		return nil, invalid(fmt.Sprintf("entry %.80q", name), err)
	}
	defer r.Close()
	data, err := readAll(r, size)
	if err != nil {
		return nil, invalid(fmt.Sprintf("entry %.80q", name), err)
	}
	return data, nil
}

// readAll reads exactly size bytes, growing as they come: a header that
// promises gigabytes costs nothing until they are there.
func readAll(r io.Reader, size int64) ([]byte, error) {
	var buffer bytes.Buffer
	buffer.Grow(int(min(size, 1<<20)) + bytes.MinRead)
	n, err := buffer.ReadFrom(r)
	if err == nil && n != size {
		err = errors.New("the entry's length differs from its header's")
	}
	return buffer.Bytes(), err
}

// Array reads the array of an NDArray node that is stored beside the schema.
func (f *File) Array(n *Node) (*Array, error) {
	if n.Kind != NDArray || n.Items != nil {
		return nil, invalid("an array was expected", nil)
	}
	data, err := f.unpack(n.file, maxFile)
	if err != nil {
		return nil, err
	}
	a, err := ReadNPY(data)
	if err != nil {
		return nil, invalid(n.file, err)
	}
	return a, nil
}

func invalid(message string, err error) error {
	return &slipway.Error{Op: op, Code: slipway.Invalid, Message: message, Err: err}
}
