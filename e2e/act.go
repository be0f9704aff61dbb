package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// The programs that run and check GitHub's workflows, as Go modules.
const (
	actModule        = "github.com/nektos/act"
	actVersion       = "v0.2.89"
	actionlintModule = "github.com/rhysd/actionlint"
	actionlint       = "v1.7.12"
)

// Act returns the program act, which runs GitHub's workflows. It is built once
// and kept in the Cache.
func Act(t testing.TB) string {
	t.Helper()
	return goProgram(t, "act", actModule, actVersion)
}

// Actionlint returns the program actionlint, which knows what GitHub refuses
// in a workflow. It is built once and kept in the Cache.
func Actionlint(t testing.TB) string {
	t.Helper()
	return goProgram(t, "actionlint", actionlintModule+"/cmd/actionlint", actionlint)
}

// CheckJSONSchema returns the program check-jsonschema, which has the schemas
// of GitHub's workflows and actions ("vendor.github-workflows",
// "vendor.github-actions") and of Azure Pipelines ("vendor.azure-pipelines")
// with it. It is kept in the Cache.
func CheckJSONSchema(t testing.TB) string {
	t.Helper()
	return filepath.Join(filepath.Dir(Python(t, "check-jsonschema==0.39.0")), "check-jsonschema")
}

// goProgram builds a program of another module, as `go install` does.
func goProgram(t testing.TB, name, path, version string) string {
	t.Helper()
	dir := filepath.Join(Cache(t), name+"-"+fingerprint(runtime.Version(), []string{path, version}))
	once(t, dir, func() {
		cmd := exec.CommandContext(t.Context(), "go", "install", "-trimpath", path+"@"+version)
		cmd.Dir = filepath.Dir(dir) // no module of ours
		cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=-mod=mod", "GOWORK=off", "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("building %s %s: %v\n%s", path, version, err, tail(out, 4000))
		}
	})
	return filepath.Join(dir, name)
}
