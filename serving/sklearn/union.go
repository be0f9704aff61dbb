package sklearn

import (
	"github.com/slipway-dev/slipway/serving/sklearn/skops"
)

func featureUnion(o *object, in input) (transformer, output) {
	o.ignore("how many processes fit", "n_jobs")
	o.ignore("prints the time of fit", "verbose")
	o.ignore("only names the outputs", "verbose_feature_names_out")
	b := &branches{frame: o.outputConfig(), check: checks{off: true}}
	weights := o.weights("transformer_weights")
	for _, item := range o.tuples("transformer_list", 2) {
		if item[1].Value == "drop" || !o.ok() {
			continue
		}
		o.branch(b, o.nameOf(item[0]), item[1], in, nil, weights)
	}
	if o.ok() && (in.width == 0 && b.width == 0) {
		o.fail("it makes no columns")
	}
	return b, output{width: b.width, sparse: b.sparse, frame: b.frame}
}

// identity hands its input on.
type identity struct{ check checks }

func (t identity) transform(_ *scratch, f *frame) (frame, error) {
	return *f, t.check.run(f)
}

// functionTransformer knows the one without a function, which hands its input
// on. Any other would run the model's code.
func functionTransformer(o *object, in input) (transformer, output) {
	o.ignore("used by inverse_transform", "inverse_func", "check_inverse", "inv_kw_args")
	o.ignore("only names the outputs", "feature_names_out")
	o.ignore("what is taken is known at load", "accept_sparse")
	if n := o.node("func"); o.ok() && !isNone(n) && !o.checksArray(n) {
		o.fail("func=%s would run code", n.Name())
	}
	o.none("kw_args")
	if o.flag("validate") {
		o.fail("validate=True is not known")
	}
	frame := o.outputConfig()
	t := identity{check: checks{off: true}}
	if o.has("n_features_in_") {
		t.check = o.inputs(in)
	}
	if in.width == 0 {
		in.width = t.check.width
	}
	out := output{width: in.width, sparse: in.sparse, frame: in.frame || frame, names: in.names}
	if out.names == nil {
		out.names = t.check.names
	}
	return t, out
}

// checksArray reports whether the function is the check_array that histogram
// gradient boosting puts before its columns of numbers, which changes nothing
// but refuses text.
func (o *object) checksArray(n *skops.Node) bool {
	if n.Kind != skops.Partial || n.Func.Name() != "sklearn.utils.validation.check_array" || len(n.Args.Items) != 0 || len(n.Keywords.Keys) != 2 {
		return false
	}
	dtype, all := n.Keywords.Get("dtype"), n.Keywords.Get("force_all_finite")
	if all == nil {
		all = n.Keywords.Get("ensure_all_finite")
	}
	return dtype != nil && dtype.Kind == skops.List && len(dtype.Items) == 1 && isFloat64(o, dtype.Items[0]) && all != nil && all.Value == false
}

// isFloat64 reports whether the node is numpy.float64 as a class or a dtype.
func isFloat64(o *object, n *skops.Node) bool {
	if n.Kind == skops.DType && n.Args.Items == nil {
		a, err := o.file.Array(n.Args)
		return err == nil && a.DType == "<f8"
	}
	return n.Kind == skops.Type && n.Name() == "numpy.float64"
}
