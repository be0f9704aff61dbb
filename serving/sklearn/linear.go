package sklearn

import (
	"github.com/slipway-dev/slipway/serving/sklearn/skops"
)

// linear holds the coefficients of rows outputs over cols columns.
type linear struct {
	rows, cols int
	coef       []float64 // row-major
	intercept  []float64
	single     bool // stored as float32
}

// eval writes coef·x + intercept, rows numbers a row of x.
func (l *linear) eval(_ *scratch, x matrix, out []float64) {
	for i := range x.rows {
		row := x.row(i)
		for k := range l.rows {
			coef := l.coef[k*l.cols:][:len(row)]
			var sum float64
			for j, v := range row {
				sum += v * coef[j]
			}
			out[i*l.rows+k] = sum + l.intercept[k]
		}
	}
}

// linear reads coef_ and intercept_; rows and columns must be what they say.
func (o *object) linear(width int) (l *linear, flat bool) {
	l = &linear{cols: width, rows: 1}
	a := o.array("coef_")
	if !o.ok() {
		return l, false
	}
	l.coef, l.single = a.floats, a.kind == kindSingle
	flat = len(a.shape) == 1
	if len(a.shape) == 2 {
		l.rows = a.shape[0]
	}
	if a.floats == nil || len(a.shape) > 2 || len(a.shape) == 0 || a.shape[len(a.shape)-1] != width || l.rows == 0 {
		o.fail("coef_ has shape %v for %d columns", a.shape, width)
		return l, flat
	}
	l.intercept = o.intercept(l.rows)
	return l, flat
}

// intercept reads one number an output, or one for all.
func (o *object) intercept(rows int) []float64 {
	n := o.node("intercept_")
	if !o.ok() {
		return nil
	}
	if n.Kind == skops.Scalar {
		return repeat(asFloat(o.scalarOf("intercept_", n)), rows)
	}
	values, _ := o.floatsOf("intercept_", n)
	switch {
	case len(values) == rows:
		return values
	case len(values) == 1:
		return repeat(values[0], rows)
	}
	o.fail("intercept_ does not fit coef_")
	return nil
}

func repeat(v float64, n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = v
	}
	return out
}

const (
	fitting = "only fit reads it"
	record  = "a record of how the fit went"
)

// linearFit passes over what the fits of linear models read and record.
func (o *object) linearFit() {
	o.ignore(fitting, "fit_intercept", "copy_X", "n_jobs", "positive", "alpha", "max_iter", "tol", "solver", "random_state",
		"precompute", "warm_start", "selection", "l1_ratio", "eps", "n_alphas", "alphas", "cv", "verbose", "scoring",
		"gcv_mode", "store_cv_results", "store_cv_values", "alpha_per_target", "C", "loss", "epsilon", "dual",
		"intercept_scaling", "penalty", "learning_rate", "eta0", "power_t", "early_stopping", "validation_fraction",
		"n_iter_no_change", "average", "shuffle", "class_weight", "multi_class", "Cs", "refit", "l1_ratios", "use_legacy_attributes")
	o.ignore(record, "n_iter_", "dual_gap_", "rank_", "singular_", "alpha_", "alphas_", "mse_path_", "l1_ratio_", "best_score_",
		"cv_results_", "cv_values_", "solver_", "t_", "scores_", "coefs_paths_", "C_", "Cs_", "l1_ratios_", "_expanded_class_weight", "eps_", "_store_cv_results", "_alphas")
	o.ignore("what averaged SGD trains on; coef_ and intercept_ hold the result", "standard_coef_", "standard_intercept_",
		"_standard_coef", "_standard_intercept", "_average_coef", "_average_intercept", "average_coef_", "average_intercept_", "sparse_coef_", "optimal_learning_rate_")
}

func linearRegressor(o *object, in input) *model {
	o.linearFit()
	o.sgdLoss()
	m := &model{check: o.inputs(in)}
	l, flat := o.linear(m.check.width)
	if o.name == "sklearn.svm._classes.LinearSVR" || o.name == "sklearn.linear_model._stochastic_gradient.SGDRegressor" {
		flat = true
		if l.rows != 1 {
			o.fail("coef_ has %d rows", l.rows)
		}
	}
	m.methods = map[string]*method{"predict": {width: l.rows, eval: l.eval,
		parts: []part{{width: l.rows, flat: flat, single: l.single}}}}
	return m
}

// sgdLoss passes over the loss function SGD keeps from its fit.
func (o *object) sgdLoss() {
	o.ignore("the function fit minimised", "loss_function_", "_loss_function_")
}

// generalLinearRegressor answers the inverse link of a linear prediction.
func generalLinearRegressor(o *object, in input) *model {
	o.linearFit()
	m := &model{check: o.inputs(in)}
	l, _ := o.linear(m.check.width)
	if l.rows != 1 {
		o.fail("coef_ has %d rows", l.rows)
	}
	eval := l.eval
	if o.hasLogLink() {
		eval = exponentials(l.eval)
	}
	m.methods = map[string]*method{"predict": {width: 1, eval: eval, parts: []part{{width: 1, flat: true, single: l.single}}}}
	return m
}

// hasLogLink tells the link by the loss that fit stored.
func (o *object) hasLogLink() bool {
	o.ignore("fit made _base_loss of them", "power", "link")
	_, link := o.loss("_base_loss")
	if o.ok() && link != "LogLink" && link != "IdentityLink" {
		o.fail("its loss is not known")
	}
	return link == "LogLink"
}

// outputs is how many probabilities a row has.
func (l *linear) outputs() int {
	if l.rows == 1 {
		return 2
	}
	return l.rows
}
