package local

import (
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

// lastWords says why a model server ended: what it wrote to its termination
// log, else how it ended and the end of its log.
func (r *replica) lastWords(p *process) slipway.Problem {
	log, err := readFile(r.path("termination-log"), mlmodel.MaxTermination)
	if err != nil {
		log = nil
	}
	said, ok := mlmodel.DecodeTermination(log)
	if ok && said.Kind == mlmodel.TerminationGolden {
		return slipway.Problem{Kind: said.Kind, Message: said.Message, Evidence: printable(said.Evidence, maxEvidence), Hint: said.Hint}
	}
	problem := slipway.Problem{Kind: "crashed", Message: "the model server " + p.ended(), Evidence: printable(said.Message+"\n"+said.Evidence, maxEvidence), Hint: said.Hint}
	if !ok { // another program's words
		problem.Evidence = printable(string(log), maxEvidence)
	}
	if problem.Evidence == "" {
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
