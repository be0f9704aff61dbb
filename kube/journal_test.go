package kube_test

import (
	"encoding/json"
	"net/http"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/slipway-dev/slipway"
)

// holding answers the ConfigMap with this record.
func holding(record string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{
			"kind": "ConfigMap", "apiVersion": "v1", "metadata": map[string]string{"name": "inference-service-slipway"},
			"data": map[string]string{"record.json": record},
		})
	}
}

func TestBrokenRecordsSayHowToGoOn(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, record string
		want         slipway.Code
		say          string
	}{
		{"empty", "", slipway.Corrupt, "kubectl delete configmap inference-service-slipway -n n"},
		{"not JSON", "{", slipway.Corrupt, "kubectl get configmap inference-service-slipway -n n -o yaml"},
		{"of another shape", `{"schemaVersion":1,"history":{}}`, slipway.Corrupt, "record.json of the ConfigMap inference-service-slipway is broken"},
		{"huge", `{"schemaVersion":1,"hold":{"by":"` + strings.Repeat("x", 3<<20) + `"}}`, slipway.Corrupt, "too large"},
		{"deep", strings.Repeat("[", 100000), slipway.Corrupt, "broken"},
		{"newer", `{"schemaVersion":99}`, slipway.Invalid, "newer slipway"},
		{"hostile", `{"schemaVersion":1,"live":{"created":"\u001b[2J"}}`, slipway.Corrupt, "broken"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := answering(t, holding(tt.record)).Journal().Load(t.Context())
			checkError(t, err, tt.want, []string{tt.say})
		})
	}
}

func FuzzLoad(f *testing.F) {
	for _, seed := range []string{"", "{}", `{"schemaVersion":1,"history":[{"id":"01A"}]}`, `{"schemaVersion":2}`, "\x00", `{"current":null}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, record string) {
		r, err := answering(t, holding(record)).Journal().Load(t.Context())
		if err == nil && (r.Revision == "" || r.SchemaVersion > slipway.RecordSchema) {
			t.Errorf("%q gave %+v", record, r)
		}
		if code := slipway.CodeOf(err); err != nil && code != slipway.Corrupt && code != slipway.Invalid {
			t.Errorf("%q gave the code %q: %v", record, code, err)
		}
	})
}

// However long a Deployment is called, the objects beside it have names that
// the API server takes, and no other Deployment has the same.
func TestNamesOfLeaseAndRecord(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a-very-long-name.", 15)[:252]
	names := map[string]bool{}
	for _, deployment := range []string{"iris", long[:245], long[:246], long + "a", long + "b"} {
		asked := ""
		target := answering(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked = path.Base(r.URL.Path)
			statusHandler(http.StatusNotFound, "no")(w, r)
		}), deployment)
		if _, err := target.Journal().Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(asked) > 253 || !regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`).MatchString(asked) || names[asked] {
			t.Errorf("%s: %d bytes, %s", deployment, len(asked), asked)
		}
		names[asked] = true
	}
	if !names["iris-slipway"] {
		t.Errorf("names %v", names)
	}
}
