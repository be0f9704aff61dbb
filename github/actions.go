// Package github speaks with GitHub.
package github

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/slipway-dev/slipway"
)

// Actions is the runner of a GitHub Actions job, to which a step speaks by
// lines in its log and by files (GitHub Docs, "Workflow commands for GitHub
// Actions"; the runner's ActionCommand.cs has the escapes).
type Actions struct {
	log             io.Writer
	output, summary string // files; "": the runner takes none
}

// NewActions returns the runner of this step; nil: this process is not one of
// GitHub Actions. Commands are written to log.
func NewActions(log io.Writer, getenv func(string) string) *Actions {
	if getenv("GITHUB_ACTIONS") != "true" {
		return nil
	}
	return &Actions{log: log, output: getenv("GITHUB_OUTPUT"), summary: getenv("GITHUB_STEP_SUMMARY")}
}

var (
	escapeData     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	escapeProperty = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

func (a *Actions) command(name, title, data string) {
	if title != "" {
		name += " title=" + escapeProperty.Replace(title)
	}
	fmt.Fprintf(a.log, "::%s::%s\n", name, escapeData.Replace(data))
}

// Open begins lines that are folded under a title.
func (a *Actions) Open(title string) { a.command("group", "", title) }

// Close ends them.
func (a *Actions) Close() { a.command("endgroup", "", "") }

// Error marks the run with an error. It fails nothing.
func (a *Actions) Error(title, text string) { a.command("error", title, text) }

// Warning marks the run with a warning.
func (a *Actions) Warning(title, text string) { a.command("warning", title, text) }

// Mask has the runner write *** for the secret from now on, in this job.
func (a *Actions) Mask(secret string) { a.command("add-mask", "", secret) }

// Output sets an output of the step.
func (a *Actions) Output(name, value string) error {
	end := "end-" + rand.Text() // no value can know it
	return appendTo(a.output, fmt.Sprintf("%s<<%s\n%s\n%s\n", name, end, value, end))
}

// Name is how outputs are called here: model-version.
func (a *Actions) Name(output string) string { return output }

// maxSummary is what the runner takes of one step, in bytes.
const maxSummary = 1 << 20

// Summary adds Markdown to the page of the run. What would be too much for the
// runner, which then shows nothing, is cut.
func (a *Actions) Summary(markdown string) error {
	room := maxSummary
	if info, err := os.Stat(a.summary); err == nil {
		room = max(0, room-int(info.Size()))
	}
	return appendTo(a.summary, strings.ToValidUTF8(markdown[:min(len(markdown), room)], ""))
}

func appendTo(path, text string) error {
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return &slipway.Error{Op: "telling GitHub Actions", Code: slipway.Unavailable, Err: err}
	}
	return nil
}

// Defuse changes lines of foreign text that the runner would obey: it takes
// "::command" at the beginning of a line and, from older days, "##[command"
// anywhere.
func (a *Actions) Defuse(line string) string {
	line = strings.ReplaceAll(line, "##[", "# #[")
	rest := strings.TrimLeft(line, " \t")
	if strings.HasPrefix(rest, "::") {
		return line[:len(line)-len(rest)] + ": :" + rest[2:]
	}
	return line
}
