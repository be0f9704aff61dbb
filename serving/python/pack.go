package python

import (
	"encoding/binary"
	"math"
	"strings"

	"github.com/slipway-dev/slipway/serving"
)

// appendTensor packs float32 as it is and other numbers in 64 bits.
func appendTensor(b []byte, t *serving.Tensor) []byte {
	switch {
	case t.DType == "float32":
		return packFloats32(b, t.Floats)
	case strings.HasPrefix(t.DType, "float"):
		return packFloats(b, t.Floats)
	case t.DType == "bool", strings.HasPrefix(t.DType, "int"), strings.HasPrefix(t.DType, "uint"):
		return packInts(b, t.Ints, 8)
	}
	b = append(b, '[')
	for i, s := range t.Strings {
		b = appendText(comma(b, i), s)
	}
	return append(b, ']')
}

func appendPacked(b []byte, c *serving.Column, code byte) []byte {
	switch code {
	case 'd':
		b = packFloats(b, c.Floats)
	case 'f':
		b = packFloats32(b, c.Floats)
	case 'l':
		b = packInts(b, c.Ints, 8)
	case 'i':
		b = packInts(b, c.Ints, 4)
	case 'b':
		for _, v := range c.Bools {
			b = append(b, oneIf(v))
		}
	}
	return b
}

func packFloats(b []byte, values []float64) []byte {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
	}
	return b
}

func packFloats32(b []byte, values []float64) []byte {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(v)))
	}
	return b
}

func packInts(b []byte, values []int64, width int) []byte {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint64(b, uint64(v))
		b = b[:len(b)-8+width]
	}
	return b
}

func oneIf(v bool) byte {
	if v {
		return 1
	}
	return 0
}
