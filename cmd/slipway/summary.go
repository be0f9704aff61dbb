package main

import (
	"fmt"
	"html"
	"slices"
	"strings"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/rollout"
)

// page is Markdown that a CI system shows beside a run. What comes from outside
// is text there, never markup.
type page struct{ b strings.Builder }

func (p *page) head(format string, args ...any) {
	fmt.Fprintf(&p.b, "## %s\n\n", markdown(fmt.Sprintf(format, args...)))
}

func (p *page) text(text string) { fmt.Fprintf(&p.b, "%s\n\n", markdown(text)) }

// code shows lines as they are. A fence is longer than any in the text
// (CommonMark 0.31, "Fenced code blocks").
func (p *page) code(text string) {
	fence := "```"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	fmt.Fprintf(&p.b, "%s\n%s\n%s\n\n", fence, strings.TrimRight(clean(text), "\n"), fence)
}

// table writes rows; the first is the heading.
func (p *page) table(rows [][]string) {
	for i, row := range rows {
		for _, cell := range row {
			p.b.WriteString("| " + markdown(cell) + " ")
		}
		p.b.WriteString("|\n")
		if i == 0 {
			p.b.WriteString(strings.Repeat("|---", len(row)) + "|\n")
		}
	}
	p.b.WriteString("\n")
}

// fold hides what is below a line until somebody opens it.
func (p *page) fold(line string, inside func()) {
	fmt.Fprintf(&p.b, "<details><summary>%s</summary>\n\n", html.EscapeString(clean(line)))
	inside()
	p.b.WriteString("</details>\n\n")
}

var noMarkdown = strings.NewReplacer(`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "|", `\|`, "~", `\~`, "#", `\#`,
	"&", "&amp;", "<", "&lt;", ">", "&gt;", "\r", "", "\n", " ", "@", "&#64;")

// markdown writes a text of one line so that it is shown as it is: it neither
// formats nor links nor calls people by their names (GitHub's @).
func markdown(text string) string { return noMarkdown.Replace(clean(text)) }

// outcomeSummary tells a release: how it ended, why, and how it went.
func outcomeSummary(out rollout.Outcome) string {
	var p page
	p.head("%s", mark(out.Kind)+headline(out))
	r := out.Release
	if out.Kind != rollout.Live && out.Kind != rollout.Unverified {
		p.trouble(out)
	}
	if r.ID == "" {
		return p.b.String()
	}
	p.table(facts(out))
	if len(r.Spans) > 0 {
		p.table(timeline(r.Spans))
	}
	if r.Verdict != nil && len(r.Verdict.Replicas) > 0 {
		p.fold(checkedText(*r.Verdict), func() { p.table(checkedReplicas(*r.Verdict)) })
	}
	return p.b.String()
}

func mark(k rollout.Kind) string {
	switch k {
	case rollout.Live, rollout.Nothing, rollout.Resumed:
		return "✅ "
	case rollout.Unverified, rollout.Superseded, rollout.Held, rollout.Quarantined, waits:
		return "🟡 "
	}
	return "❌ "
}

func headline(out rollout.Outcome) string {
	r := out.Release
	where := orElse(r.Environment, r.Target)
	switch out.Kind {
	case rollout.Live:
		return fmt.Sprintf("%s is live in %s", nameOf(r), where)
	case rollout.RolledBack:
		serving := "the version before"
		if out.Serving != nil {
			serving = out.Serving.Model.String()
		}
		return fmt.Sprintf("%s was rolled back; %s serves in %s", nameOf(r), serving, where)
	case rollout.Failed:
		if nameOf(r) != "" {
			return fmt.Sprintf("%s was not rolled out in %s; nothing was changed", nameOf(r), where)
		}
	}
	return orElse(out.Message, string(out.Kind))
}

// nameOf is the version, or what was asked for before that was known.
func nameOf(r slipway.Release) string {
	if r.Model.Name == "" {
		return r.Asked
	}
	return r.Model.String()
}

// trouble says why it did not become live, and what mends it.
func (p *page) trouble(out rollout.Outcome) {
	f := out.Release.Failure
	if f == nil {
		if headline(out) != out.Message {
			p.text(out.Message)
		}
	} else {
		p.text(f.Step + ": " + f.Problem.Message)
		if evidence := evidence(f.Problem); evidence != "" && evidence != f.Problem.Message {
			p.code(evidence)
		}
	}
	switch fix := orElse(out.Hint, fixOf(f)); {
	case isCommand(fix):
		p.text("To mend it:")
		p.code(fix)
	case fix != "":
		p.text("To mend it: " + fix)
	}
}

// isCommand tells a command from advice.
func isCommand(fix string) bool {
	program, _, _ := strings.Cut(fix, " ")
	return slices.Contains([]string{"slipway", "kubectl", "az", "docker", "pip", "uv"}, program)
}

func fixOf(f *slipway.Failure) string {
	if f == nil {
		return ""
	}
	return f.Problem.Hint
}

func facts(out rollout.Outcome) [][]string {
	r := out.Release
	rows := [][]string{{"model", nameOf(r)}, {"promotion", r.Reason}, {"target", r.Target}}
	if image := imageText(r); image != "" {
		rows = append(rows, []string{"image", image + " (" + bytesText(r.Image.Size) + ")"})
	}
	if r.Golden != "" {
		rows = append(rows, []string{"predictions", provenText(r) + verdictText(r.Verdict)})
	}
	if r.Previous != nil {
		rows = append(rows, []string{"before", r.Previous.Model.String()})
	}
	rows = append(rows, []string{"release", string(r.ID) + " by " + r.Actor})
	if r.RunURL != "" {
		rows = append(rows, []string{"run", r.RunURL})
	}
	return rows
}

// timeline is what happened when, from the first step on.
func timeline(spans []slipway.Span) [][]string {
	rows := [][]string{{"at", "step", "took", ""}}
	for _, s := range spans {
		at := s.Start.Sub(spans[0].Start)
		rows = append(rows, []string{when(at > 0, "+"+seconds(at)), s.Step, seconds(s.Duration), s.Detail})
	}
	last := spans[len(spans)-1]
	return append(rows, []string{"", "", seconds(last.Start.Add(last.Duration).Sub(spans[0].Start).Round(time.Millisecond)), "in all"})
}

func checkedReplicas(v slipway.Verdict) [][]string {
	rows := [][]string{{"replica", "health", "ready", "predictions", ""}}
	for _, c := range v.Replicas {
		problem := ""
		if c.Problem != nil {
			problem = c.Problem.Message
		}
		rows = append(rows, []string{c.Replica, fmt.Sprintf("%d of %d", c.Health, slipway.HealthChecks), when(c.Ready, "yes"), fmt.Sprint(c.Predictions), problem})
	}
	return rows
}

// goldenSummary shows what the model answered when its image was built.
func goldenSummary(r slipway.Release, g mlmodel.Golden) string {
	var p page
	p.head("%s answers", nameOf(r))
	p.text(goldenText(g))
	rows := [][]string{{"request", "answer"}}
	for _, prediction := range g.Predictions {
		rows = append(rows, []string{clip(string(prediction.Request), 300), clip(string(prediction.Answer), 300)})
	}
	p.table(rows)
	return p.b.String()
}
