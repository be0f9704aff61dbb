package proof

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"strings"
	"unicode"

	"github.com/slipway-dev/slipway"
)

// ConvertScript is a Python program that stores a pickled scikit-learn model in
// skops' form:
//
//	python convert.py MODEL_DIR OUT [FOLDER]
//
// in the model's own environment; FOLDER is the site-packages folder with
// Requirements, which comes last on sys.path. It exits with 0 when OUT was
// written, else with 1; the end of its stdout is for ReadConversion. It loads
// the model, which runs foreign code: only in a sandbox, with a deadline.
//
//go:embed convert.py
var ConvertScript string

// Requirements are what FOLDER of ConvertScript must hold, in pip's syntax, to
// be installed without what they depend on: numpy, scipy and scikit-learn are
// the model's own.
var Requirements = []string{"skops==0.16.0", "packaging", "prettytable", "wcwidth"}

// Conversion is what ConvertScript stored.
type Conversion struct {
	Class   string // of the model: "sklearn.pipeline.Pipeline"
	Sklearn string // version of scikit-learn: "1.5.2"
	Skops   string // version of skops
}

const (
	converting = "converting the scikit-learn model"

	maxLine = 4096 // bytes of what the script says
	maxText = 400  // bytes of one text in it
)

// ReadConversion reads the end of what ConvertScript wrote to stdout. A hostile
// model runs in that process and can say anything there, so that nothing of it
// is believed but by what the native engine then reads. Code Invalid: the model
// cannot be converted, and why.
func ReadConversion(stdout []byte) (Conversion, error) {
	var said struct {
		Class   string `json:"class"`
		Sklearn string `json:"sklearn"`
		Skops   string `json:"skops"`
		Error   string `json:"error"`
	}
	line := lastLine(stdout)
	if len(line) > maxLine || json.Unmarshal(line, &said) != nil {
		return Conversion{}, slipway.Errorf(slipway.Invalid, converting, "the converter ended without saying why")
	}
	if said.Error != "" {
		return Conversion{}, slipway.Errorf(slipway.Invalid, converting, "%s", plain(said.Error))
	}
	c := Conversion{Class: plain(said.Class), Sklearn: plain(said.Sklearn), Skops: plain(said.Skops)}
	if !strings.HasPrefix(c.Class, "sklearn.") || c.Sklearn == "" || c.Skops == "" {
		return Conversion{}, slipway.Errorf(slipway.Invalid, converting, "the converter does not say what it stored")
	}
	return c, nil
}

func lastLine(b []byte) []byte {
	b = bytes.TrimSpace(b)
	return b[bytes.LastIndexByte(b, '\n')+1:]
}

// plain returns a foreign text as one bounded line of printable characters.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	return short(strings.Join(strings.Fields(s), " "), maxText)
}
