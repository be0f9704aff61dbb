package pipeline

import (
	"fmt"
	"os"
	"strings"
)

// stepLog is the log of a step, in which the agent looks for commands.
type stepLog struct {
	agent  *agent
	step   step
	result *StepResult
	failed bool // by a command
}

// line obeys a command, or writes the line with secrets masked.
func (l *stepLog) line(line string) {
	c, ok := parseCommand(line)
	if ok {
		if err := l.obey(c); err != nil {
			l.failed = true
			l.line("##[error]" + c.name + ": " + err.Error())
		}
		if c.name == "task.setsecret" || strings.EqualFold(c.properties["issecret"], "true") {
			return
		}
	}
	for _, secret := range l.agent.secrets() {
		if strings.Contains(line, secret) {
			l.result.Leaked = true
			line = strings.ReplaceAll(line, secret, "***")
		}
	}
	l.result.Log += line + "\n"
	if l.agent.run.Said != nil {
		l.agent.run.Said(l.step.title(), line)
	}
}

func (l *stepLog) obey(c command) error {
	switch c.name {
	case "task.setvariable":
		return l.setVariable(c)
	case "task.setsecret":
		if c.data != "" {
			l.agent.masked = append(l.agent.masked, c.data)
		}
	case "task.prependpath":
		l.agent.path = append(l.agent.path, c.data)
	case "task.logissue":
		kind := c.properties["type"]
		if kind != "error" && kind != "warning" {
			return fmt.Errorf("type %q is neither error nor warning", kind)
		}
		l.result.Issues = append(l.result.Issues, Issue{kind, c.data})
	case "task.uploadsummary":
		data, err := os.ReadFile(c.data)
		l.result.Summaries = append(l.result.Summaries, string(data))
		return err
	case "task.debug", "task.setprogress":
	default:
		return fmt.Errorf("there is no such command")
	}
	return nil
}

// setVariable sets a variable for the steps that follow; an output variable
// under the step's name, and for what comes after the job too.
func (l *stepLog) setVariable(c command) error {
	name := c.properties["variable"]
	if name == "" {
		return fmt.Errorf("it names no variable")
	}
	value := Variable{Value: c.data, Secret: strings.EqualFold(c.properties["issecret"], "true")}
	if strings.EqualFold(c.properties["isoutput"], "true") {
		if l.step.name == "" {
			return fmt.Errorf("the step of the output variable %s has no name", name)
		}
		name = l.step.name + "." + name
		l.agent.outputs[name] = c.data
	}
	l.agent.variables.set(name, value)
	return nil
}
