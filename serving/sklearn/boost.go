package sklearn

import (
	"math"

	"github.com/slipway-dev/slipway/serving/sklearn/skops"
)

// boosting adds the scaled values of trees, outputs of them a stage, to what an
// initial estimator says.
type boosting struct {
	outputs int
	rate    float64
	trees   []*tree // stage after stage
	start   evalFunc
}

// eval writes outputs raw predictions a row.
func (b *boosting) eval(s *scratch, x matrix, out []float64) {
	b.start(s, x, out)
	for i := range x.rows {
		row, raw := x.row(i), out[i*b.outputs:(i+1)*b.outputs]
		for n, t := range b.trees {
			raw[n%b.outputs] += b.rate * t.values[t.leaf(row)]
		}
	}
}

func (o *object) boostingFit() {
	o.treeFit()
	o.ignore(fitting, "criterion", "init", "subsample", "alpha", "validation_fraction", "n_iter_no_change", "tol")
	o.ignore(record, "train_score_", "_rng", "oob_improvement_", "oob_scores_", "oob_score_")
}

// stages reads estimators_, an array of stages × outputs regression trees.
func (o *object) stages(b *boosting, columns int) {
	n := o.node("estimators_")
	if !o.ok() || n.Kind != skops.NDArray || n.Items == nil || len(n.Shape) != 2 || n.Shape[1] != b.outputs {
		o.fail("estimators_ is not %d trees a stage", b.outputs)
		return
	}
	if count := o.int("n_estimators_"); o.ok() && count != len(n.Items) {
		o.fail("n_estimators_ is not the number of stages")
	}
	for i, stage := range n.Items {
		trees := o.listOf("estimators_", stage)
		if o.ok() && len(trees) != b.outputs {
			o.fail("stage %d has %d trees instead of %d", i, len(trees), b.outputs)
		}
		for k, tree := range trees {
			if !o.ok() {
				return
			}
			member := o.open(tree, o.inside("estimators_["+itoa(i)+","+itoa(k)+"]"))
			b.trees = append(b.trees, member.stage(columns))
		}
	}
}

func (o *object) stage(columns int) *tree {
	if o.name != "sklearn.tree._classes.DecisionTreeRegressor" {
		o.fail("it is no regression tree")
	}
	o.treeFit()
	o.ignore(fitting, "criterion", "splitter", "monotonic_cst")
	if width := o.int("n_features_in_"); o.ok() && width != columns {
		o.fail("it takes %d columns instead of %d", width, columns)
	}
	if outputs := o.int("n_outputs_"); o.ok() && outputs != 1 {
		o.fail("it has %d outputs", outputs)
	}
	t := o.tree(columns, []int{1})
	o.done()
	return t
}

// initial reads what the boosting starts from: nothing ("zero"), the share of
// each class, a constant, or any estimator known here, which sees the inputs
// as float32. link turns it into raw predictions.
func (o *object) initial(b *boosting, columns int, method string, classes int, link func(in, out []float64)) {
	n := o.node("init_")
	if !o.ok() {
		return
	}
	if n.Kind == skops.Scalar && n.Value == "zero" {
		b.start = func(_ *scratch, _ matrix, out []float64) { clear(out) }
		return
	}
	switch n.Name() {
	case "sklearn.dummy.DummyClassifier", "sklearn.dummy.DummyRegressor":
		in := o.open(n, o.inside("init_"))
		b.start = constantly(in.dummy(classes), link, b.outputs)
		in.done()
		return
	}
	m := o.model(n, input{width: columns}, o.inside("init_"))
	if !o.ok() {
		return
	}
	answer := m.methods[method]
	if answer == nil || len(m.steps) > 0 || answer.width != classes || answer.list || answer.parts[0].labels != nil || answer.parts[0].single {
		o.fail("its initial estimator is not known")
		return
	}
	b.start = func(s *scratch, x matrix, out []float64) {
		values := s.floats.take(x.rows * classes)
		answer.eval(s, x, values)
		for i := range x.rows {
			link(values[i*classes:(i+1)*classes], out[i*b.outputs:(i+1)*b.outputs])
		}
	}
}

func constantly(values []float64, link func(in, out []float64), outputs int) evalFunc {
	raw := make([]float64, outputs)
	if values != nil {
		link(values, raw)
	}
	return func(_ *scratch, x matrix, out []float64) {
		for i := range x.rows {
			copy(out[i*outputs:], raw)
		}
	}
}

// dummy reads an estimator that always answers the same: probabilities of the
// classes, or one number.
func (o *object) dummy(classes int) []float64 {
	o.ignore(fitting, "random_state", "quantile")
	o.ignore("checked by what it is part of", "n_features_in_", "feature_names_in_")
	o.ignore("read at fit; the constants are stored", "constant")
	if outputs := o.int("n_outputs_"); o.ok() && outputs != 1 {
		o.fail("it has %d outputs", outputs)
	}
	if o.name == "sklearn.dummy.DummyRegressor" {
		o.choice("strategy", "mean", "median", "quantile", "constant")
		return o.grid("constant_", 1, 1)
	}
	strategy := o.choice("strategy", "prior")
	if o.text("_strategy") != strategy || o.flag("sparse_output_") {
		o.fail("its strategy is not known")
	}
	o.ignore("only their number matters", "classes_")
	if o.scalar("n_classes_") != int64(classes) {
		o.fail("it does not have %d classes", classes)
	}
	return o.vector("class_prior_", classes)
}

func boostingRegressor(o *object, in input) *model {
	o.boostingFit()
	o.choice("loss", "squared_error", "absolute_error", "huber", "quantile")
	if o.minor == 3 {
		o.ignore("every loss of a regressor predicts the raw value", "_loss")
	} else if _, link := o.loss("_loss"); o.ok() && link != "IdentityLink" {
		o.fail("its loss is not known")
	}
	m := &model{check: o.inputs(in), single: true}
	b := &boosting{outputs: 1, rate: o.float("learning_rate")}
	if o.minor >= 4 && o.int("n_trees_per_iteration_") != 1 {
		o.fail("n_trees_per_iteration_ is not 1")
	}
	o.stages(b, m.check.width)
	o.initial(b, m.check.width, "predict", 1, func(in, out []float64) { out[0] = in[0] })
	m.methods = regressorMethods(1, b.eval)
	return m
}

func boostingClassifier(o *object, in input) *model {
	o.boostingFit()
	m := &model{check: o.inputs(in), single: true}
	classes := o.classes()
	exponential := o.choice("loss", "log_loss", "exponential") == "exponential"
	b := &boosting{outputs: classes.count, rate: o.float("learning_rate")}
	if classes.count == 2 {
		b.outputs = 1
	}
	o.countsOfClasses(b, classes.count)
	o.classifierLoss(exponential, classes.count)
	if exponential && classes.count != 2 || classes.count < 2 {
		o.fail("loss and number of classes do not fit")
	}
	if !o.ok() {
		return m
	}
	o.stages(b, m.check.width)
	o.initial(b, m.check.width, "predict_proba", classes.count, o.boostingLink(exponential, classes.count))
	m.methods = o.boostingMethods(b, classes, exponential)
	return m
}

// classifierLoss checks that the stored loss is the one of the parameter and
// the number of classes.
func (o *object) classifierLoss(exponential bool, classes int) {
	want, old := "HalfMultinomialLoss", "MultinomialDeviance"
	if classes == 2 {
		want, old = "HalfBinomialLoss", "BinomialDeviance"
	}
	if exponential {
		want, old = "ExponentialLoss", "ExponentialLoss"
	}
	if o.minor == 3 {
		if class := o.oldLoss("_loss"); o.ok() && class != old {
			o.fail("its loss is not %s", old)
		}
		return
	}
	if class, _ := o.loss("_loss"); o.ok() && class != want {
		o.fail("its loss is not %s", want)
	}
}

// countsOfClasses checks attributes that repeat the number of classes.
func (o *object) countsOfClasses(b *boosting, classes int) {
	if o.scalar("n_classes_") != int64(classes) {
		o.fail("n_classes_ is not %d", classes)
	}
	if o.minor >= 4 && o.int("n_trees_per_iteration_") != b.outputs {
		o.fail("n_trees_per_iteration_ is not %d", b.outputs)
	}
	o.ignore("what the loss is made with, by fit", "_n_classes")
}

// boostingLink turns probabilities of the initial estimator into raw
// predictions: log odds, half of them for the exponential loss, or logarithms
// (since scikit-learn 1.4 centered).
func (o *object) boostingLink(exponential bool, classes int) func(in, out []float64) {
	eps, centered := 0x1p-23, o.minor >= 4
	if o.minor >= 8 {
		eps = 0x1p-52
	}
	clip := func(p float64) float64 { return min(max(p, eps), 1-eps) }
	if classes == 2 {
		scale := 1.0
		if exponential {
			scale = 0.5
		}
		return func(in, out []float64) {
			p := clip(in[1])
			out[0] = scale * math.Log(p/(1-p))
		}
	}
	return func(in, out []float64) {
		var mean float64
		for k, p := range in {
			out[k] = math.Log(clip(p))
			mean += out[k] / float64(len(in))
		}
		for k := range out {
			if centered {
				out[k] -= mean
			}
		}
	}
}

// boostingMethods answers a classifier. Two classes: until scikit-learn 1.3
// the more probable one, the first of equal ones; since then the second when
// the raw prediction is not negative. The exponential loss always did that.
func (o *object) boostingMethods(b *boosting, classes *labels, exponential bool) map[string]*method {
	c := classifier{labels: classes, decision: b.eval, proba: softmaxOf(b.eval, classes.count)}
	if classes.count == 2 {
		scale := 1.0
		if exponential {
			scale = 2
		}
		c.proba = expitOf(b.eval, scale)
	}
	c.byProba = o.minor == 3 && !exponential
	methods := c.methods()
	if classes.count == 2 && !c.byProba {
		methods["predict"].eval = notNegative(b.eval)
	}
	return methods
}

func notNegative(raw evalFunc) evalFunc {
	return func(s *scratch, x matrix, out []float64) {
		raw(s, x, out)
		for i, v := range out {
			out[i] = 0
			if v >= 0 {
				out[i] = 1
			}
		}
	}
}

// expitOf gives the two probabilities of one raw prediction.
func expitOf(raw evalFunc, scale float64) evalFunc {
	return func(s *scratch, x matrix, out []float64) {
		raw(s, x, out[:x.rows])
		spread(out, x.rows, func(v float64) float64 { return 1 - expit(scale*v) }, func(v float64) float64 { return expit(scale * v) })
	}
}

func softmaxOf(raw evalFunc, width int) evalFunc {
	return func(s *scratch, x matrix, out []float64) {
		raw(s, x, out)
		for i := range x.rows {
			softmax(out[i*width : (i+1)*width])
		}
	}
}
