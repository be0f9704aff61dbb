package serving_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/slipway-dev/slipway/serving"
	"github.com/slipway-dev/slipway/serving/sklearn"
)

const iris = `{"dataframe_split":{"columns":["sepal_length","sepal_width","n"],"data":[[5.1,3.5,1]]}}`

// sinkWriter takes a reply and keeps nothing.
type sinkWriter struct{ header http.Header }

func (w *sinkWriter) Header() http.Header         { return w.header }
func (w *sinkWriter) Write(b []byte) (int, error) { return len(b), nil }
func (w *sinkWriter) WriteHeader(int)             {}

// answer runs the handler alone: no connection, no net/http.
func answer(b *testing.B, h http.Handler, body string) {
	b.Helper()
	reader := bytes.NewReader([]byte(body))
	r := httptest.NewRequest("POST", "/invocations", reader)
	r.Header.Set("Content-Type", "application/json")
	r.Body = io.NopCloser(reader)
	w := &sinkWriter{http.Header{}}
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		reader.Reset([]byte(body))
		h.ServeHTTP(w, r)
	}
}

func BenchmarkIris(b *testing.B) {
	s := loaded(b, serving.Config{Dir: "testdata/models/sklearn-skops", Engines: []serving.Engine{sklearn.New()}})
	answer(b, s, iris)
}

// BenchmarkEncodingJSON is what the server is measured against: a handler that
// only decodes and encodes the same with encoding/json.
func BenchmarkEncodingJSON(b *testing.B) {
	answer(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Split struct {
				Columns []string    `json:"columns"`
				Data    [][]float64 `json:"data"`
			} `json:"dataframe_split"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			b.Error(err)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string][]int{"predictions": make([]int, len(body.Split.Data))})
	}), iris)
}

func BenchmarkFormats(b *testing.B) {
	rows := strings.TrimSuffix(strings.Repeat(`{"x":12.5,"n":42,"s":"blue"},`, 1000), ",")
	data := strings.TrimSuffix(strings.Repeat(`[12.5,42,"blue"],`, 1000), ",")
	dir := modelDir(b, `[{"type":"double","name":"x"},{"type":"long","name":"n"},{"type":"string","name":"s"}]`)
	s := loaded(b, serving.Config{Dir: dir, Engines: []serving.Engine{double{}}})
	for name, body := range map[string]string{
		"records1000": fmt.Sprintf(`{"dataframe_records":[%s]}`, rows),
		"split1000":   fmt.Sprintf(`{"dataframe_split":{"columns":["x","n","s"],"data":[%s]}}`, data),
		"record1":     `{"dataframe_records":[{"x":12.5,"n":42,"s":"blue"}]}`,
	} {
		b.Run(name, func(b *testing.B) { answer(b, s, body) })
	}
}
