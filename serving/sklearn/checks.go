package sklearn

import "slices"

// checks is what an estimator asks of its input's columns, as scikit-learn's
// _check_feature_names and _check_n_features do.
type checks struct {
	width int
	names []string // nil: fitted without names
	owner string   // of the estimator, for messages
	off   bool     // checked at load already
}

// inputs reads n_features_in_ and feature_names_in_, and checks them against
// what is known of the input. Unknown widths stay to be checked per request.
func (o *object) inputs(in input) checks {
	c := checks{width: o.int("n_features_in_"), names: o.names("feature_names_in_"), owner: o.path, off: !in.top}
	if !o.ok() {
		return c
	}
	switch {
	case c.width < 1 || c.width > maxColumns:
		o.fail("n_features_in_=%d is impossible", c.width)
	case c.names != nil && len(c.names) != c.width:
		o.fail("n_features_in_ and the number of feature_names_in_ differ")
	case !in.top && in.width != c.width:
		o.fail("it takes %d columns but is given %d", c.width, in.width)
	case in.names != nil && c.names != nil && !slices.Equal(in.names, c.names):
		o.fail("its feature_names_in_ are not the columns it is given")
	}
	return c
}

// run refuses a request whose columns are not the ones of the fit.
func (c *checks) run(f *frame) error {
	if c.off {
		return nil
	}
	if len(f.names) > 0 && c.names != nil {
		if !slices.Equal(f.names, c.names) {
			return refuse("the columns must be %.300q, in this order, not %.300q", c.names, f.names)
		}
		return nil
	}
	if len(f.cols) != c.width {
		return refuse("the model takes %d columns, not %d", c.width, len(f.cols))
	}
	return nil
}
