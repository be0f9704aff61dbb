package sklearn

import (
	"regexp"
	"slices"
	"strings"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/serving/sklearn/skops"
)

const checking = "reading the scikit-learn model"

// A compiler turns the stored estimators of one file into the steps that
// answer requests. err is the first reason not to serve the model.
type compiler struct {
	file     *skops.File
	minor    int           // of scikit-learn 1.MINOR, the same for every estimator of the file
	work     int           // objects and elements read so far
	widest   int           // columns of the widest frame
	cuts     []mlmodel.Cut // see Predictor.Cuts
	err      error
	onIgnore func(class, attribute, reason string) // for the mutation test; may be nil
}

// Bounds on what is read: a hostile file can name one object many times, and
// columns that are not there.
const (
	maxWork    = 64 << 20 // elements, and objectWork for each object
	objectWork = 1024
	maxColumns = 4 << 20
)

func (c *compiler) spend(n int) {
	if c.work += n; c.work > maxWork && c.err == nil {
		c.err = slipway.Errorf(slipway.Exhausted, checking, "the model is larger than any that was meant to be read")
	}
}

// input is what is known, at load, of the frame an estimator will receive.
type input struct {
	width  int      // columns; unknown: 0
	names  []string // of the columns; nil: unknown or none
	frame  bool     // Python would pass a DataFrame, if a request brings one
	sparse bool     // Python would pass a sparse matrix
	top    bool     // it is the request itself: number and names are checked for every request
}

// A transformer is a step that makes a frame of a frame.
type transformer interface {
	transform(s *scratch, f *frame) (frame, error)
}

// output is what is known, at load, of the frame a transformer makes.
type output struct {
	width  int
	sparse bool
	frame  bool     // set_output asks for a DataFrame
	names  []string // of the columns, where they are known; nil else
}

func (o output) asInput() input {
	return input{width: o.width, sparse: o.sparse, frame: o.frame, names: o.names}
}

// A model is a final estimator, or a pipeline that ends in one: what it can be
// asked for, by the name of the Python method.
type model struct {
	steps   []transformer
	check   checks
	finite  finiteness
	single  bool  // inputs are rounded to float32 (decision trees)
	double  bool  // inputs must not be float32
	guards  []int // columns that hold category codes, 0 to 255
	methods map[string]*method
}

// finiteness says which numbers are taken.
type finiteness uint8

const (
	finite   finiteness = iota
	nanToo              // missing values are taken
	anything            // infinite ones too
)

// A method answers a frame. eval writes width numbers a row, in row-major order.
type method struct {
	width int
	parts []part
	list  bool // the parts are a list, as of predict_proba of several outputs
	eval  func(s *scratch, x matrix, out []float64)
}

// part is one array of an answer.
type part struct {
	width  int       // columns
	flat   bool      // one dimension: shape [rows]
	labels []*labels // a column each: the numbers are indices into them; nil: numbers
	single bool      // float32 when the input is float32
	ints   bool      // the numbers are whole
}

var versionPattern = regexp.MustCompile(`^1\.(\d{1,2})\.\d{1,3}(\.post\d)?$`)

// minors are the versions 1.MINOR of scikit-learn whose stored form is known:
// the end-to-end tests compare answers with the newest release of each.
var minors = []string{"3", "4", "5", "6", "7", "8", "9"}

// open starts reading an object that must be an estimator of scikit-learn.
func (c *compiler) open(n *skops.Node, path string) *object {
	o := c.openPlain(n, path)
	if c.err != nil {
		return o
	}
	version := o.text("_sklearn_version")
	match := versionPattern.FindStringSubmatch(version)
	if match == nil || !slices.Contains(minors, match[1]) {
		o.fail("scikit-learn %s is not known, only 1.%s to 1.%s", version, minors[0], minors[len(minors)-1])
		return o
	}
	minor := slices.Index(minors, match[1]) + 3
	if c.minor == 0 {
		c.minor = minor
	}
	if c.minor != minor {
		o.fail("it was stored by another version of scikit-learn, %s, than what holds it", version)
	}
	o.ignore("asks for nothing in a fitted model", "_metadata_request")
	return o
}

// openPlain starts reading any object with attributes.
func (c *compiler) openPlain(n *skops.Node, path string) *object {
	o := &object{compiler: c, name: n.Name(), path: path + " (" + n.Class + ")", attrs: &skops.Node{}}
	c.spend(objectWork)
	if n.Kind != skops.Object || n.Attrs == nil || n.Attrs.Kind != skops.Dict {
		o.fail("it is no estimator but %q", n.Name())
		return o
	}
	o.attrs = n.Attrs
	o.read = make([]bool, len(n.Attrs.Keys))
	return o
}

// transformers returns the reader of the transformer class, or nil.
func transformerOf(class string) func(*object, input) (transformer, output) {
	switch class {
	case "sklearn.pipeline.Pipeline":
		return pipelineTransformer
	case "sklearn.pipeline.FeatureUnion":
		return featureUnion
	case "sklearn.compose._column_transformer.ColumnTransformer":
		return columnTransformer
	case "sklearn.preprocessing._function_transformer.FunctionTransformer":
		return functionTransformer
	case "sklearn.preprocessing._data.StandardScaler":
		return standardScaler
	case "sklearn.preprocessing._data.MinMaxScaler":
		return minMaxScaler
	case "sklearn.preprocessing._data.MaxAbsScaler":
		return maxAbsScaler
	case "sklearn.preprocessing._data.RobustScaler":
		return robustScaler
	case "sklearn.preprocessing._data.Normalizer":
		return normalizerOf
	case "sklearn.impute._base.SimpleImputer":
		return simpleImputer
	case "sklearn.impute._base.MissingIndicator":
		return missingIndicator
	case "sklearn.preprocessing._encoders.OneHotEncoder":
		return oneHotEncoder
	case "sklearn.preprocessing._encoders.OrdinalEncoder":
		return ordinalEncoder
	}
	return nil
}

// modelOf returns the reader of the final estimator's class, or nil.
func modelOf(class string) func(*object, input) *model {
	name := strings.TrimPrefix(class, "sklearn.")
	switch name {
	case "pipeline.Pipeline":
		return pipelineModel
	case "linear_model._logistic.LogisticRegression", "linear_model._logistic.LogisticRegressionCV":
		return logisticRegression
	case "linear_model._base.LinearRegression", "linear_model._ridge.Ridge", "linear_model._ridge.RidgeCV",
		"linear_model._coordinate_descent.Lasso", "linear_model._coordinate_descent.LassoCV",
		"linear_model._coordinate_descent.ElasticNet", "linear_model._coordinate_descent.ElasticNetCV",
		"linear_model._coordinate_descent.MultiTaskLasso", "linear_model._coordinate_descent.MultiTaskLassoCV",
		"linear_model._coordinate_descent.MultiTaskElasticNet", "linear_model._coordinate_descent.MultiTaskElasticNetCV",
		"svm._classes.LinearSVR", "linear_model._stochastic_gradient.SGDRegressor":
		return linearRegressor
	case "linear_model._glm.glm.PoissonRegressor", "linear_model._glm.glm.GammaRegressor", "linear_model._glm.glm.TweedieRegressor":
		return generalLinearRegressor
	case "linear_model._ridge.RidgeClassifier", "linear_model._ridge.RidgeClassifierCV":
		return ridgeClassifier
	case "linear_model._stochastic_gradient.SGDClassifier":
		return sgdClassifier
	case "ensemble._gb.GradientBoostingClassifier":
		return boostingClassifier
	case "ensemble._gb.GradientBoostingRegressor":
		return boostingRegressor
	case "ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingClassifier":
		return histClassifier
	case "ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingRegressor":
		return histRegressor
	case "naive_bayes.GaussianNB":
		return gaussianNB
	case "cluster._kmeans.KMeans", "cluster._kmeans.MiniBatchKMeans":
		return kMeans
	case "svm._classes.LinearSVC":
		return linearSVC
	case "tree._classes.DecisionTreeClassifier", "tree._classes.ExtraTreeClassifier":
		return treeClassifier
	case "tree._classes.DecisionTreeRegressor", "tree._classes.ExtraTreeRegressor":
		return treeRegressor
	case "ensemble._forest.RandomForestClassifier", "ensemble._forest.ExtraTreesClassifier":
		return forestClassifier
	case "ensemble._forest.RandomForestRegressor", "ensemble._forest.ExtraTreesRegressor":
		return forestRegressor
	}
	return nil
}

// transformer compiles a node that must be a transformer.
func (c *compiler) transformer(n *skops.Node, in input, path string) (transformer, output) {
	build := transformerOf(n.Name())
	if build == nil {
		c.unknown(n, path, "transformer")
		return nil, output{}
	}
	o := c.open(n, path)
	if c.err != nil {
		return nil, output{}
	}
	t, out := build(o, in)
	o.done()
	c.widest = max(c.widest, out.width)
	return t, out
}

// model compiles a node that must be a final estimator.
func (c *compiler) model(n *skops.Node, in input, path string) *model {
	build := modelOf(n.Name())
	if build == nil {
		c.unknown(n, path, "estimator")
		return nil
	}
	o := c.open(n, path)
	if c.err != nil {
		return nil
	}
	m := build(o, in)
	o.done()
	return m
}

func (c *compiler) unknown(n *skops.Node, path, what string) {
	o := &object{compiler: c, path: path}
	o.fail("the %s %s is not known", what, n.Name())
}
