package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// GitHub is a repository on GitHub with this repository's files, those among
// them that are not committed yet. act runs its workflows on this machine,
// without containers: each job has a workspace of its own, all share Home and
// what Env says.
type GitHub struct {
	Dir       string // the repository: tests may add files
	Home      string
	Secrets   map[string]string // of the repository's settings
	Variables map[string]string
	Env       []string // KEY=VALUE, of the runner's machine

	t   testing.TB
	act string
}

// NewGitHub returns a repository without secrets and variables.
func NewGitHub(t testing.TB) *GitHub {
	t.Helper()
	g := &GitHub{Dir: t.TempDir(), Home: t.TempDir(), Secrets: map[string]string{}, Variables: map[string]string{}, t: t, act: Act(t)}
	root := strings.TrimSpace(output(t, ".", "git", "rev-parse", "--show-toplevel"))
	files := output(t, root, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	for name := range strings.SplitSeq(strings.TrimRight(files, "\x00"), "\x00") {
		data, err := os.ReadFile(filepath.Join(root, name))
		if os.IsNotExist(err) { // deleted, and that is not committed
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		g.Write(name, string(data))
	}
	names := []string{"GOCACHE", "GOMODCACHE", "GOPROXY"} // which Go would look for in Home
	for i, value := range strings.Split(strings.TrimRight(output(t, root, "go", append([]string{"env"}, names...)...), "\n"), "\n") {
		g.Env = append(g.Env, names[i]+"="+value)
	}
	return g
}

func output(t testing.TB, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", strings.Join(cmd.Args, " "), err)
	}
	return string(out)
}

// Write adds a file to the repository.
func (g *GitHub) Write(name, text string) {
	g.t.Helper()
	g.put(filepath.Join(g.Dir, name), text)
}

func (g *GitHub) put(path, text string) string {
	g.t.Helper()
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o600)
	}
	if err != nil {
		g.t.Fatal(err)
	}
	return path
}

// setUpGo stands for actions/setup-go on a machine that has Go.
const setUpGo = "name: setup-go\nruns: {using: composite, steps: [{shell: bash, run: go version}]}\n"

// Command returns a run of a workflow, by its path, that has not started yet:
// as GitHub starts it at an event ("repository_dispatch") with this payload.
// Its standard output is for ReadAct. Secrets are not hidden in it: what keeps
// them out is not act.
func (g *GitHub) Command(ctx context.Context, workflow, event string, payload any) *exec.Cmd {
	g.t.Helper()
	dir, err := os.MkdirTemp(g.Home, "run-")
	if err != nil {
		g.t.Fatal(err)
	}
	file := func(name string, v any) string { // JSON is YAML
		data, err := json.Marshal(v)
		if err != nil {
			g.t.Fatal(err)
		}
		return g.put(filepath.Join(dir, name), string(data))
	}
	cmd := exec.CommandContext(ctx, g.act, event, "-C", g.Dir, "-W", workflow, "-e", file("event.json", payload),
		"--secret-file", file("secrets.yml", g.Secrets), "--var-file", file("vars.yml", g.Variables),
		"--json", "--insecure-secrets", "--rm", "--no-cache-server", "--action-cache-path", filepath.Join(dir, "act"),
		"-P", "ubuntu-latest=-self-hosted",
		"--local-repository", "actions/setup-go@v5="+filepath.Dir(g.put(filepath.Join(dir, "setup-go", "action.yml"), setUpGo)))
	for _, v := range []string{"GITHUB_REPOSITORY=ada/models", "GITHUB_REF=refs/heads/main", "SHA_REF=" + strings.Repeat("1", 40)} {
		cmd.Args = append(cmd.Args, "--env", v)
	}
	cmd.Dir = dir
	cmd.Env = append([]string{"HOME=" + g.Home, "USER=ada", "PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir()}, g.Env...)
	return cmd
}

// ActLine is one line of act's log.
type ActLine struct {
	Job        string   // with the caller's name before it, in a workflow that is called
	JobID      string   // as the workflow has it: "deploy"
	StepID     []string // with those of actions around it
	Msg        string
	Command    string // "set-output", "summary", "error", "warning", "add-mask", "group", …
	Name, Arg  string // of set-output
	Content    string // of summary
	StepResult string // "success", …
	JobResult  string
}

// ActLog is what act said.
type ActLog []ActLine

// ReadAct reads the standard output of a Command.
func ReadAct(stdout string) (ActLog, error) {
	var log ActLog
	for line := range strings.Lines(stdout) {
		var l ActLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			return log, fmt.Errorf("act said %q: %w", line, err)
		}
		log = append(log, l)
	}
	return log, nil
}

// Output returns what the step of the job set: "rollout", "status".
func (log ActLog) Output(job, step, name string) (value string) {
	for _, l := range log {
		if l.JobID == job && l.Command == "set-output" && l.Name == name && slices.Equal(l.StepID, []string{step}) {
			value = l.Arg
		}
	}
	return value
}

// Summary returns the Markdown that the job's steps wrote.
func (log ActLog) Summary(job string) (text string) {
	for _, l := range log {
		if l.JobID == job && l.Command == "summary" {
			text += l.Content
		}
	}
	return text
}

// Said returns the texts of a command, such as "error", in the job.
func (log ActLog) Said(job, command string) (text string) {
	for _, l := range log {
		if l.JobID == job && l.Command == command {
			text += l.Msg + "\n"
		}
	}
	return text
}

// Results returns how the jobs ended that were run: "success" or "failure".
func (log ActLog) Results() map[string]string {
	results := map[string]string{}
	for _, l := range log {
		if l.JobResult != "" {
			results[l.JobID] = l.JobResult
		}
	}
	return results
}

func (log ActLog) String() string {
	var b strings.Builder
	for _, l := range log {
		fmt.Fprintf(&b, "[%s] %s\n", l.JobID, strings.TrimRight(l.Msg, "\r\n"))
	}
	return b.String()
}
