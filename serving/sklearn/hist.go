package sklearn

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/slipway-dev/slipway/serving/sklearn/skops"
)

// histTree is a tree of histogram gradient boosting. Inputs are compared as
// float64; missing values and unknown categories go where the node says.
type histTree struct {
	nodes []histNode
	bits  []bitset // categories that go left, of the nodes that ask for one
}

type histNode struct {
	value       float64 // of a leaf, else the threshold
	left, right int32   // a leaf has left < 0
	feature     int32
	set         int32 // index into bits; -1: a number is compared
	missingLeft bool
}

// bitset holds the categories 0 to 255.
type bitset [8]uint32

func (b *bitset) has(category uint8) bool { return b[category>>5]>>(category&31)&1 != 0 }

// predict returns the value of the leaf. known are the categories of each
// column; nil for a column of numbers.
func (t *histTree) predict(row []float64, known []*bitset) float64 {
	at := int32(0)
	for {
		n := &t.nodes[at]
		if n.left < 0 {
			return n.value
		}
		if n.goesLeft(row[n.feature], t, known) {
			at = n.left
		} else {
			at = n.right
		}
	}
}

func (n *histNode) goesLeft(v float64, t *histTree, known []*bitset) bool {
	switch {
	case v != v:
		return n.missingLeft
	case n.set < 0:
		return v <= n.value
	case v < 0:
		return n.missingLeft
	case t.bits[n.set].has(uint8(v)):
		return true
	case known[n.feature].has(uint8(v)):
		return false
	}
	return n.missingLeft
}

// histogram is the sum of trees, outputs of them an iteration, and a baseline.
type histogram struct {
	outputs  int
	baseline []float64
	trees    []*histTree
	known    []*bitset // by column
}

func (h *histogram) eval(_ *scratch, x matrix, out []float64) {
	for i := range x.rows {
		row, raw := x.row(i), out[i*h.outputs:(i+1)*h.outputs]
		copy(raw, h.baseline)
		for n, t := range h.trees {
			raw[n%h.outputs] += t.predict(row, h.known)
		}
	}
}

// histogram reads what classifiers and regressors share. The model gets the
// preprocessor as its step, where there is one.
func (o *object) histogram(in input) (*histogram, *model) {
	o.ignore(fitting, "learning_rate", "max_iter", "max_leaf_nodes", "max_depth", "min_samples_leaf", "l2_regularization",
		"max_features", "max_bins", "monotonic_cst", "interaction_cst", "categorical_features", "warm_start", "early_stopping",
		"scoring", "validation_fraction", "n_iter_no_change", "tol", "verbose", "random_state", "class_weight", "quantile")
	o.ignore(record, "_random_seed", "_feature_subsample_rng", "do_early_stopping_", "_use_validation_data", "_scorer",
		"train_score_", "validation_score_", "_raw_predictions", "_in_fit")
	o.ignore("the trees hold it", "_n_features")
	o.ignore("how fit sorted the columns; _bin_mapper holds which are categorical", "is_categorical_", "_is_categorical_remapped")
	o.ignore("how fit coded the classes", "_label_encoder")
	m := &model{check: o.inputs(in), finite: anything}
	h := &histogram{outputs: o.int("n_trees_per_iteration_")}
	if o.ok() && (h.outputs < 1 || h.outputs > maxColumns) {
		o.fail("n_trees_per_iteration_ is out of range")
	}
	baseline, _ := o.floats("_baseline_prediction")
	if o.ok() && len(baseline) != h.outputs {
		o.fail("_baseline_prediction is not one an output")
	}
	h.baseline = baseline
	o.preprocessor(m, in)
	o.binMapper(h, m)
	o.predictors(h, m.check.width)
	return h, m
}

// preprocessor reads the ColumnTransformer that codes categories, since
// scikit-learn 1.4. It checks the request's columns itself.
func (o *object) preprocessor(m *model, in input) {
	if o.minor < 4 {
		return
	}
	n := o.node("_preprocessor")
	if isNone(n) || !o.ok() {
		return
	}
	if n.Name() != "sklearn.compose._column_transformer.ColumnTransformer" {
		o.fail("its preprocessor is not known")
		return
	}
	t, out := o.transformer(n, in, o.inside("_preprocessor"))
	if o.ok() && out.width != m.check.width {
		o.fail("its preprocessor makes %d columns instead of %d", out.width, m.check.width)
	}
	if !o.ok() {
		return
	}
	if own := t.(*branches).names; m.check.names != nil && !slices.Equal(own, m.check.names) {
		o.fail("its feature_names_in_ are not its preprocessor's")
	}
	m.steps, m.check.off = []transformer{t}, true
}

// binMapper reads which columns are categorical and their known categories.
func (o *object) binMapper(h *histogram, m *model) {
	n := o.node("_bin_mapper")
	if !o.ok() {
		return
	}
	b := o.open(n, o.inside("_bin_mapper"))
	b.ignore(fitting, "n_bins", "subsample", "is_categorical", "known_categories", "random_state", "n_threads")
	b.ignore("used on binned data only, which is in fit", "missing_values_bin_idx_", "n_bins_non_missing_")
	flags, thresholds := b.array("is_categorical_"), b.list("bin_thresholds_")
	if b.ok() && (len(flags.shape) != 1 || flags.size != m.check.width || len(thresholds) != m.check.width || flags.floats == nil) {
		b.fail("it is not for %d columns", m.check.width)
	}
	h.known = make([]*bitset, m.check.width)
	for j := range h.known {
		if !b.ok() {
			return
		}
		if flags.floats[j] == 0 {
			continue
		}
		h.known[j] = b.categoriesOf(thresholds[j])
		if len(m.steps) == 0 {
			m.guards = append(m.guards, j)
		}
	}
	b.done()
}

func (o *object) categoriesOf(n *skops.Node) *bitset {
	values, _ := o.floatsOf("bin_thresholds_", n)
	set := &bitset{}
	for _, v := range values {
		if v != math.Trunc(v) || v < 0 || v > 255 {
			o.fail("a category is not in 0 to 255")
			return set
		}
		set[uint8(v)>>5] |= 1 << (uint8(v) & 31)
	}
	return set
}

func (o *object) predictors(h *histogram, columns int) {
	for i, iteration := range o.list("_predictors") {
		trees := o.listOf("_predictors", iteration)
		if o.ok() && len(trees) != h.outputs {
			o.fail("iteration %d has %d trees instead of %d", i, len(trees), h.outputs)
		}
		for k, n := range trees {
			if !o.ok() {
				return
			}
			p := o.openPlain(n, o.inside("_predictors["+itoa(i)+","+itoa(k)+"]"))
			if n.Class != "TreePredictor" {
				p.fail("it is no tree")
			}
			h.trees = append(h.trees, p.predictor(h, columns))
			p.done()
		}
	}
}

func (o *object) predictor(h *histogram, columns int) *histTree {
	o.ignore("used on binned data only, which is in fit", "binned_left_cat_bitsets")
	t := &histTree{bits: o.bitsets()}
	n := o.node("nodes")
	if !o.ok() {
		return t
	}
	o.spend(1)
	a, err := o.file.Array(n)
	if err != nil {
		o.wrap("nodes", err)
		return t
	}
	fields, ok := o.histFields(a)
	if !ok || len(a.Shape) != 1 || a.Size < 1 || a.Size > math.MaxInt32 {
		o.fail("its nodes are not known")
		return t
	}
	o.spend(a.Size)
	t.nodes = make([]histNode, a.Size)
	for i := range t.nodes {
		n := &t.nodes[i]
		if !n.read(a.Data[i*a.Item:(i+1)*a.Item], fields, i, a.Size) ||
			n.left >= 0 && (int(n.feature) >= columns || n.set >= 0 && (int(n.set) >= len(t.bits) || h.known[n.feature] == nil)) {
			o.fail("node %d leads nowhere", i)
			return t
		}
		if n.left >= 0 && n.set < 0 {
			o.cut(int(n.feature), n.value)
		}
	}
	return t
}

func (o *object) bitsets() []bitset {
	a := o.array("raw_left_cat_bitsets")
	if !o.ok() || len(a.shape) != 2 || a.shape[1] != 8 || a.dtype != "<u4" {
		o.fail("raw_left_cat_bitsets is not known")
		return nil
	}
	sets := make([]bitset, a.shape[0])
	for i := range a.size {
		sets[i/8][i%8] = uint32(a.ints[i])
	}
	return sets
}

var histFieldTypes = []struct{ name, dtype string }{
	{"value", "<f8"}, {"count", "<u4"}, {"feature_idx", "<i8"}, {"num_threshold", "<f8"}, {"missing_go_to_left", "|u1"},
	{"left", "<u4"}, {"right", "<u4"}, {"gain", "<f8"}, {"depth", "<u4"}, {"is_leaf", "|u1"}, {"bin_threshold", "|u1"},
	{"is_categorical", "|u1"}, {"bitset_idx", "<u4"},
}

// histFields returns where the fields of a node are; no others may be there.
func (o *object) histFields(a *skops.Array) (map[string]int, bool) {
	at := map[string]int{}
	for _, f := range histFieldTypes {
		field, err := a.Field(f.name, f.dtype)
		o.wrap("nodes", err)
		at[f.name] = field.Offset
	}
	return at, o.ok() && len(a.Fields) == len(histFieldTypes)
}

// read reads one node and reports whether it is sound.
func (n *histNode) read(item []byte, at map[string]int, self, count int) bool {
	float := func(name string) float64 {
		return math.Float64frombits(binary.LittleEndian.Uint64(item[at[name]:]))
	}
	flag := func(name string) bool { return item[at[name]] != 0 }
	n.set = -1
	if flag("is_leaf") {
		n.left, n.value = -1, float("value")
		return item[at["is_leaf"]] == 1
	}
	left, right := binary.LittleEndian.Uint32(item[at["left"]:]), binary.LittleEndian.Uint32(item[at["right"]:])
	feature := int64(binary.LittleEndian.Uint64(item[at["feature_idx"]:]))
	set := binary.LittleEndian.Uint32(item[at["bitset_idx"]:])
	n.value, n.missingLeft = float("num_threshold"), flag("missing_go_to_left")
	if flag("is_categorical") {
		if set > math.MaxInt32 {
			return false
		}
		n.set = int32(set)
	} else if math.IsNaN(n.value) {
		return false
	}
	inside := func(child uint32) bool { return int64(child) > int64(self) && int64(child) < int64(count) }
	if !inside(left) || !inside(right) || feature < 0 || feature > math.MaxInt32 || item[at["missing_go_to_left"]] > 1 || item[at["is_categorical"]] > 1 {
		return false
	}
	n.left, n.right, n.feature = int32(left), int32(right), int32(feature)
	return true
}

func histClassifier(o *object, in input) *model {
	h, m := o.histogram(in)
	o.choice("loss", "log_loss")
	classes := o.classes()
	o.histLoss(map[bool]string{true: "HalfBinomialLoss", false: "HalfMultinomialLoss"}[classes.count == 2])
	outputs := classes.count
	if classes.count == 2 {
		outputs = 1
	}
	if o.ok() && (h.outputs != outputs || classes.count < 2) {
		o.fail("it has %d trees an iteration for %d classes", h.outputs, classes.count)
	}
	c := classifier{labels: classes, decision: h.eval, proba: softmaxOf(h.eval, classes.count)}
	if classes.count == 2 {
		c.proba = expitOf(h.eval, 1)
	}
	c.byProba = o.minor <= 4
	m.methods = c.methods()
	return m
}

func histRegressor(o *object, in input) *model {
	h, m := o.histogram(in)
	if o.ok() && h.outputs != 1 {
		o.fail("it has %d outputs", h.outputs)
	}
	eval := h.eval
	loss := o.choice("loss", "squared_error", "absolute_error", "quantile", "poisson", "gamma")
	o.histLoss(map[string]string{"squared_error": "HalfSquaredError", "absolute_error": "AbsoluteError", "quantile": "PinballLoss",
		"poisson": "HalfPoissonLoss", "gamma": "HalfGammaLoss"}[loss])
	if loss == "poisson" || loss == "gamma" {
		eval = exponentials(h.eval)
	}
	m.methods = regressorMethods(1, eval)
	return m
}

// histLoss checks that the stored loss is the one wanted.
func (o *object) histLoss(want string) {
	if class, _ := o.loss("_loss"); o.ok() && class != want {
		o.fail("its loss is %s instead of %s", class, want)
	}
}

// exponentials answers through the inverse of the log link.
func exponentials(raw evalFunc) evalFunc {
	return func(s *scratch, x matrix, out []float64) {
		raw(s, x, out)
		for i := range out {
			out[i] = math.Exp(out[i])
		}
	}
}
