package slipway_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/slipway-dev/slipway"

// allowed says which packages of this module each folder may import. A folder
// stands for its sub-folders too; "" is the root.
var allowed = map[string][]string{
	"":                {},
	"mlmodel":         {""},
	"mlflow":          {"", "mlmodel", "mlflow"},
	"pack":            {"", "mlmodel"},
	"oci":             {"", "mlmodel", "pack"},
	"local":           {"", "mlmodel", "local"},
	"sandbox":         {""},
	"uv":              {"", "mlmodel"},
	"kube":            {"", "mlmodel", "k8s"},
	"k8s":             {},
	"verify":          {"", "mlmodel"},
	"azure":           {"", "mlmodel"},
	"docker":          {"", "mlmodel"},
	"github":          {""},
	"azuredevops":     {""},
	"notify":          {""},
	"relay":           {""},
	"rollout":         {""},
	"serving":         {"", "mlmodel", "serving"},
	"cmd/modelserver": {"", "mlmodel", "serving"},
	"cmd/slipway":     {"", "mlmodel", "mlflow", "pack", "oci", "local", "kube", "k8s", "verify", "rollout", "serving", "sandbox", "uv", "examples", "azure", "docker", "github", "azuredevops", "notify", "relay"},
	"examples":        {},
	"slipwaytest":     {"", "mlmodel"},
	"e2e":             {"", "e2e"},
	"e2e/bench":       {"", "mlmodel", "pack", "oci", "serving", "mlflow", "e2e"},
}

// confined says which folders alone may import a library.
var confined = map[string][]string{
	"github.com/google/go-containerregistry": {"pack", "oci", "cmd/slipway", "e2e/bench"},
	"github.com/alecthomas/kong":             {"cmd/slipway"},
	"github.com/prometheus/client_golang":    {"serving"},
	"github.com/Azure":                       {"azure"},
	"github.com/wneessen/go-mail":            {"notify"},
	"modernc.org":                            {"relay"},
	"k8s.io":                                 {"kube"},
	"sigs.k8s.io":                            {"kube"},
	"testing":                                {"e2e", "slipwaytest", "mlflow/mlflowtest/suite"},
}

// serverLinks is what the model server must never link, not even indirectly.
var serverLinks = []string{"k8s.io/", "github.com/Azure/", "github.com/google/go-containerregistry", module + "/rollout", module + "/local", module + "/mlflow", module + "/uv", module + "/sandbox", module + "/serving/proof"}

type goPackage struct {
	ImportPath string
	Imports    []string
	Deps       []string
	Standard   bool
}

func TestImportsFollowTheDesign(t *testing.T) {
	t.Parallel()
	for _, p := range list(t, "./...") {
		folder := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		rule, ok := lookUp(allowed, folder)
		if !ok {
			t.Errorf("%s: no import rule for this folder: say in deps_test.go what it may import", folder)
			continue
		}
		for _, imported := range p.Imports {
			checkOwn(t, folder, imported, allowed[rule])
			checkConfined(t, folder, imported)
		}
		if folder == "" && slices.ContainsFunc(p.Imports, func(s string) bool { return strings.Contains(s, ".") }) {
			t.Errorf("the root imports more than the standard library: %v", p.Imports)
		}
	}
}

func checkOwn(t *testing.T, folder, imported string, rule []string) {
	t.Helper()
	if imported != module && !strings.HasPrefix(imported, module+"/") {
		return
	}
	to := strings.TrimPrefix(strings.TrimPrefix(imported, module), "/")
	for _, r := range rule {
		if to == r || r != "" && strings.HasPrefix(to, r+"/") {
			return
		}
	}
	t.Errorf("%s imports %s", folder, to)
}

func checkConfined(t *testing.T, folder, imported string) {
	t.Helper()
	library, ok := lookUp(confined, imported)
	if !ok {
		return
	}
	for _, owner := range confined[library] {
		if folder == owner || strings.HasPrefix(folder, owner+"/") {
			return
		}
	}
	t.Errorf("%s imports %s, which only %v may", folder, imported, confined[library])
}

// lookUp returns the longest key that is path or a folder above it.
func lookUp(rules map[string][]string, path string) (string, bool) {
	for {
		if _, ok := rules[path]; ok {
			return path, true
		}
		i := strings.LastIndex(path, "/")
		if i < 0 {
			return "", false
		}
		path = path[:i]
	}
}

func TestModelServerStaysSmall(t *testing.T) {
	t.Parallel()
	for _, p := range list(t, "-deps", "./cmd/modelserver") {
		for _, forbidden := range serverLinks {
			if strings.HasPrefix(p.ImportPath, forbidden) {
				t.Errorf("the model server links %s", p.ImportPath)
			}
		}
	}
}

func list(t *testing.T, args ...string) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-json=ImportPath,Imports"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var packages []goPackage
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}
