package pipeline

import "strings"

// command is a logging command: ##vso[area.event name=value;…]data.
type command struct {
	name       string // "task.setvariable", in lower case
	properties map[string]string
	data       string
}

// unescape is what the agent does (azure-pipelines-agent, Command.cs): percent
// signs last.
func unescape(s string) string {
	s = strings.NewReplacer("%3B", ";", "%0D", "\r", "%0A", "\n", "%5D", "]").Replace(s)
	return strings.ReplaceAll(s, "%AZP25", "%")
}

// parseCommand finds a command in a line of output, wherever it begins.
func parseCommand(line string) (command, bool) {
	_, after, found := strings.Cut(line, "##vso[")
	info, data, closed := strings.Cut(after, "]")
	name, properties, _ := strings.Cut(info, " ")
	area, event, dotted := strings.Cut(name, ".")
	if !found || !closed || !dotted || area == "" || event == "" || strings.Contains(event, ".") {
		return command{}, false
	}
	c := command{name: strings.ToLower(name), properties: map[string]string{}, data: unescape(data)}
	for property := range strings.SplitSeq(properties, ";") {
		if key, value, ok := strings.Cut(property, "="); ok && key != "" && value != "" {
			c.properties[strings.ToLower(key)] = unescape(value)
		}
	}
	return c, true
}
