package sklearn_test

import (
	"path/filepath"
	"testing"

	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/serving"
	"github.com/slipway-dev/slipway/serving/sklearn"
)

const demo = "../../examples/demo/models"

func iris(t testing.TB, name string) *mlmodel.Model {
	t.Helper()
	m, err := mlmodel.Open(filepath.Join(demo, name))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// flowers is a batch of the demo's models.
func flowers(rows int) *serving.Batch {
	b := &serving.Batch{Rows: rows}
	for j, name := range []string{"sepal_length", "sepal_width", "petal_length", "petal_width"} {
		c := serving.Column{Name: name}
		for i := range rows {
			c.Floats = append(c.Floats, float64((i*7+j*3)%50)/10+0.1)
		}
		b.Columns = append(b.Columns, c)
	}
	c := serving.Column{Name: "habitat", Kind: serving.String}
	for i := range rows {
		c.Strings = append(c.Strings, []string{"dune", "meadow", "marsh"}[i%3])
	}
	b.Columns = append(b.Columns, c)
	return b
}

func BenchmarkPredict(b *testing.B) {
	for _, name := range []string{"iris-1", "iris-2", "iris-3"} {
		p, err := sklearn.New().Load(b.Context(), iris(b, name))
		if err != nil {
			b.Fatal(err)
		}
		for rows, size := range map[int]string{1: "row", 10_000: "rows=10000"} {
			batch := flowers(rows)
			b.Run(name+"/"+size, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := p.Predict(b.Context(), batch); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	for _, name := range []string{"iris-1", "iris-2", "iris-3"} {
		m := iris(b, name)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := sklearn.New().Load(b.Context(), m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
