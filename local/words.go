package local

import (
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-dev/slipway"
)

// goldenWords finds what a model server says of its golden predictions: which
// one differs, and how.
var goldenWords = regexp.MustCompile(`(?s)([^:]*golden prediction \d+[^:,]*)[:,]?\s*(.*)`)

// goldenDetail takes apart what follows: request, expected and got, and who
// expected it.
var goldenDetail = regexp.MustCompile(`(?s)^request (.*?): (at \S+: )?expected (.*), got (.*?)( \([^()]*\))?$`)

// evidence puts request, expected and got below each other. What is not
// understood stays as it is.
func evidence(text string) string {
	d := goldenDetail.FindStringSubmatch(text)
	if d == nil {
		return text
	}
	got := d[4]
	if place := strings.TrimSuffix(d[2], ": "); place != "" {
		got += "   " + place
	}
	by := ""
	if d[5] != "" {
		by = "  " + d[5]
	}
	return fmt.Sprintf("request   %s\nexpected  %s%s\ngot       %s", d[1], d[3], by, got)
}

// lastWords says why a model server ended: what it wrote to its termination
// log, else how it ended and the end of its log.
func (r *replica) lastWords(p *process) slipway.Problem {
	said, err := readFile(r.path("termination-log"), maxTail)
	if err != nil {
		said = nil
	}
	text := printable(string(said), maxEvidence)
	if found := goldenWords.FindStringSubmatch(text); found != nil {
		return slipway.Problem{Kind: "golden-differs", Message: strings.TrimSpace(found[1]), Evidence: evidence(found[2]), Hint: "slipway explain"}
	}
	problem := slipway.Problem{Kind: "crashed", Message: "the model server " + p.ended(), Evidence: text}
	if text == "" {
		problem.Evidence = printable(p.log.lines(10), maxEvidence)
	}
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
		problem.Hint = "if nobody did this by hand, the machine may be short of memory: see `dmesg`"
	}
	return problem
}

func neverReady(p *process, limit time.Duration) slipway.Problem {
	return slipway.Problem{
		Kind:     "never-ready",
		Message:  fmt.Sprintf("the model server was not ready within %s", limit),
		Evidence: printable(p.log.lines(10), maxEvidence),
	}
}

// maxEvidence bounds what a problem quotes, in bytes.
const maxEvidence = 2 << 10

// printable bounds text from a model server and takes out what a terminal
// would obey.
func printable(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r >= ' ' && r != 0x7f && (r < 0x80 || r > 0x9f) {
			return r
		}
		return -1
	}, strings.ToValidUTF8(text, "\uFFFD"))
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + "…"
	}
	return strings.TrimSpace(text)
}
