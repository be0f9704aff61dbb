// Package azuredevops speaks with Azure DevOps.
package azuredevops

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/slipway-dev/slipway"
)

// Agent is the agent of an Azure Pipelines job, to which a step speaks by lines
// in its log (Microsoft Learn, "Logging commands"; azure-pipelines-agent's
// Command.cs has the escapes).
type Agent struct {
	log  io.Writer
	temp string // folder of the job
}

// NewAgent returns the agent of this step; nil: this process is not one of
// Azure Pipelines. Commands are written to log.
func NewAgent(log io.Writer, getenv func(string) string) *Agent {
	if !strings.EqualFold(getenv("TF_BUILD"), "true") {
		return nil
	}
	return &Agent{log: log, temp: getenv("AGENT_TEMPDIRECTORY")}
}

var (
	escapeData     = strings.NewReplacer("%", "%AZP25", "\r", "%0D", "\n", "%0A")
	escapeProperty = strings.NewReplacer("%", "%AZP25", "\r", "%0D", "\n", "%0A", ";", "%3B", "]", "%5D")
)

func (a *Agent) command(name, properties, data string) {
	if properties != "" {
		name += " " + properties + ";"
	}
	fmt.Fprintf(a.log, "##vso[%s]%s\n", name, escapeData.Replace(data))
}

// Open begins lines that are folded under a title.
func (a *Agent) Open(title string) { fmt.Fprintf(a.log, "##[group]%s\n", oneLine(title)) }

// Close ends them.
func (a *Agent) Close() { fmt.Fprintln(a.log, "##[endgroup]") }

// Error marks the run with an error. It fails nothing.
func (a *Agent) Error(title, text string) {
	a.command("task.logissue", "type=error", a.Defuse(title+": "+text))
}

// Warning marks the run with a warning.
func (a *Agent) Warning(title, text string) {
	a.command("task.logissue", "type=warning", a.Defuse(title+": "+text))
}

// Mask has the agent write *** for the secret from now on, in this job.
func (a *Agent) Mask(secret string) { a.command("task.setsecret", "", secret) }

// Output sets an output variable of the step.
func (a *Agent) Output(name, value string) error {
	a.command("task.setvariable", "variable="+escapeProperty.Replace(name)+";isOutput=true", value)
	return nil
}

// Name is how outputs are called here, where a dash ends a name: model_version.
func (a *Agent) Name(output string) string { return strings.ReplaceAll(output, "-", "_") }

// Summary adds a page of Markdown to the run. The agent reads the file once the
// line that names it is in the log, so it stays.
func (a *Agent) Summary(markdown string) error {
	f, err := os.CreateTemp(a.temp, "slipway-*.md")
	if err == nil {
		_, err = f.WriteString(markdown)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return &slipway.Error{Op: "telling Azure Pipelines", Code: slipway.Unavailable, Err: err}
	}
	path, err := filepath.Abs(f.Name())
	if err != nil {
		return &slipway.Error{Op: "telling Azure Pipelines", Code: slipway.Internal, Err: err}
	}
	a.command("task.uploadsummary", "", path)
	return nil
}

// Defuse changes what the agent would obey in foreign text: it takes commands
// anywhere in a line.
func (a *Agent) Defuse(line string) string {
	return strings.NewReplacer("##vso[", "# #vso[", "##[", "# #[").Replace(line)
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
