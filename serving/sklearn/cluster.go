package sklearn

// centers are the means of clusters.
type centers struct {
	count, cols int
	points      []float64 // count × cols
	norms       []float64 // |point|² by cluster
}

// eval writes the number of the nearest cluster, the first of equally near
// ones: the smallest |c|² - 2 x·c, as scikit-learn compares.
func (c *centers) eval(_ *scratch, x matrix, out []float64) {
	for i := range x.rows {
		row := x.row(i)
		best, nearest := 0, 0.0
		for k := range c.count {
			point := c.points[k*c.cols:][:len(row)]
			var dot float64
			for j, v := range row {
				dot += v * point[j]
			}
			if d := c.norms[k] - 2*dot; k == 0 || d < nearest {
				best, nearest = k, d
			}
		}
		out[i] = float64(best)
	}
}

func kMeans(o *object, in input) *model {
	o.ignore(fitting, "init", "n_init", "max_iter", "tol", "verbose", "random_state", "copy_x", "algorithm", "batch_size",
		"compute_labels", "max_no_improvement", "init_size", "reassignment_ratio", "_tol", "_n_init", "_algorithm", "_batch_size",
		"_init_size", "_counts", "_ewa_inertia", "_ewa_inertia_min", "_no_improvement", "_n_since_last_reassign", "_random_state")
	o.ignore("how many threads compute", "_n_threads")
	o.ignore(record, "labels_", "inertia_", "n_iter_", "n_steps_", "_n_features_out")
	m := &model{check: o.inputs(in), double: true}
	a := o.array("cluster_centers_")
	if !o.ok() {
		return m
	}
	if a.kind != kindFloat || len(a.shape) != 2 || a.shape[1] != m.check.width || a.shape[0] < 1 {
		o.fail("cluster_centers_ are not float64 points of %d columns", m.check.width)
		return m
	}
	c := &centers{count: a.shape[0], cols: m.check.width, points: a.floats, norms: make([]float64, a.shape[0])}
	if o.int("n_clusters") != c.count {
		o.fail("n_clusters is not the number of cluster_centers_")
	}
	for i, v := range c.points {
		c.norms[i/c.cols] += v * v
	}
	m.methods = map[string]*method{"predict": {width: 1, eval: c.eval, parts: []part{{width: 1, flat: true, ints: true}}}}
	return m
}
