package mlflow_test

import (
	"testing"

	"github.com/slipway-dev/slipway/mlflow/mlflowtest"
	"github.com/slipway-dev/slipway/mlflow/mlflowtest/suite"
)

// The server in memory does what any MLflow must do. suite_e2e_test.go runs
// the same against a real one.
func TestSuiteInMemory(t *testing.T) {
	t.Parallel()
	if passed := suite.Run(t, serve(t, mlflowtest.Config{}).URL()); passed != suite.Count() {
		t.Errorf("%d of %d cases passed", passed, suite.Count())
	}
}

// serve starts a server in memory and ends it with the test.
func serve(t testing.TB, c mlflowtest.Config) *mlflowtest.Server {
	t.Helper()
	s := mlflowtest.NewServer(c)
	if _, err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
