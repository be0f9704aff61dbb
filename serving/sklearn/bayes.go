package sklearn

import "math"

// gaussian is Gaussian naive Bayes: a normal distribution a class and column.
type gaussian struct {
	classes, cols int
	constant      []float64 // by class: log prior - ½ Σ log 2πσ²
	mean          []float64 // classes × cols
	variance      []float64
}

// eval writes the joint log likelihood of each class.
func (g *gaussian) eval(_ *scratch, x matrix, out []float64) {
	for i := range x.rows {
		row := x.row(i)
		for k := range g.classes {
			mean, variance := g.mean[k*g.cols:][:len(row)], g.variance[k*g.cols:][:len(row)]
			var sum float64
			for j, v := range row {
				d := v - mean[j]
				sum += d * d / variance[j]
			}
			out[i*g.classes+k] = g.constant[k] - 0.5*sum
		}
	}
}

func gaussianNB(o *object, in input) *model {
	o.ignore(fitting, "priors", "var_smoothing")
	o.ignore(record, "epsilon_", "class_count_")
	m := &model{check: o.inputs(in)}
	classes := o.classes()
	g := &gaussian{classes: classes.count, cols: m.check.width}
	g.mean, g.variance = o.grid("theta_", g.classes, g.cols), o.grid("var_", g.classes, g.cols)
	prior := o.vector("class_prior_", g.classes)
	if o.ok() && (o.array("var_").kind != kindFloat || o.array("theta_").kind != kindFloat) {
		o.fail("var_ and theta_ are not float64")
	}
	if !o.ok() {
		return m
	}
	for k := range g.classes {
		var sum float64
		for _, v := range g.variance[k*g.cols : (k+1)*g.cols] {
			sum += math.Log(2 * math.Pi * v)
		}
		g.constant = append(g.constant, math.Log(prior[k])-0.5*sum)
	}
	c := classifier{labels: classes, decision: g.eval, proba: g.proba(true), logProba: g.proba(false)}
	m.methods = c.methods()
	m.methods["predict"].eval = c.largest()
	delete(m.methods, "decision_function")
	return m
}

// largest takes the class of the largest decision, of two classes too.
func (c classifier) largest() evalFunc {
	width := c.labels.count
	return func(s *scratch, x matrix, out []float64) {
		scores := s.floats.take(x.rows * width)
		c.decision(s, x, scores)
		argmax(scores, width, out)
	}
}

// proba scales the likelihoods to sum 1; without exp, their logarithms.
func (g *gaussian) proba(exp bool) evalFunc {
	return func(s *scratch, x matrix, out []float64) {
		g.eval(s, x, out)
		for i := range x.rows {
			row := out[i*g.classes : (i+1)*g.classes]
			sum := logSumExp(row)
			for k := range row {
				row[k] -= sum
				if exp {
					row[k] = math.Exp(row[k])
				}
			}
		}
	}
}

// logSumExp is log Σ exp, without overflow.
func logSumExp(row []float64) float64 {
	top := math.Inf(-1)
	for _, v := range row {
		top = max(top, v)
	}
	if math.IsInf(top, 0) {
		top = 0
	}
	var sum float64
	for _, v := range row {
		sum += math.Exp(v - top)
	}
	return math.Log(sum) + top
}
