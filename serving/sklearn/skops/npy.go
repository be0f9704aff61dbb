package skops

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"
)

// Array is an array of numpy's .npy format (NEP 1, versions 1.0 to 3.0).
type Array struct {
	DType   string  // numpy's descr: "<f8", "|b1", "<U9"; "" with Fields
	Fields  []Field // of a structured array
	Shape   []int   // [] for a scalar
	Size    int     // elements
	Item    int     // bytes of an element
	Data    []byte  // Size × Item bytes
	Fortran bool    // column-major
}

// Field is one field of a structured array.
type Field struct {
	Name   string // "" is padding
	DType  string
	Shape  []int // of a field that is itself an array; nil else
	Offset int   // bytes from the start of the element
	Size   int   // bytes
}

// ReadNPY reads an array. The data share the memory of file.
func ReadNPY(file []byte) (*Array, error) {
	header, data, err := npyHeader(file)
	if err != nil {
		return nil, err
	}
	a, err := parseHeader(header)
	if err != nil {
		return nil, err
	}
	if a.Item == 0 && a.Size > maxEmpty {
		return nil, fmt.Errorf("%d elements without bytes", a.Size)
	}
	if a.Size > 0 && a.Item > len(data)/a.Size || a.Size*a.Item > len(data) {
		return nil, fmt.Errorf("%d elements of %d bytes, but only %d bytes follow", a.Size, a.Item, len(data))
	}
	a.Data = data[:a.Size*a.Item]
	return a, nil
}

func npyHeader(file []byte) (header string, data []byte, err error) {
	if len(file) < 10 || !bytes.HasPrefix(file, []byte("\x93NUMPY")) {
		return "", nil, fmt.Errorf("this is no npy file")
	}
	major, start := file[6], 10
	size := int(binary.LittleEndian.Uint16(file[8:]))
	if major == 2 || major == 3 {
		if len(file) < 12 {
			return "", nil, fmt.Errorf("the npy header is cut off")
		}
		start, size = 12, int(binary.LittleEndian.Uint32(file[8:]))
	} else if major != 1 {
		return "", nil, fmt.Errorf("npy version %d is not known", major)
	}
	if size > len(file)-start {
		return "", nil, fmt.Errorf("the npy header is cut off")
	}
	return string(file[start : start+size]), file[start+size:], nil
}

func parseHeader(header string) (*Array, error) {
	literal, err := parseLiteral(header)
	if err != nil {
		return nil, fmt.Errorf("the npy header: %w", err)
	}
	dict, ok := literal.(map[string]any)
	if !ok || len(dict) != 3 {
		return nil, fmt.Errorf("the npy header must hold descr, fortran_order and shape")
	}
	a := &Array{}
	if a.Fortran, ok = dict["fortran_order"].(bool); !ok {
		return nil, fmt.Errorf("the npy header lacks fortran_order")
	}
	if a.Shape, a.Size, err = shapeOf(dict["shape"]); err != nil {
		return nil, err
	}
	switch descr := dict["descr"].(type) {
	case string:
		a.DType = descr
		a.Item, err = itemSize(descr)
	case list:
		a.Fields, a.Item, err = fieldsOf(descr)
	default:
		err = fmt.Errorf("the npy header lacks descr")
	}
	return a, err
}

// maxElements bounds the elements of one array, as do the bytes that follow;
// maxEmpty bounds them where an element has none: empty texts.
const (
	maxElements = 1 << 40
	maxEmpty    = 1 << 16
)

func shapeOf(v any) (shape []int, size int, err error) {
	dims, ok := v.(tuple)
	if !ok || len(dims) > 8 {
		return nil, 0, fmt.Errorf("the npy header has no shape")
	}
	size = 1
	for _, d := range dims {
		n, ok := d.(int)
		if !ok || n < 0 || n > 0 && size > maxElements/n {
			return nil, 0, fmt.Errorf("the npy shape %v is impossible", dims)
		}
		size *= n
		shape = append(shape, n)
	}
	return shape, size, nil
}

// itemSize returns the bytes of an element of the dtype.
func itemSize(descr string) (int, error) {
	switch descr {
	case "|b1", "|i1", "|u1":
		return 1, nil
	case "<i2", "<u2", "<f2":
		return 2, nil
	case "<i4", "<u4", "<f4":
		return 4, nil
	case "<i8", "<u8", "<f8":
		return 8, nil
	}
	var n int
	var rest string
	switch k, _ := fmt.Sscanf(descr, "<U%d%s", &n, &rest); {
	case k == 1 && n >= 0 && n <= 1<<20:
		return 4 * n, nil
	}
	if k, _ := fmt.Sscanf(descr, "|V%d%s", &n, &rest); k == 1 && n >= 0 && n <= 1<<20 {
		return n, nil
	}
	return 0, fmt.Errorf("the dtype %.40q is not known", descr)
}

func fieldsOf(descr list) (fields []Field, item int, err error) {
	for _, d := range descr {
		t, ok := d.(tuple)
		if !ok || len(t) < 2 || len(t) > 3 || len(fields) > 64 {
			return nil, 0, fmt.Errorf("the npy dtype is not known")
		}
		name, ok1 := t[0].(string)
		dtype, ok2 := t[1].(string)
		if !ok1 || !ok2 {
			return nil, 0, fmt.Errorf("the npy dtype is not known")
		}
		f := Field{Name: name, DType: dtype, Offset: item}
		if f.Size, err = itemSize(dtype); err != nil {
			return nil, 0, err
		}
		if len(t) == 3 {
			var n int
			if f.Shape, n, err = shapeOf(t[2]); err != nil || n > 1<<16 {
				return nil, 0, fmt.Errorf("the npy dtype is not known")
			}
			f.Size *= n
		}
		item += f.Size
		fields = append(fields, f)
	}
	return fields, item, nil
}

// Floats returns the elements in row-major order as float64. Numbers and
// booleans of every width convert.
func (a *Array) Floats() ([]float64, error) {
	read, ok := floatReaders[a.DType]
	if !ok {
		return nil, fmt.Errorf("an array of numbers was expected, not of %s", a.dtype())
	}
	out := make([]float64, a.Size)
	if a.DType == "<f8" {
		for i := range out {
			out[i] = math.Float64frombits(binary.LittleEndian.Uint64(a.Data[8*i:]))
		}
	} else {
		for i := range out {
			out[i] = read(a.Data[i*a.Item:])
		}
	}
	return reorder(a, out), nil
}

var floatReaders = map[string]func([]byte) float64{
	"|b1": func(b []byte) float64 { return float64(b[0]) },
	"|i1": func(b []byte) float64 { return float64(int8(b[0])) },
	"|u1": func(b []byte) float64 { return float64(b[0]) },
	"<i2": func(b []byte) float64 { return float64(int16(binary.LittleEndian.Uint16(b))) },
	"<u2": func(b []byte) float64 { return float64(binary.LittleEndian.Uint16(b)) },
	"<i4": func(b []byte) float64 { return float64(int32(binary.LittleEndian.Uint32(b))) },
	"<u4": func(b []byte) float64 { return float64(binary.LittleEndian.Uint32(b)) },
	"<i8": func(b []byte) float64 { return float64(int64(binary.LittleEndian.Uint64(b))) },
	"<u8": func(b []byte) float64 { return float64(binary.LittleEndian.Uint64(b)) },
	"<f4": func(b []byte) float64 { return float64(math.Float32frombits(binary.LittleEndian.Uint32(b))) },
	"<f8": func(b []byte) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(b)) },
}

// Ints returns the elements of an array of integers or booleans in row-major
// order.
func (a *Array) Ints() ([]int64, error) {
	read, ok := intReaders[a.DType]
	if !ok {
		return nil, fmt.Errorf("an array of integers was expected, not of %s", a.dtype())
	}
	out := make([]int64, a.Size)
	for i := range out {
		out[i] = read(a.Data[i*a.Item:])
		if a.DType == "<u8" && out[i] < 0 {
			return nil, fmt.Errorf("an integer is beyond the range of int64")
		}
	}
	return reorder(a, out), nil
}

var intReaders = map[string]func([]byte) int64{
	"|b1": func(b []byte) int64 { return int64(b[0]) },
	"|i1": func(b []byte) int64 { return int64(int8(b[0])) },
	"|u1": func(b []byte) int64 { return int64(b[0]) },
	"<i2": func(b []byte) int64 { return int64(int16(binary.LittleEndian.Uint16(b))) },
	"<u2": func(b []byte) int64 { return int64(binary.LittleEndian.Uint16(b)) },
	"<i4": func(b []byte) int64 { return int64(int32(binary.LittleEndian.Uint32(b))) },
	"<u4": func(b []byte) int64 { return int64(binary.LittleEndian.Uint32(b)) },
	"<i8": func(b []byte) int64 { return int64(binary.LittleEndian.Uint64(b)) },
	"<u8": func(b []byte) int64 { return int64(binary.LittleEndian.Uint64(b)) },
}

// Strings returns the elements of a <U array in row-major order. numpy pads
// with zeros, which are no part of the text.
func (a *Array) Strings() ([]string, error) {
	if len(a.DType) < 2 || a.DType[:2] != "<U" {
		return nil, fmt.Errorf("an array of text was expected, not of %s", a.dtype())
	}
	out := make([]string, a.Size)
	var text []byte
	for i := range out {
		item := a.Data[i*a.Item : (i+1)*a.Item]
		text = text[:0]
		for ; len(item) >= 4 && anyByte(item); item = item[4:] {
			char := binary.LittleEndian.Uint32(item)
			if char > utf8.MaxRune || !utf8.ValidRune(rune(char)) {
				return nil, fmt.Errorf("%#x is no character", char)
			}
			text = utf8.AppendRune(text, rune(char))
		}
		out[i] = string(text)
	}
	return reorder(a, out), nil
}

func anyByte(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return true
		}
	}
	return false
}

// Field returns the field of that name and dtype.
func (a *Array) Field(name, dtype string) (Field, error) {
	for _, f := range a.Fields {
		if f.Name == name && f.DType == dtype {
			return f, nil
		}
	}
	return Field{}, fmt.Errorf("the array has no field %s of type %s", name, dtype)
}

func (a *Array) dtype() string {
	if a.Fields != nil {
		return "structures"
	}
	return a.DType
}

// reorder brings column-major elements into row-major order.
func reorder[T any](a *Array, in []T) []T {
	if !a.Fortran || len(a.Shape) < 2 {
		return in
	}
	out := make([]T, len(in))
	index := make([]int, len(a.Shape))
	for i := range out {
		from, step := 0, 1
		for d, n := range a.Shape {
			from += index[d] * step
			step *= n
		}
		out[i] = in[from]
		for d := len(index) - 1; d >= 0; d-- {
			if index[d]++; index[d] < a.Shape[d] {
				break
			}
			index[d] = 0
		}
	}
	return out
}
