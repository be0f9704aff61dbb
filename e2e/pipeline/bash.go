package pipeline

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// killAfter is how long a cancelled script may take to end.
const killAfter = 10 * time.Second

// Task does what a task of Azure Pipelines does. Its error fails the step.
type Task func(ctx context.Context, t *TaskRun) error

// TaskRun is a task at work.
type TaskRun struct {
	Inputs map[string]string
	agent  *agent
	log    *stepLog
	env    map[string]string
}

// Variable returns the value of a variable of the job.
func (t *TaskRun) Variable(name string) string { return t.agent.value(name) }

// Say writes a line to the step's log; the agent obeys logging commands in it.
func (t *TaskRun) Say(line string) { t.log.line(line) }

// Bash runs a script of the task, as AzureCLI@2 does, with more in its
// environment.
func (t *TaskRun) Bash(ctx context.Context, script string, more map[string]string) error {
	env := map[string]string{}
	for _, from := range []map[string]string{t.env, more} {
		for name, value := range from {
			env[name] = value
		}
	}
	return t.agent.bash(ctx, script, env, t.log)
}

// bash runs a script as Bash@3 does: from a file, both its outputs into one
// log. When the run is cancelled, bash gets a SIGTERM, and nobody else.
func (a *agent) bash(ctx context.Context, script string, env map[string]string, log *stepLog) error {
	file, err := os.CreateTemp(a.value("Agent.TempDirectory"), "*.sh")
	if err != nil {
		return err
	}
	_, err = file.WriteString(a.variables.expand(script))
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	ours, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ours.Close()
	cmd := exec.CommandContext(ctx, "bash", file.Name())
	cmd.Dir, cmd.Env = a.value("System.DefaultWorkingDirectory"), a.environment(env)
	cmd.Stdout, cmd.Stderr = theirs, theirs
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = killAfter
	err = cmd.Start()
	theirs.Close() //nolint:errcheck // the script has its own
	if err != nil {
		return err
	}
	log.lines(ours)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("bash: %w", err)
	}
	return nil
}

// environment is the agent's own, the variables, and what the step names; the
// last wins.
func (a *agent) environment(step map[string]string) []string {
	all := map[string]string{}
	for _, e := range a.run.Env {
		name, value, _ := strings.Cut(e, "=")
		all[name] = value
	}
	for name, value := range a.variables.environment() {
		all[name] = value
	}
	all["HOME"], all["TMPDIR"] = a.value("Agent.HomeDirectory"), a.value("Agent.TempDirectory")
	for name, value := range step {
		all[name] = a.variables.expand(value)
	}
	for _, folder := range a.path {
		all["PATH"] = folder + ":" + all["PATH"]
	}
	var env []string
	for name, value := range all {
		env = append(env, name+"="+value)
	}
	return env
}

// longestLine bounds a line of a log, in bytes.
const longestLine = 4 << 20

// lines reads a log to its end.
func (l *stepLog) lines(from io.Reader) {
	scanner := bufio.NewScanner(from)
	scanner.Buffer(nil, longestLine)
	for scanner.Scan() {
		l.line(scanner.Text())
	}
	if err := scanner.Err(); err != nil {
		l.failed = true
		l.line("##[error]reading the log: " + err.Error())
		_, _ = io.Copy(io.Discard, from) // or the script waits for ever for somebody to read
	}
}
