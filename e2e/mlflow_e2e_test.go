//go:build e2e

package e2e_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/slipway-dev/slipway/e2e"
)

func TestE2EMLflowIsOneServerOfTheKnownVersion(t *testing.T) {
	uri := e2e.MLflow(t)
	res, err := http.Get(uri + "/version")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || string(body) != e2e.MLflowVersion {
		t.Errorf("version %q, %v; want %s", body, err, e2e.MLflowVersion)
	}
	if again := e2e.MLflow(t); again != uri {
		t.Errorf("a second server: %s beside %s", again, uri)
	}
}
