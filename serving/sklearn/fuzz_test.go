package sklearn_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/serving/sklearn"
	"github.com/slipway-dev/slipway/serving/sklearn/skops"
)

// fuzzed are models small enough to be changed byte by byte, of every kind of
// stored object.
var fuzzed = []string{"logistic-str3", "scale-minmax-clip", "impute-mean-ind", "onehot-infrequent-first", "ordinal-nan-infrequent",
	"columns-selector", "columns-nested", "tree-many", "forest-words", "boosting-exponential", "hist-cat-text", "bayes-str3", "kmeans", "ridgeclassifier-2"}

// FuzzModel changes the schema and one array of real models: they are served,
// or refused with a code, and never panic.
func FuzzModel(f *testing.F) {
	all := committed(f)
	newest := all[len(all)-1]
	var bases []map[string][]byte
	var requests [][]request
	for _, name := range fuzzed {
		i := slices.IndexFunc(newest.Cases, func(c testCase) bool { return c.Name == name })
		if i < 0 {
			f.Fatalf("there is no model %s", name)
		}
		entries := unzip(f, newest.files[name+".skops"])
		bases, requests = append(bases, entries), append(requests, newest.Cases[i].Requests)
		arrays := arraysOf(entries)
		for k := 0; k < len(arrays); k += 3 {
			f.Add(uint8(len(bases)-1), uint8(k), string(entries["schema.json"]), entries[arrays[k]])
		}
	}
	f.Fuzz(func(t *testing.T, which, array uint8, schema string, data []byte) {
		base := int(which) % len(bases)
		entries := maps.Clone(bases[base])
		entries["schema.json"] = []byte(schema)
		if arrays := arraysOf(entries); len(arrays) > 0 {
			entries[arrays[int(array)%len(arrays)]] = data
		}
		file, err := skops.Read(rezip(t, entries))
		if err != nil {
			coded(t, err)
			return
		}
		for _, method := range []string{"predict", "predict_proba", "decision_function"} {
			p, err := sklearn.Compile(file, method)
			if err != nil {
				coded(t, err)
				continue
			}
			for _, r := range requests[base][:4] {
				if _, err := p.Predict(t.Context(), r.batch()); err != nil {
					coded(t, err)
				}
			}
		}
	})
}

func arraysOf(entries map[string][]byte) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(entries)), func(name string) bool { return !strings.HasSuffix(name, ".npy") })
}

func coded(t *testing.T, err error) {
	t.Helper()
	if code := slipway.CodeOf(err); code != slipway.Invalid && code != slipway.Exhausted {
		t.Errorf("code %s: %v", code, err)
	}
}
