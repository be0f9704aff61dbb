package sklearn

import "slices"

// forest is the mean of its trees.
type forest struct {
	trees []*tree
	width int
}

// eval sums the trees' values in their order and divides, as scikit-learn does.
func (f *forest) eval(_ *scratch, x matrix, out []float64) {
	clear(out)
	for i := range x.rows {
		row, sum := x.row(i), out[i*f.width:(i+1)*f.width]
		for _, t := range f.trees {
			values := t.at(row)
			for k, v := range values[:len(sum)] {
				sum[k] += v
			}
		}
	}
	n := float64(len(f.trees))
	for i := range out {
		out[i] /= n
	}
}

// forest reads estimators_, trees that take and answer what the forest does.
func (o *object) forest(in input, m *model, classes []*labels, counts []int) *forest {
	f := &forest{}
	for _, k := range counts {
		f.width += k
	}
	estimators := o.list("estimators_")
	if o.ok() && len(estimators) == 0 {
		o.fail("it has no trees")
	}
	for i, n := range estimators {
		if !o.ok() {
			return f
		}
		member := o.open(n, o.inside("estimators_["+itoa(i)+"]"))
		if i == 0 && o.minor >= 4 {
			m.finite = member.takesNaN(in, member.isExtra())
		} else {
			member.ignore("the first tree says whether missing values are taken, since 1.4", "criterion", "splitter", "monotonic_cst")
		}
		t := member.member(m, classes, counts)
		if classes != nil && o.minor == 3 && o.ok() {
			t.shares(counts)
		}
		f.trees = append(f.trees, t)
	}
	return f
}

// member reads one tree of a forest.
func (o *object) member(m *model, classes []*labels, counts []int) *tree {
	switch o.name {
	case "sklearn.tree._classes.DecisionTreeClassifier", "sklearn.tree._classes.ExtraTreeClassifier":
		if _, own := o.treeOutputs(); o.ok() && (classes == nil || !slices.Equal(own, counts)) {
			o.fail("its outputs are not those of the forest")
		}
	case "sklearn.tree._classes.DecisionTreeRegressor", "sklearn.tree._classes.ExtraTreeRegressor":
		if own := o.regressionOutputs(); o.ok() && (classes != nil || !slices.Equal(own, counts)) {
			o.fail("its outputs are not those of the forest")
		}
	default:
		o.fail("it is no tree")
	}
	o.treeFit()
	if width := o.int("n_features_in_"); o.ok() && width != m.check.width {
		o.fail("it takes %d columns, the forest %d", width, m.check.width)
	}
	o.ignore("the forest names the columns", "feature_names_in_")
	t := o.tree(m.check.width, counts)
	o.done()
	return t
}

func (o *object) forestFit() {
	o.treeFit()
	o.ignore(fitting, "criterion", "monotonic_cst")
}

func forestClassifier(o *object, in input) *model {
	o.forestFit()
	m := &model{check: o.inputs(in), single: true}
	all, counts := o.treeOutputs()
	f := o.forest(in, m, all, counts)
	m.methods = treeMethods(all, counts, f.eval, f.eval)
	return m
}

func forestRegressor(o *object, in input) *model {
	o.forestFit()
	m := &model{check: o.inputs(in), single: true}
	counts := o.regressionOutputs()
	f := o.forest(in, m, nil, counts)
	m.methods = regressorMethods(len(counts), f.eval)
	return m
}
