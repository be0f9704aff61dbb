package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/slipway-dev/slipway"
)

// environmentForm is what GitHub, Azure DevOps and a flag take as a name.
var environmentForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// questions asks a person, where there is one.
type questions struct {
	ctx context.Context // of the command: its end ends the waiting for an answer
	in  *bufio.Reader   // nil: nobody answers
	out io.Writer
}

// newQuestions asks on a terminal, outside of CI.
func newQuestions(ctx context.Context, p *program) *questions {
	q := &questions{ctx: ctx, out: p.stderr}
	f, ok := p.stdin.(*os.File)
	if ok && term.IsTerminal(int(f.Fd())) && p.getenv("CI") == "" && p.ci == nil {
		q.in = bufio.NewReader(f)
	}
	return q
}

func (q *questions) possible() bool { return q.in != nil }

// value returns the flag's value; else what a person answers, with a default to
// accept; else the default. Without any it is wrong usage.
func (q *questions) value(what, flag, given, otherwise string) (string, error) {
	if given != "" {
		return given, nil
	}
	if !q.possible() {
		if otherwise == "" {
			return "", usageError{usagef("%s is missing, and nobody can be asked", strings.ToLower(what)).WithHint("name it: %s", flag)}
		}
		return otherwise, nil
	}
	for {
		fmt.Fprintf(q.out, "%s%s: ", what, orNothing(" ", when(otherwise != "", "["+otherwise+"]")))
		answer, err := q.line()
		if err != nil {
			return "", err
		}
		if answer = orElse(answer, otherwise); answer != "" {
			return answer, nil
		}
	}
}

// confirm is false unless the answer is yes.
func (q *questions) confirm(what string) (bool, error) {
	fmt.Fprintf(q.out, "%s [y/N] ", what)
	answer, err := q.line()
	return strings.EqualFold(answer, "y") || strings.EqualFold(answer, "yes"), err
}

// line reads an answer. Reading cannot be interrupted, so it is left alone
// when the command ends.
func (q *questions) line() (string, error) {
	type answer struct {
		text string
		err  error
	}
	read := make(chan answer, 1)
	go func() {
		text, err := q.in.ReadString('\n')
		read <- answer{text, err}
	}()
	select {
	case <-q.ctx.Done():
		fmt.Fprintln(q.out)
		return "", context.Cause(q.ctx)
	case a := <-read:
		if a.err != nil {
			return "", usageError{usagef("no answer").WithHint("give the flags: slipway init --help")}
		}
		return strings.TrimSpace(a.text), nil
	}
}

// surroundings are what the directory tells already.
type surroundings struct {
	model, image, target, environment string // of slipway.yaml's first release
	ci                                string
	own                               bool
	config                            []byte
}

func lookAround(ctx context.Context, t *tree) (surroundings, error) {
	s := surroundings{ci: "none", own: t.isOurs()}
	remote := remotes(ctx, t.dir)
	switch github, azure := strings.Contains(remote, "github."), strings.Contains(remote, "dev.azure.com") || strings.Contains(remote, ".visualstudio.com"); {
	case github && azure:
		s.ci = "both"
	case github:
		s.ci = "github"
	case azure:
		s.ci = "azure"
	}
	data, err := t.read(defaultConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, usageError{(&slipway.Error{Op: "reading " + defaultConfig, Code: slipway.Invalid, Err: err}).WithHint("remove it, or name another folder with --dir")}
	}
	config, err := decodeConfig(filepath.Join(t.dir, defaultConfig), data)
	if err != nil {
		return s, err
	}
	s.config = data
	return s, s.adopt(config)
}

// adopt takes the first release of slipway.yaml.
func (s *surroundings) adopt(c *config) error {
	if len(c.Models) == 0 {
		return nil
	}
	first := c.Models[0]
	environments, err := chooseEnvironments(first, placeFlags{})
	if err != nil || len(environments) == 0 {
		return err
	}
	s.model, s.image = first.Model, first.Image
	s.target, s.environment = environments[len(environments)-1].Target, environments[len(environments)-1].Name
	return nil
}

func (s surroundings) imageFor(p *program, name slipway.ModelName) string {
	return orElse(s.image, defaultImage(p.getenv, name))
}

// remotes are the addresses that the repository is pushed to. That there is no
// git, or no repository, leaves them empty.
func remotes(ctx context.Context, dir string) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "git", "-C", dir, "remote", "-v").Output()
	if err != nil {
		return ""
	}
	return string(out)
}

// isOurs reports whether the directory is this project's own repository, whose
// pipelines use the action that is beside them.
func (t *tree) isOurs() bool {
	data, err := t.read("go.mod")
	return err == nil && strings.HasPrefix(string(data), "module "+module+"\n")
}
