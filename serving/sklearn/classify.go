package sklearn

import (
	"math"

	"github.com/slipway-dev/slipway/serving"
	"github.com/slipway-dev/slipway/serving/sklearn/skops"
)

// labels are the classes of one output, by index.
type labels struct {
	kind    serving.Kind
	count   int
	texts   []string
	ints    []int64
	floats  []float64
	boolean []bool
}

// labels reads an array of classes.
func (o *object) labels(name string, n *skops.Node) *labels {
	a := o.arrayOf(name, n)
	l := &labels{count: a.size}
	if !o.ok() {
		return l
	}
	if len(a.shape) != 1 || a.size == 0 {
		o.fail("%s has shape %v", name, a.shape)
		return l
	}
	switch a.kind {
	case kindText:
		l.kind, l.texts = serving.String, a.texts
	case kindInt:
		l.kind, l.ints = serving.Int, a.ints
	case kindBool:
		l.kind = serving.Bool
		for _, v := range a.floats {
			l.boolean = append(l.boolean, v != 0)
		}
	case kindFloat:
		l.kind, l.floats = serving.Float, a.floats
	default:
		o.fail("%s holds values of a type that is not known", name)
	}
	return l
}

// classes reads classes_ of a classifier with one output.
func (o *object) classes() *labels { return o.labels("classes_", o.node("classes_")) }

// argmax writes the index of the largest of each row's width numbers, the
// first of equal ones, as numpy.argmax does: NaN counts as largest.
func argmax(values []float64, width int, out []float64) {
	for i := range out {
		row := values[i*width : (i+1)*width]
		best := 0
		for k, v := range row {
			if v > row[best] || v != v && row[best] == row[best] {
				best = k
			}
		}
		out[i] = float64(best)
	}
}

type evalFunc = func(s *scratch, x matrix, out []float64)

// classifier describes a classifier with one output by what it computes.
type classifier struct {
	labels   *labels
	decision evalFunc // width numbers a row, or one for two classes; nil: none
	proba    evalFunc // a number a class; nil: none
	byProba  bool     // predict takes the most probable class, else the largest decision
	single   bool     // float32 when the input is
	logProba evalFunc // nil: the logarithm of proba
}

// methods returns what the classifier can be asked for.
func (c classifier) methods() map[string]*method {
	n := c.labels.count
	m := map[string]*method{"predict": {width: 1, eval: c.predict(), parts: []part{{width: 1, flat: true, labels: []*labels{c.labels}}}}}
	if c.decision != nil {
		width, flat := c.decisionWidth()
		m["decision_function"] = &method{width: width, eval: c.decision, parts: []part{{width: width, flat: flat, single: c.single}}}
	}
	if c.proba != nil {
		logProba := c.logProba
		if logProba == nil {
			logProba = logarithm(c.proba, c.single)
		}
		m["predict_proba"] = &method{width: n, eval: c.proba, parts: []part{{width: n, single: c.single}}}
		m["predict_log_proba"] = &method{width: n, eval: logProba, parts: []part{{width: n, single: c.single}}}
	}
	return m
}

// logarithm is the logarithm of eval, whose numbers are float32 if single and
// the inputs are.
func logarithm(eval evalFunc, single bool) evalFunc {
	return func(s *scratch, x matrix, out []float64) {
		eval(s, x, out)
		for i, v := range out {
			if single && x.single {
				v = float64(float32(v))
			}
			out[i] = math.Log(v)
		}
	}
}

func (c classifier) decisionWidth() (int, bool) {
	if c.labels.count == 2 {
		return 1, true
	}
	return c.labels.count, false
}

func (c classifier) predict() evalFunc {
	values, width := c.proba, c.labels.count
	if !c.byProba {
		values = c.decision
		width, _ = c.decisionWidth()
	}
	return func(s *scratch, x matrix, out []float64) {
		scores := s.floats.take(x.rows * width)
		values(s, x, scores)
		if width > 1 || c.byProba {
			argmax(scores, width, out)
			return
		}
		for i, v := range scores {
			out[i] = 0
			if v > 0 {
				out[i] = 1
			}
		}
	}
}

// expit is the logistic function, without overflow.
func expit(v float64) float64 {
	if v < 0 {
		e := math.Exp(v)
		return e / (1 + e)
	}
	return 1 / (1 + math.Exp(-v))
}

// softmax replaces a row by its exponentials, scaled to sum 1, after taking
// off the largest (sklearn.utils.extmath.softmax).
func softmax(row []float64) {
	top := math.Inf(-1)
	for _, v := range row {
		top = max(top, v)
	}
	var sum float64
	for k, v := range row {
		row[k] = math.Exp(v - top)
		sum += row[k]
	}
	for k := range row {
		row[k] /= sum
	}
}

// spread turns one decision a row, of two classes, into two columns. The
// decisions stand in the first half of out.
func spread(out []float64, rows int, low, high func(float64) float64) {
	for i := rows - 1; i >= 0; i-- {
		v := out[i]
		out[2*i], out[2*i+1] = low(v), high(v)
	}
}

// oneVsRest makes probabilities of decisions, each class by itself, scaled to
// sum 1 (LinearClassifierMixin._predict_proba_lr).
func oneVsRest(l *linear) evalFunc { return scaledToOne(l, expit) }

// scaledToOne squashes the decision of each class to a probability and scales
// these to sum 1; all alike where all are 0.
func scaledToOne(l *linear, squash func(float64) float64) evalFunc {
	return func(s *scratch, x matrix, out []float64) {
		l.eval(s, x, out)
		if l.rows == 1 {
			spread(out, x.rows, func(v float64) float64 { return 1 - squash(v) }, squash)
			return
		}
		for i := range x.rows {
			row := out[i*l.rows : (i+1)*l.rows]
			var sum float64
			for k, v := range row {
				row[k] = squash(v)
				sum += row[k]
			}
			for k := range row {
				if sum == 0 {
					row[k] = 1 / float64(l.rows)
				} else {
					row[k] /= sum
				}
			}
		}
	}
}

// multinomial makes probabilities of decisions by softmax; of one decision d
// by the softmax of (-d, d).
func multinomial(l *linear) evalFunc {
	width := l.outputs()
	return func(s *scratch, x matrix, out []float64) {
		l.eval(s, x, out)
		if l.rows == 1 {
			spread(out, x.rows, func(v float64) float64 { return -v }, func(v float64) float64 { return v })
		}
		for i := range x.rows {
			softmax(out[i*width : (i+1)*width])
		}
	}
}

// linearClassifier reads classes_, coef_ and intercept_.
func (o *object) linearClassifier(m *model) (*labels, *linear) {
	classes := o.classes()
	l, flat := o.linear(m.check.width)
	if o.ok() && (flat || l.outputs() != classes.count || classes.count == 1) {
		o.fail("coef_ has %d rows for %d classes", l.rows, classes.count)
	}
	return classes, l
}

func logisticRegression(o *object, in input) *model {
	ovr := o.logisticOneVsRest()
	o.linearFit()
	m := &model{check: o.inputs(in)}
	classes, l := o.linearClassifier(m)
	c := classifier{labels: classes, decision: l.eval, proba: multinomial(l), single: l.single}
	if ovr(classes.count) {
		c.proba = oneVsRest(l)
	}
	m.methods = c.methods()
	return m
}

// logisticOneVsRest tells how predict_proba turns decisions into
// probabilities: by multi_class and solver until scikit-learn 1.7, since 1.8 by
// the number of classes alone.
func (o *object) logisticOneVsRest() func(classes int) bool {
	if o.minor >= 8 {
		return func(classes int) bool { return classes <= 2 }
	}
	solver, multi := o.text("solver"), o.choice("multi_class", "auto", "ovr", "multinomial", "deprecated", "warn")
	alone := solver == "liblinear" || solver == "newton-cholesky" && o.minor < 6
	return func(classes int) bool {
		switch multi {
		case "ovr", "warn":
			return true
		case "multinomial":
			return false
		}
		return classes <= 2 || alone
	}
}

func ridgeClassifier(o *object, in input) *model {
	o.linearFit()
	m := &model{check: o.inputs(in)}
	n := o.node("_label_binarizer")
	if !o.ok() {
		return m
	}
	b := o.open(n, o.inside("_label_binarizer"))
	b.ignore("how the targets were coded for fit", "neg_label", "pos_label", "sparse_output", "sparse_input_")
	if b.text("y_type_") == "multilabel-indicator" {
		b.fail("several labels a row are not known")
	}
	b.ignore("checked above", "y_type_")
	var classes *labels
	if o.minor >= 8 { // before, classes_ was a property
		b.ignore("classes_ of the classifier holds them", "classes_")
		classes = o.classes()
	} else {
		classes = b.classes()
	}
	b.done()
	l, _ := o.linear(m.check.width)
	if o.ok() && l.outputs() != classes.count {
		o.fail("coef_ has %d rows for %d classes", l.rows, classes.count)
	}
	m.methods = classifier{labels: classes, decision: l.eval, single: l.single}.methods()
	return m
}

func linearSVC(o *object, in input) *model {
	o.linearFit()
	m := &model{check: o.inputs(in)}
	classes, l := o.linearClassifier(m)
	m.methods = classifier{labels: classes, decision: l.eval, single: l.single}.methods()
	return m
}

func sgdClassifier(o *object, in input) *model {
	loss := o.choice("loss", "hinge", "log_loss", "modified_huber", "squared_hinge", "perceptron", "squared_error", "huber",
		"epsilon_insensitive", "squared_epsilon_insensitive")
	o.linearFit()
	o.sgdLoss()
	m := &model{check: o.inputs(in)}
	classes, l := o.linearClassifier(m)
	c := classifier{labels: classes, decision: l.eval, single: l.single}
	switch loss {
	case "log_loss":
		c.proba = oneVsRest(l)
	case "modified_huber":
		c.proba = modifiedHuber(l)
	}
	m.methods = c.methods()
	return m
}

// modifiedHuber makes probabilities of decisions clipped to [-1, 1]
// (SGDClassifier.predict_proba, after Zadrozny and Elkan 2002).
func modifiedHuber(l *linear) evalFunc {
	return scaledToOne(l, func(v float64) float64 { return (min(max(v, -1), 1) + 1) / 2 })
}
