package sklearn

import "github.com/slipway-dev/slipway/serving/sklearn/skops"

// outputConfig reads what set_output was told: whether frames leave as
// DataFrames.
func (o *object) outputConfig() (frame bool) {
	n := o.optional("_sklearn_output_config")
	if n == nil || !o.ok() {
		return false
	}
	if n.Kind != skops.Dict || len(n.Keys) != 1 || n.Keys[0] != "transform" {
		o.fail("attribute %q is not known", "_sklearn_output_config")
		return false
	}
	switch n.Items[0].Value {
	case "pandas", "polars":
		return true
	case "default", nil:
		return false
	}
	o.fail("attribute %q is not known", "_sklearn_output_config")
	return false
}

// step is a named part of a pipeline or of another composite.
type step struct {
	name string
	node *skops.Node
}

// steps reads a list of tuples (name, estimator, …) of the length.
func (o *object) tuples(attribute string, length int) [][]*skops.Node {
	var out [][]*skops.Node
	for _, item := range o.list(attribute) {
		if item.Kind != skops.Tuple && item.Kind != skops.List || len(item.Items) != length {
			o.fail("attribute %q is not known", attribute)
			return nil
		}
		out = append(out, item.Items)
	}
	return out
}

func (o *object) nameOf(n *skops.Node) string {
	name, ok := n.Value.(string)
	if !ok {
		o.fail("a step's name is no text")
	}
	return name
}

// passes reports whether the step hands its input on unchanged.
func passes(n *skops.Node) bool { return isNone(n) || n.Value == "passthrough" }

// pipelineSteps compiles all steps but the last, and returns the last.
func (o *object) pipelineSteps(in *input) (steps []transformer, last step) {
	o.ignore("caches the transformers of fit", "memory")
	o.ignore("prints the time of fit", "verbose")
	if o.minor >= 6 {
		o.none("transform_input")
	}
	all := o.tuples("steps", 2)
	if o.ok() && len(all) == 0 {
		o.fail("it has no steps")
	}
	for i, item := range all {
		name := o.nameOf(item[0])
		if i == len(all)-1 {
			return steps, step{name, item[1]}
		}
		if passes(item[1]) || !o.ok() {
			continue
		}
		t, out := o.transformer(item[1], *in, o.inside(name))
		if t != nil {
			steps = append(steps, t)
		}
		*in = out.asInput()
	}
	return nil, step{}
}

// inside returns the path of a part of the object.
func (o *object) inside(name string) string {
	return o.path + ", step " + quote(name)
}

func pipelineModel(o *object, in input) *model {
	o.outputConfig()
	steps, last := o.pipelineSteps(&in)
	if !o.ok() {
		return nil
	}
	m := o.model(last.node, in, o.inside(last.name))
	if m == nil {
		return nil
	}
	m.steps = append(steps, m.steps...)
	return m
}

// chain is a pipeline of transformers.
type chain []transformer

func (c chain) transform(s *scratch, f *frame) (frame, error) {
	out := *f
	for _, t := range c {
		var err error
		if out, err = t.transform(s, &out); err != nil {
			return frame{}, err
		}
	}
	return out, nil
}

func pipelineTransformer(o *object, in input) (transformer, output) {
	o.outputConfig()
	steps, last := o.pipelineSteps(&in)
	if !o.ok() {
		return nil, output{}
	}
	if passes(last.node) {
		return chain(steps), output{width: in.width, sparse: in.sparse, frame: in.frame}
	}
	t, out := o.transformer(last.node, in, o.inside(last.name))
	return append(chain(steps), t), out
}
