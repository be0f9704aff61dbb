package mlflow_test

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlflow"
	"github.com/slipway-dev/slipway/mlflow/mlflowtest"
)

// Whoever asks again and again what is promoted asks once each time, also where
// nothing is.
func TestPromotedCostsOneCall(t *testing.T) {
	t.Parallel()
	models := serve(t, mlflowtest.Config{})
	if _, err := models.AddVersion("iris", "mlflowtest/suite/testdata/model"); err != nil {
		t.Fatal(err)
	}
	var calls atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		models.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	m := client(t, mlflow.Config{URI: srv.URL})
	if err := m.SetAlias(t.Context(), "iris", "champion", "1"); err != nil {
		t.Fatal(err)
	}
	for text, code := range map[string]slipway.Code{
		"models:/iris@champion": "", "models:/iris@challenger": slipway.NotFound, "models:/iris/Production": slipway.NotFound, "models:/wine@champion": slipway.NotFound,
	} {
		ref, err := slipway.ParseModelRef(text)
		if err != nil {
			t.Fatal(err)
		}
		calls.Store(0)
		v, err := m.Promoted(t.Context(), ref)
		if slipway.CodeOf(err) != code || (v.Version == "1") != (code == "") || calls.Load() != 1 {
			t.Errorf("%s: %s, %v after %d calls; want %q after one", text, v, err, calls.Load(), code)
		}
	}
}
