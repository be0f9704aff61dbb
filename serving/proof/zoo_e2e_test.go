//go:build e2e

package proof_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/serving"
	"github.com/slipway-dev/slipway/serving/proof"
)

// stacks are the libraries that make the models and answer for them, beside
// the mlflow-skinny of their time, as in images. skops is in none of them.
var stacks = map[string][]string{
	"1.3.2": {"scikit-learn==1.3.2", "numpy==1.26.4", "pandas==2.2.3", "mlflow-skinny==2.9.2", "cloudpickle", "setuptools<81"},
	"1.5.2": {"scikit-learn==1.5.2", "numpy==1.26.4", "pandas==2.2.3", "mlflow-skinny==2.22.1", "cloudpickle"},
	"1.9.1": {"scikit-learn==1.9.1", "numpy==2.4.6", "pandas==3.1.1", "mlflow-skinny==3.17.2", "cloudpickle"},
}

// skopsFolder returns a folder with what proof.Requirements ask for, once
// installed, as uv or pip installs it: without anything they depend on.
func skopsFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	args := append([]string{"-m", "pip", "install", "--quiet", "--no-deps", "--target", dir}, proof.Requirements...)
	if out, err := exec.CommandContext(t.Context(), e2e.Python(t, "pip==25.3"), args...).CombinedOutput(); err != nil {
		t.Fatalf("installing skops: %v\n%s", err, out)
	}
	return dir
}

// zoo is the Python process of testdata/zoo.py. It is the original library's
// predictor for the model that was loaded last.
type zoo struct {
	dir    string
	models []zooModel
	mu     sync.Mutex
	in     io.Writer
	out    *bufio.Reader
}

type zooModel struct{ Name, Class, Error string }

func startZoo(t *testing.T, skops, pattern string, stack []string) *zoo {
	t.Helper()
	z := &zoo{dir: t.TempDir()}
	cmd := exec.CommandContext(t.Context(), e2e.Python(t, stack...), absolute(t, "testdata/zoo.py"),
		absolute(t, "../sklearn/testdata/make_models.py"), absolute(t, "convert.py"), skops, z.dir, pattern)
	cmd.Dir, cmd.Stderr = t.TempDir(), os.Stderr // MLflow leaves things where it runs
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	z.in, z.out = in, bufio.NewReaderSize(out, 1<<20)
	if err := z.read(&z.models); err != nil {
		t.Fatal(err)
	}
	return z
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func (z *zoo) read(into any) error {
	line, err := z.out.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, into)
}

// order sends {key: value} and returns the reply; an error of Python is one of
// code Invalid.
func (z *zoo) order(key string, value json.RawMessage, into any) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	if _, err := z.in.Write([]byte(`{"` + key + `":` + string(value) + "}\n")); err != nil {
		return err
	}
	var raw json.RawMessage
	if err := z.read(&raw); err != nil {
		return err
	}
	var failed struct{ Error string }
	if err := json.Unmarshal(raw, &failed); err == nil && failed.Error != "" {
		return slipway.Errorf(slipway.Invalid, "asking Python", "%s", failed.Error)
	}
	return json.Unmarshal(raw, into)
}

// command orders something for a model.
func (z *zoo) command(key, name string, into any) error {
	return z.order(key, json.RawMessage(strconv.Quote(name)), into)
}

// Predict answers as the library does.
func (z *zoo) Predict(_ context.Context, b *serving.Batch) (*serving.Output, error) {
	var said struct{ Answer zooAnswer }
	if err := z.order("ask", encodeBatch(b), &said); err != nil {
		return nil, err
	}
	return said.Answer.output()
}

type zooAnswer struct {
	Shape  []int
	Kind   string
	Values []json.RawMessage
	List   []zooAnswer
}

func (a zooAnswer) output() (*serving.Output, error) {
	out := &serving.Output{Shape: a.Shape}
	for _, part := range a.List {
		o, err := part.output()
		if err != nil {
			return nil, err
		}
		out.List = append(out.List, *o)
	}
	for _, v := range a.Values {
		if err := a.add(out, v); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (a zooAnswer) add(out *serving.Output, v json.RawMessage) error {
	switch a.Kind {
	case "int":
		i, err := strconv.ParseInt(string(v), 10, 64)
		out.Kind, out.Ints = serving.Int, append(out.Ints, i)
		return err
	case "bool":
		out.Kind, out.Bools = serving.Bool, append(out.Bools, string(v) == "true")
		return nil
	case "string":
		var s string
		err := json.Unmarshal(v, &s)
		out.Kind, out.Strings = serving.String, append(out.Strings, s)
		return err
	}
	var text string
	if json.Unmarshal(v, &text) != nil {
		text = string(v)
	}
	f, err := strconv.ParseFloat(text, 64)
	if errors.Is(err, strconv.ErrRange) {
		err = nil
	}
	out.Kind, out.Floats = serving.Float, append(out.Floats, f)
	if a.Kind == "float32" {
		out.Kind = serving.Float32
	}
	return err
}

// encodeBatch writes a batch as zoo.py reads it.
func encodeBatch(b *serving.Batch) json.RawMessage {
	if len(b.Tensors) > 0 {
		t := b.Tensors[0]
		shape, _ := json.Marshal(t.Shape)
		values := encodeValues(len(t.Floats)+len(t.Ints)+len(t.Strings), func(i int) any {
			switch {
			case t.Floats != nil:
				return t.Floats[i]
			case t.Ints != nil:
				return t.Ints[i]
			}
			return t.Strings[i]
		})
		return json.RawMessage(`{"tensor":` + strconv.Quote(t.DType) + `,"shape":` + string(shape) + `,"values":` + values + "}")
	}
	text := `{"columns":[`
	for i, c := range b.Columns {
		if i > 0 {
			text += ","
		}
		name, _ := json.Marshal(c.Name)
		if c.Name == "" {
			name = []byte("null")
		}
		text += `{"name":` + string(name) + `,"kind":` + strconv.Quote(c.Type) + `,"values":` + encodeValues(b.Rows, valueOf(c)) + "}"
	}
	return json.RawMessage(text + "]}")
}

func valueOf(c serving.Column) func(int) any {
	return func(i int) any {
		switch {
		case c.Missing != nil && c.Missing[i]:
			return nil
		case c.Kind == serving.Int:
			return c.Ints[i]
		case c.Kind == serving.Bool:
			return c.Bools[i]
		case c.Kind == serving.String:
			return c.Strings[i]
		}
		return c.Floats[i]
	}
}

// encodeValues writes Python's JSON, which has NaN and Infinity.
func encodeValues(n int, value func(int) any) string {
	text := []byte{'['}
	for i := range n {
		if i > 0 {
			text = append(text, ',')
		}
		switch v := value(i).(type) {
		case float64:
			text = append(text, pythonFloat(v)...)
		default:
			raw, _ := json.Marshal(v)
			text = append(text, raw...)
		}
	}
	return string(append(text, ']'))
}

func pythonFloat(f float64) string {
	switch text := strconv.FormatFloat(f, 'g', -1, 64); text {
	case "+Inf":
		return "Infinity"
	case "-Inf":
		return "-Infinity"
	default:
		return text
	}
}
