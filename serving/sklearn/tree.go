package sklearn

import (
	"encoding/binary"
	"math"

	"github.com/slipway-dev/slipway/serving/sklearn/skops"
)

// A tree is a decision tree of scikit-learn's Tree. Inputs are compared as
// float32 with a float64 threshold; a row for which the comparison holds goes
// left. A missing value goes where the node says.
type tree struct {
	nodes  []treeNode
	values []float64 // width numbers a node, of leaves
	width  int
}

// treeNode is an inner node, or a leaf with left < 0. Children come after
// their parent, so that every descent ends.
type treeNode struct {
	threshold   float64
	left, right int32
	feature     int32
	missingLeft bool
}

// leaf returns the index of the leaf the row falls into.
func (t *tree) leaf(row []float64) int {
	at := int32(0)
	for {
		n := &t.nodes[at]
		if n.left < 0 {
			return int(at)
		}
		v := row[n.feature]
		if v <= n.threshold || n.missingLeft && v != v {
			at = n.left
		} else {
			at = n.right
		}
	}
}

// at returns the values of the leaf of a row.
func (t *tree) at(row []float64) []float64 {
	leaf := t.leaf(row)
	return t.values[leaf*t.width : (leaf+1)*t.width]
}

// tree reads a Tree object for inputs of the columns. classes are the numbers
// of classes by output, 1 of a regressor; their values stand side by side.
func (o *object) tree(columns int, classes []int) *tree {
	return o.treeOf("tree_", o.node("tree_"), columns, classes)
}

func (o *object) treeOf(name string, n *skops.Node, columns int, classes []int) *tree {
	if !o.ok() {
		return &tree{}
	}
	if n.Kind != skops.Reduced || n.Name() != "sklearn.tree._tree.Tree" || n.Args == nil || n.Attrs == nil || n.Attrs.Kind != skops.Dict {
		o.fail("%s is no tree", name)
		return &tree{}
	}
	in := &object{compiler: o.compiler, name: n.Name(), path: o.inside(name), attrs: n.Attrs, read: make([]bool, len(n.Attrs.Keys))}
	in.treeArguments(n.Args, columns, classes)
	t := &tree{}
	count := in.int("node_count")
	in.ignore("what the fit came to", "max_depth")
	in.treeNodes(t, count, columns)
	in.treeValues(t, count, classes)
	in.done()
	return t
}

// treeArguments checks the constructor's arguments: the number of columns, the
// numbers of classes and the number of outputs.
func (o *object) treeArguments(args *skops.Node, columns int, classes []int) {
	if len(args.Items) != 3 {
		o.fail("its arguments are not known")
		return
	}
	counts := o.arrayOf("n_classes", args.Items[1])
	if !o.ok() {
		return
	}
	same := counts.kind == kindInt && counts.size == len(classes)
	for i := 0; same && i < len(classes); i++ {
		same = counts.ints[i] == int64(classes[i])
	}
	if !same || o.scalarOf("n_features", args.Items[0]) != int64(columns) || o.scalarOf("n_outputs", args.Items[2]) != int64(len(classes)) {
		o.fail("its columns, classes and outputs are not those of its estimator")
	}
}

var treeFields = []struct{ name, dtype string }{
	{"left_child", "<i8"}, {"right_child", "<i8"}, {"feature", "<i8"}, {"threshold", "<f8"}, {"impurity", "<f8"},
	{"n_node_samples", "<i8"}, {"weighted_n_node_samples", "<f8"}, {"missing_go_to_left", "|u1"},
}

func (o *object) treeNodes(t *tree, count, columns int) {
	n := o.node("nodes")
	if !o.ok() {
		return
	}
	o.spend(1)
	a, err := o.file.Array(n)
	if err != nil {
		o.wrap("nodes", err)
		return
	}
	at := map[string]int{}
	for _, f := range treeFields {
		field, err := a.Field(f.name, f.dtype)
		o.wrap("nodes", err)
		at[f.name] = field.Offset
	}
	known := len(treeFields)
	if len(a.Fields) > known && a.Fields[known].Name != "" || len(a.Fields) > known+1 {
		o.fail("its nodes have fields that are not known")
	}
	if !o.ok() || len(a.Shape) != 1 || a.Size != count || count < 1 || count > math.MaxInt32 {
		o.fail("it has no nodes, or not as many as it says")
		return
	}
	o.spend(count)
	t.nodes = make([]treeNode, count)
	offset := [5]int{at["left_child"], at["right_child"], at["feature"], at["threshold"], at["missing_go_to_left"]}
	for i := range t.nodes {
		if !t.nodes[i].read(a.Data[i*a.Item:(i+1)*a.Item], offset, i, count, columns) {
			o.fail("node %d leads nowhere", i)
			return
		}
		if n := &t.nodes[i]; n.left >= 0 {
			o.cut(int(n.feature), n.threshold)
		}
	}
}

// read reads one node and reports whether it is sound.
func (n *treeNode) read(item []byte, at [5]int, self, count, columns int) bool {
	left := int64(binary.LittleEndian.Uint64(item[at[0]:]))
	right := int64(binary.LittleEndian.Uint64(item[at[1]:]))
	feature := int64(binary.LittleEndian.Uint64(item[at[2]:]))
	if left == -1 {
		n.left, n.right = -1, -1
		return right == -1
	}
	inside := func(child int64) bool { return child > int64(self) && child < int64(count) }
	n.threshold = math.Float64frombits(binary.LittleEndian.Uint64(item[at[3]:]))
	n.missingLeft = item[at[4]] != 0
	if !inside(left) || !inside(right) || feature < 0 || feature >= int64(columns) || math.IsNaN(n.threshold) || item[at[4]] > 1 {
		return false
	}
	n.left, n.right, n.feature = int32(left), int32(right), int32(feature)
	return true
}

// treeValues reads the values, which are stored as nodes × outputs × the most
// classes, and keeps those that mean something.
func (o *object) treeValues(t *tree, count int, classes []int) {
	values, shape := o.floats("values")
	most := 0
	for _, k := range classes {
		most = max(most, k)
		t.width += k
	}
	if !o.ok() || len(shape) != 3 || shape[0] != count || shape[1] != len(classes) || shape[2] != most {
		o.fail("its values have shape %v for %d nodes", shape, count)
		return
	}
	if t.width == len(classes)*most {
		t.values = values
		return
	}
	for i := range count {
		for k, n := range classes {
			t.values = append(t.values, values[(i*len(classes)+k)*most:][:n]...)
		}
	}
}

// shares turns counts of classes into fractions, output by output: Trees of
// scikit-learn 1.3 hold counts, and its predict_proba divides by their sum.
func (t *tree) shares(classes []int) {
	for i := 0; i < len(t.values); {
		for _, k := range classes {
			row := t.values[i : i+k]
			var sum float64
			for _, v := range row {
				sum += v
			}
			for j := range row {
				if sum != 0 {
					row[j] /= sum
				}
			}
			i += k
		}
	}
}

// treeFit passes over what only the fit of trees and forests reads.
func (o *object) treeFit() {
	o.ignore(fitting, "max_depth", "min_samples_split", "min_samples_leaf", "min_weight_fraction_leaf", "max_features",
		"max_leaf_nodes", "random_state", "min_impurity_decrease", "class_weight", "ccp_alpha", "bootstrap", "oob_score",
		"n_jobs", "verbose", "warm_start", "max_samples", "n_estimators", "estimator", "base_estimator", "estimator_", "base_estimator_", "estimator_params", "_estimator_type")
	o.ignore(record, "max_features_", "_n_samples", "_n_samples_bootstrap", "oob_score_", "oob_decision_function_", "oob_prediction_", "_sample_weight")
}

// takesNaN reports whether a tree takes missing values, by version, as its tag
// allow_nan and _support_missing_values do.
func (o *object) takesNaN(in input, extra bool) finiteness {
	if o.allowsNaN(in, extra) {
		return nanToo
	}
	return finite
}

func (o *object) allowsNaN(in input, extra bool) bool {
	if in.sparse {
		o.ignore("a sparse matrix has no missing values", "criterion", "splitter", "monotonic_cst")
		return false
	}
	splitter := o.choice("splitter", "best", "random")
	if o.minor >= 9 {
		o.ignore("since 1.9 the splitter alone says whether missing values are taken", "criterion", "monotonic_cst")
		return splitter == "random" || !extra
	}
	free := o.choice("criterion", "gini", "entropy", "log_loss", "squared_error", "friedman_mse", "poisson", "absolute_error") != "absolute_error"
	if o.minor >= 4 && !isNone(o.node("monotonic_cst")) {
		free = false
	}
	if o.minor <= 5 {
		return splitter == "best" && free
	}
	return (splitter == "random" || splitter == "best" && !extra) && free
}

// treeOutputs reads the outputs of a tree's or forest's estimator: the classes
// of each, or none of a regressor.
func (o *object) treeOutputs() (all []*labels, counts []int) {
	outputs := o.int("n_outputs_")
	if !o.ok() || outputs < 1 || outputs > 1<<16 {
		o.fail("n_outputs_ is out of range")
		return nil, nil
	}
	classes, number := o.node("classes_"), o.node("n_classes_")
	if outputs == 1 {
		l := o.labels("classes_", classes)
		if o.ok() && o.scalarOf("n_classes_", number) != int64(l.count) {
			o.fail("n_classes_ is not the number of classes_")
		}
		return []*labels{l}, []int{l.count}
	}
	items, numbers := o.listOf("classes_", classes), o.numbersOf("n_classes_", number)
	if !o.ok() || len(items) != outputs || len(numbers) != outputs {
		o.fail("classes_ and n_classes_ are not one an output")
		return nil, nil
	}
	for k, item := range items {
		l := o.labels("classes_", item)
		if o.ok() && int(numbers[k]) != l.count {
			o.fail("n_classes_ is not the number of classes_")
		}
		if k > 0 && l.kind != all[0].kind {
			o.fail("its outputs have classes of different types")
		}
		all, counts = append(all, l), append(counts, l.count)
	}
	return all, counts
}

// numbersOf returns an array or list of numbers.
func (o *object) numbersOf(name string, n *skops.Node) []float64 {
	if n.Kind != skops.List {
		v, _ := o.floatsOf(name, n)
		return v
	}
	var out []float64
	for _, item := range n.Items {
		out = append(out, asFloat(o.scalarOf(name, item)))
	}
	return out
}

func (o *object) isExtra() bool {
	return o.name == "sklearn.tree._classes.ExtraTreeClassifier" || o.name == "sklearn.tree._classes.ExtraTreeRegressor"
}

func treeClassifier(o *object, in input) *model {
	o.treeFit()
	m := &model{check: o.inputs(in), single: true, finite: o.takesNaN(in, o.isExtra())}
	all, counts := o.treeOutputs()
	if !o.ok() {
		return m
	}
	t := o.tree(m.check.width, counts)
	raw := *t
	if o.minor == 3 && o.ok() {
		t.values = append([]float64(nil), t.values...)
		t.shares(counts)
	}
	m.methods = treeMethods(all, counts, single(&raw), single(t))
	return m
}

// single evaluates one tree.
func single(t *tree) evalFunc {
	return func(_ *scratch, x matrix, out []float64) {
		for i := range x.rows {
			copy(out[i*t.width:(i+1)*t.width], t.at(x.row(i)))
		}
	}
}

// treeMethods answers by what votes and proba give a class of an output.
func treeMethods(all []*labels, counts []int, votes, proba evalFunc) map[string]*method {
	width := 0
	var parts []part
	for _, k := range counts {
		width += k
		parts = append(parts, part{width: k})
	}
	outputs := len(counts)
	list := outputs > 1
	return map[string]*method{
		"predict":           {width: outputs, eval: choose(votes, counts, width), parts: []part{{width: outputs, flat: !list, labels: all}}},
		"predict_proba":     {width: width, eval: proba, parts: parts, list: list},
		"predict_log_proba": {width: width, eval: logarithm(proba, false), parts: parts, list: list},
	}
}

// choose takes the class with the largest vote of each output.
func choose(votes evalFunc, counts []int, width int) evalFunc {
	return func(s *scratch, x matrix, out []float64) {
		all := s.floats.take(x.rows * width)
		votes(s, x, all)
		for i := range x.rows {
			row := all[i*width : (i+1)*width]
			for k, n := range counts {
				argmax(row[:n], n, out[i*len(counts)+k:][:1])
				row = row[n:]
			}
		}
	}
}

func treeRegressor(o *object, in input) *model {
	o.treeFit()
	m := &model{check: o.inputs(in), single: true, finite: o.takesNaN(in, o.isExtra())}
	counts := o.regressionOutputs()
	t := o.tree(m.check.width, counts)
	m.methods = regressorMethods(len(counts), single(t))
	return m
}

// regressionOutputs returns a 1 for each output.
func (o *object) regressionOutputs() []int {
	outputs := o.int("n_outputs_")
	if !o.ok() || outputs < 1 || outputs > 1<<16 {
		o.fail("n_outputs_ is out of range")
		return nil
	}
	counts := make([]int, outputs)
	for i := range counts {
		counts[i] = 1
	}
	return counts
}

func regressorMethods(outputs int, eval evalFunc) map[string]*method {
	return map[string]*method{"predict": {width: outputs, eval: eval, parts: []part{{width: outputs, flat: outputs == 1}}}}
}
