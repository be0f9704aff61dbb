//go:build e2e

package e2e_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
)

// The pages' blocks that need a model registry and an image registry run as
// they are written, but for addresses, each page in one shell. MLflow may send
// to this machine, where somebody receives its webhooks.
func TestE2EDocumentsRun(t *testing.T) {
	t.Parallel()
	ran := 0
	for _, page := range e2e.Pages(t, "..") {
		script := page.Script("sh test e2e")
		if script == "" {
			continue
		}
		ran++
		t.Run(filepath.Base(page.Path), func(t *testing.T) {
			t.Parallel()
			runDocument(t, script)
		})
	}
	if ran < 2 {
		t.Errorf("%d pages were run", ran)
	}
}

func runDocument(t *testing.T, script string) {
	var received atomic.Int32
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-MLflow-Signature") != "" {
			received.Add(1)
		}
	}))
	t.Cleanup(receiver.Close)
	uri := e2e.StartMLflow(t, e2e.MLflowServer{Extras: e2e.ScikitLearn[1:], Env: []string{
		"MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS=true", "MLFLOW_WEBHOOK_ALLOWED_SCHEMES=http,https",
		"MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY=MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}})
	address := freeAddress(t)
	script = strings.NewReplacer("127.0.0.1:8000", address, "https://relay.example", receiver.URL).Replace(script)
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = t.TempDir()
	path := []string{filepath.Dir(slipwayProgram(t)), filepath.Dir(e2e.Python(t, e2e.ScikitLearn...)), filepath.Dir(e2e.UV(t)), os.Getenv("PATH")}
	cmd.Env = []string{"HOME=" + cmd.Dir, "USER=ada", "TMPDIR=" + os.TempDir(), "PATH=" + strings.Join(path, ":"), "MLFLOW_TRACKING_URI=" + uri,
		"IMAGES=" + e2e.ImageRegistry(t), "MLFLOW_DISABLE_TELEMETRY=true", "NO_COLOR=1", "XDG_CACHE_HOME=" + filepath.Join(e2e.Cache(t), "docs")}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s\n%s", err, script, out)
		stop := exec.Command(filepath.Join(path[0], "slipway"), "stop", "local://"+address)
		stop.Env = cmd.Env
		_ = stop.Run() // what the page did not come to
	}
	if strings.Contains(script, "slipway webhook test") && received.Load() == 0 {
		t.Errorf("no signed test event arrived\n%s", out)
	}
}

// What the pages install is what the tests run with.
func TestE2EDocumentsNameTestedVersions(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../docs/CICD_QUICK_START.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for _, requirement := range e2e.ScikitLearn {
		name, _, _ := strings.Cut(requirement, "==")
		if strings.Contains(text, " "+name+"==") && !strings.Contains(text, " "+requirement) {
			t.Errorf("the quick start installs another %s than %s", name, requirement)
		}
	}
	if !strings.Contains(text, "mlflow=="+e2e.MLflowVersion) {
		t.Errorf("the quick start installs another MLflow than %s", e2e.MLflowVersion)
	}
}

// The pages' blocks for a cluster run as they are written, but for the
// namespace.
func TestE2EDocumentsOfTheClusterRun(t *testing.T) {
	t.Parallel()
	c := newClustered(t, 2, "odds", "forest")
	for _, version := range []slipway.Version{"1", "2"} {
		c.promote("champion", version)
		c.outcome(0, "deploy", c.champion())
	}
	ran := 0
	c.onlyPods(2) // `kubectl logs -l` fails over a pod that ends while it reads
	for _, page := range e2e.Pages(t, "..") {
		if script := page.Script("sh test cluster"); script != "" {
			ran++
			runCommands(t, c.cluster, c.home, strings.ReplaceAll(script, "production", c.namespace), c.command(t.Context()).Env)
		}
	}
	if ran == 0 {
		t.Error("no page has such a block")
	}
	c.answersLike("1", "odds") // after the last line, `slipway rollback`
}

// The real Mermaid takes every diagram.
func TestE2EDiagramsRender(t *testing.T) {
	t.Parallel()
	var all []e2e.Diagram
	for _, page := range e2e.Pages(t, "..") {
		for _, b := range page.Blocks {
			if b.Info == "mermaid" {
				all = append(all, e2e.Diagram{Name: fmt.Sprintf("%s:%d", page.Path, b.Line), Text: b.Text})
			}
		}
	}
	if len(all) < 5 {
		t.Fatalf("only %d diagrams", len(all))
	}
	if wrong := e2e.MermaidErrors(t, all); wrong != "" {
		t.Error(wrong)
	}
	if e2e.MermaidErrors(t, []e2e.Diagram{{Name: "broken", Text: "flowchart LR\n a[x --> b"}}) == "" {
		t.Error("Mermaid took a broken diagram")
	}
}
