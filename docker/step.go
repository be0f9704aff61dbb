package docker

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/slipway-dev/slipway"
)

// failedStep is a command of a Dockerfile that failed.
type failedStep struct {
	command string
	code    string // exit code
}

var (
	exitForm = regexp.MustCompile(`(?m)(?:process|executor failed running \[)\s*"?(.*?)"?\]?(?: did not complete successfully)?: (?:exit code|runc did not terminate \S+): (\d+)\s*$`)
	lineForm = regexp.MustCompile(`(?m)^(?:.*/)?[Dd]ockerfile\S*:(\d+)\s*$`)
	fromStep = regexp.MustCompile(`^#(\d+) \d+\.\d+ (.*)$`)
	failForm = regexp.MustCompile(`(?m)^#(\d+) ERROR: `)
)

// step finds the command that failed; nil: none did.
func step(said string) *failedStep {
	found := exitForm.FindStringSubmatch(errorLines(said))
	if found == nil {
		return nil
	}
	return &failedStep{command: strings.TrimPrefix(found[1], "/bin/sh -c "), code: found[2]}
}

// stepFailed names the line of the Dockerfile and shows what the command wrote
// last: that, not BuildKit's account of it, tells what to mend.
func stepFailed(op, said string, at failedStep, dockerfile []byte) error {
	where := "the Dockerfile"
	if line := lineOf(said, dockerfile); line != "" {
		where = "line " + line + " of the Dockerfile"
	}
	code, hint := slipway.Invalid, "mend that line; docker buildx build shows all of its output"
	output := outputOf(said)
	switch {
	case at.code == "137":
		code, hint = slipway.Exhausted, "it was killed, most likely for its memory: give the Docker engine more"
	case strings.Contains(output, "THESE PACKAGES DO NOT MATCH THE HASHES"):
		code, hint = slipway.Corrupt, "the package index has another file than when it was locked: build with --upgrade to lock it anew"
	case unreachable.MatchString(output):
		code, hint = slipway.Unavailable, "containers of this Docker engine do not reach the network: check it and the proxies (https://docs.docker.com/engine/cli/proxy)"
	}
	message := fmt.Sprintf("%s: %s: exit code %s", where, short(strings.Join(strings.Fields(at.command), " "), 200), at.code)
	return (&slipway.Error{Op: op, Code: code, Message: message, Err: evidence(output)}).WithHint("%s", hint)
}

var stepForm = regexp.MustCompile(`(?m)^ > \[[^\]]*\] (.*):$`)

// lineOf is the number of the line that failed, "" where nothing tells. BuildKit
// says it since 0.9; before, it says the instruction.
func lineOf(said string, dockerfile []byte) string {
	if line := lineForm.FindStringSubmatch(said); line != nil {
		return line[1]
	}
	failed := stepForm.FindStringSubmatch(said)
	if failed == nil {
		return ""
	}
	for _, i := range instructions(string(dockerfile)) {
		if i.text == strings.Join(strings.Fields(failed[1]), " ") {
			return strconv.Itoa(i.line)
		}
	}
	return ""
}

// instruction is one of a Dockerfile, its lines joined.
type instruction struct {
	line int // its first, from 1
	text string
}

func instructions(dockerfile string) (list []instruction) {
	open, n := false, 0
	for line := range strings.Lines(dockerfile) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		text, goesOn := strings.CutSuffix(line, `\`)
		if !open {
			list = append(list, instruction{line: n})
		}
		last := &list[len(list)-1]
		last.text = strings.Join(strings.Fields(last.text+" "+text), " ")
		open = goesOn
	}
	return list
}

var unreachable = regexp.MustCompile(`Temporary failure in name resolution|Temporary failure resolving|Name or service not known|Network is unreachable|Could not resolve|NewConnectionError`)

// outputLines is how many lines of a failed command's output are shown.
const outputLines = 8

// outputOf are the last lines that the failed step wrote: "#7 0.512 text".
func outputOf(said string) string {
	failed := failForm.FindStringSubmatch(said)
	if failed == nil {
		return ""
	}
	var lines []string
	for line := range strings.Lines(said) {
		part := fromStep.FindStringSubmatch(strings.TrimRight(line, "\n"))
		if part == nil || part[1] != failed[1] {
			continue
		}
		lines = append(lines, part[2])
	}
	return short(strings.Join(lines[max(0, len(lines)-outputLines):], "\n"), 2000)
}

// evidence is what a command wrote.
type evidence string

func (e evidence) Error() string { return string(e) }

// Evidence returns what the command wrote, line by line.
func (e evidence) Evidence() string { return string(e) }
