//go:build e2e

package proof_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/serving/proof"
	"github.com/slipway-dev/slipway/serving/sklearn"
)

var zooPattern = flag.String("zoo", few, "prove the models of the zoo whose names match the `pattern`; \"\": all; \"small\": some of each kind")

// few is one model of each kind. All of them take half an hour.
const few = "^(forest-3|forest-nan|treeregressor|linear|lasso|poisson|logistic-str3|logistic-ovr-3|linearsvc-2|sgd-log_loss-2|ridgeclassifier-2|hist-2|hist-nan|boosting-str3|bayes-str3|kmeans|columns-names|onehot-ignore|onehot-infrequent|ordinal-unknown|impute-mean-ind|scale-robust|single-forest|union)$"

// unproved are the models that may be or are not proved, by "VERSION NAME",
// and why: a part of what is said of them.
var unproved = []struct {
	models *regexp.Regexp
	always bool
	why    string
}{
	// MLflow hands on missing texts as None or NaN, by the version of pandas
	// and by the other rows: the row that shows it has one.
	{regexp.MustCompile("^[0-9.]+ ((impute-text|onehot|ordinal)-(none|nan)|hist-cat-text)"), false, "null"},
	{regexp.MustCompile("^[0-9.]+ boostingregressor-init$"), true, "its initial estimator is not known"},
	// There the library wraps greater ones around as its compiler pleases.
	{regexp.MustCompile("^1.3.2 (hist-cat|histregressor-cat)"), true, "categories are below 256"},
}

// judge reports what came of a model, where it was not to be expected.
func judge(t *testing.T, name, said string, proved bool) {
	t.Helper()
	for _, u := range unproved {
		if !u.models.MatchString(name) {
			continue
		}
		if proved && u.always || !proved && !strings.Contains(said, u.why) {
			t.Errorf("%s: %s", name, said)
		}
		return
	}
	if !proved {
		t.Errorf("%s: %s", name, said)
	}
}

// TestE2EZoo lets the real libraries pickle models of every class that the
// native engine knows, converts them, and compares the engine's answers.
func TestE2EZoo(t *testing.T) {
	t.Parallel()
	skops := skopsFolder(t)
	for version, stack := range stacks {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			z := startZoo(t, skops, *zooPattern, stack)
			proved := 0
			for _, m := range z.models {
				said, ok := z.prove(t, m)
				t.Logf("%s %s: %s", m.Class, m.Name, said)
				judge(t, version+" "+m.Name, said, ok)
				if ok {
					proved++
				}
			}
			if least := map[string]int{few: 20, "small": 100}[*zooPattern]; proved < least {
				t.Errorf("only %d models were proved", proved)
			}
		})
	}
}

// prove converts a model, loads it in the native engine and compares; it
// returns what came of it.
func (z *zoo) prove(t *testing.T, zm zooModel) (said string, ok bool) {
	t.Helper()
	if zm.Error != "" {
		return "not saved: " + zm.Error, false
	}
	if err := z.command("convert", zm.Name, &struct{}{}); err != nil {
		return "not converted: " + err.Error(), false
	}
	p, d, err := z.compare(t, zm.Name, 500)
	switch {
	case err != nil:
		return err.Error(), false
	case d != nil:
		return "differs: " + d.String(), false
	}
	return fmt.Sprintf("proved over %d rows, largest difference %.1g", p.Rows, p.LargestDifference), true
}

// compare loads what was converted and compares it with the library.
func (z *zoo) compare(t *testing.T, name string, rows int) (mlmodel.Proof, *proof.Difference, error) {
	t.Helper()
	m, err := mlmodel.Open(filepath.Join(z.dir, name))
	if err != nil {
		return mlmodel.Proof{}, nil, err
	}
	m.Converted = filepath.Join(z.dir, name+".skops")
	native, err := sklearn.New().Load(t.Context(), m)
	if err != nil {
		return mlmodel.Proof{}, nil, err
	}
	if err := z.command("load", name, &struct{}{}); err != nil {
		return mlmodel.Proof{}, nil, err
	}
	golden, err := m.Requests(5)
	if err != nil {
		return mlmodel.Proof{}, nil, err
	}
	return proof.Run(t.Context(), proof.Config{Model: m, Original: z, Native: native, Golden: golden, Rows: rows, By: "scikit-learn"})
}

// TestE2EMutants changes one number of a converted model, or one option: the
// proof must notice.
func TestE2EMutants(t *testing.T) {
	t.Parallel()
	z := startZoo(t, skopsFolder(t), "^(forest-3|treeregressor|linear|hist-2|hist-nan|hist-cat-positions|onehot-plain|onehot-ignore|scale-minmax-clip|impute-mean|logistic-str3|kmeans|boosting-3|bayes-2|ordinal-unknown)$", stacks["1.5.2"])
	for _, c := range []struct{ name, change string }{
		{"forest-3@predict_proba", "model.estimators_[0].tree_.threshold[0] *= 1.01"},
		{"forest-3@predict_proba", "t = model.estimators_[0].tree_.threshold; t[0] = np.nextafter(np.float32(t[0]), np.float32(np.inf))"},
		{"forest-3@predict_proba", "model.estimators_[5].tree_.threshold[1] += 0.01"},
		{"forest-3@predict_proba", "model.estimators_[2].tree_.value[-1][0][0] += 1e-6"},
		{"forest-3@predict_proba", "model.estimators_.pop(); model.n_estimators -= 1"},
		{"forest-3", "model.classes_ = model.classes_[::-1].copy()"},
		{"treeregressor", "model.tree_.value[-1] *= 1 + 1e-7"},
		{"linear", "model.coef_[0] *= 1 + 1e-7"},
		{"linear", "model.intercept_ += 1e-6"},
		{"hist-2@predict_proba", `model._predictors[0][0].nodes["num_threshold"][0] += 0.01`},
		{"hist-2@predict_proba", `t = model._predictors[0][0].nodes["num_threshold"]; t[0] = np.nextafter(t[0], np.inf)`},
		{"hist-nan@predict_proba", `model._predictors[0][0].nodes["missing_go_to_left"][0] ^= 1`},
		{"hist-cat-positions@predict_proba", "model._predictors[0][0].raw_left_cat_bitsets[0] ^= 2"},
		{"onehot-plain", `model[0].transformers_[0][1].handle_unknown = "ignore"`},
		{"onehot-ignore@predict_proba", "c = model[0].transformers_[0][1].categories_; c[0] = c[0][::-1].copy()"},
		{"ordinal-unknown@predict_proba", "model[0].transformers_[0][1].unknown_value = -2"},
		{"scale-minmax-clip", "model[0].clip = False"},
		{"impute-mean", "model[0].statistics_[0] += 1e-6"},
		{"logistic-str3", "model[-1].classes_ = model[-1].classes_[::-1].copy()"},
		{"logistic-str3@predict_proba", "model[0].mean_[2] += 1e-6"},
		{"kmeans", "model[-1].cluster_centers_[0] += 0.05"},
		{"boosting-3@predict_proba", "model.learning_rate *= 1.0001"},
		{"bayes-2@predict_proba", "model.var_[0, 1] *= 1.0001"},
	} {
		order, err := json.Marshal([]string{c.name, c.change})
		if err != nil {
			t.Fatal(err)
		}
		if err := z.order("mutate", order, &struct{}{}); err != nil {
			t.Errorf("%s: %s: %v", c.name, c.change, err)
			continue
		}
		if p, d, err := z.compare(t, c.name, proof.DefaultRows); d == nil {
			t.Errorf("%s: %s was not noticed: %+v, %v", c.name, c.change, p, err)
		} else {
			t.Logf("%s: %s: %s", c.name, c.change, d)
		}
	}
}
