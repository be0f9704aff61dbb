//go:build e2e

package mlflow_test

import (
	"testing"

	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/mlflow/mlflowtest"
	"github.com/slipway-dev/slipway/mlflow/mlflowtest/suite"
)

// A real MLflow and the one in memory pass the same cases, all of them.
func TestE2ESuiteOnBoth(t *testing.T) {
	var real, memory int
	t.Run("real", func(t *testing.T) { real = suite.Run(t, e2e.MLflow(t)) })
	t.Run("memory", func(t *testing.T) { memory = suite.Run(t, serve(t, mlflowtest.Config{}).URL()) })
	t.Logf("cases passed: real MLflow %d, in memory %d, of %d", real, memory, suite.Count())
	if real != suite.Count() || memory != suite.Count() {
		t.Errorf("real MLflow %d, in memory %d, want %d", real, memory, suite.Count())
	}
}
