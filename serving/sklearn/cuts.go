package sklearn

import "github.com/slipway-dev/slipway/mlmodel"

// maxCuts bounds what is remembered of a model's thresholds.
const maxCuts = 1 << 16

// cut remembers the threshold of a tree's node for a column of its inputs.
func (c *compiler) cut(column int, at float64) {
	if len(c.cuts) < maxCuts {
		c.cuts = append(c.cuts, mlmodel.Cut{Column: column, At: at})
	}
}

// Cuts returns where the model's trees change their answer, by the request's
// columns: what a comparison with another engine must look at most closely.
// Nil where the trees see other columns than the request's.
func (p *Predictor) Cuts() []mlmodel.Cut { return p.cuts }
