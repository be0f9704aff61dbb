package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/slipway-dev/slipway"
)

// printError writes what happened, why, and what mends it.
func printError(w io.Writer, err error, getenv func(string) string) {
	_, isTerminal := terminal(w, getenv)
	color := isTerminal && getenv("NO_COLOR") == ""
	head, reason := what(err)
	fmt.Fprintf(w, "%s %s\n", paint(color, red, "error:"), indent(clean(head)))
	if reason != "" {
		fmt.Fprintf(w, "  %s\n", indent(clean(reason)))
	}
	hint := orElse(slipway.HintOf(err), lastResort(slipway.CodeOf(err)))
	fmt.Fprintf(w, "  %s %s\n", paint(color, green, "fix:"), indent(clean(hint)))
}

// lastResort is the hint for an error that brings none.
func lastResort(code slipway.Code) string {
	switch code {
	case slipway.Unavailable:
		return "run it again; what was reached already is not done twice"
	case slipway.Exhausted:
		return "free disk space, or raise the limit named above, and run it again"
	case slipway.Unauthorized:
		return "check the credentials of the host named above"
	case slipway.NotFound, slipway.Invalid:
		return "mend what is named above, and run it again"
	case slipway.Conflict, slipway.Superseded:
		return "slipway status says who has the target now; run it again"
	}
	return "please report this, with the lines above: it should not happen"
}

// what splits an error into what happened and why.
func what(err error) (head, reason string) {
	var e *slipway.Error
	if !errors.As(err, &e) {
		return err.Error(), ""
	}
	head = e.Message
	if e.Op != "" && head != "" {
		head = e.Op + ": " + head
	}
	if e.Err != nil {
		reason = e.Err.Error()
	}
	if head == "" {
		head, reason = orElse(e.Op, reason), when(e.Op != "", reason)
	}
	return head, reason
}

func when(condition bool, text string) string {
	if condition {
		return text
	}
	return ""
}

func indent(text string) string {
	return strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n  ")
}
