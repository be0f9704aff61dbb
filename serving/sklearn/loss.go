package sklearn

import "github.com/slipway-dev/slipway/serving/sklearn/skops"

// links are the link functions of scikit-learn's losses, whose inverse turns
// raw predictions into answers.
var links = map[string]string{
	"HalfSquaredError": "IdentityLink", "AbsoluteError": "IdentityLink", "PinballLoss": "IdentityLink", "HuberLoss": "IdentityLink",
	"HalfTweedieLossIdentity": "IdentityLink", "HalfPoissonLoss": "LogLink", "HalfGammaLoss": "LogLink", "HalfTweedieLoss": "LogLink",
	"HalfBinomialLoss": "LogitLink", "ExponentialLoss": "HalfLogitLink", "HalfMultinomialLoss": "MultinomialLogit",
}

// loss reads the loss a fitted model keeps and returns its class and link.
func (o *object) loss(name string) (class, link string) {
	n := o.node(name)
	if !o.ok() {
		return "", ""
	}
	l := o.openPlain(n, o.inside(name))
	l.ignore(fitting, "closs", "n_classes", "xp", "device", "approx_hessian", "constant_hessian", "interval_y_true", "interval_y_pred",
		"class_indexing_offsets", "y_true_int", "y_true_one_hot", "quantile", "delta", "power")
	link = links[n.Class]
	if stored := l.node("link"); l.ok() && (link == "" || stored.Class != link || stored.Attrs != nil && !isNone(stored.Attrs)) {
		l.fail("loss and link are not known")
	}
	l.done()
	return n.Class, link
}

// oldLoss reads a loss of gradient boosting in scikit-learn 1.3, which has no link.
func (o *object) oldLoss(name string) string {
	n := o.node(name)
	if !o.ok() || n.Kind != skops.Object {
		o.fail("%s is not known", name)
		return ""
	}
	l := o.openPlain(n, o.inside(name))
	l.ignore(fitting, "K", "alpha", "gamma", "percentile")
	l.done()
	return n.Class
}
