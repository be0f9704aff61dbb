package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/mattn/go-runewidth"
)

// sheet is how a result is laid out: as wide as the terminal and with its
// colours, or as it comes for files and CI logs.
type sheet struct {
	columns int // 0: lines are not broken
	color   bool
}

// sheet returns that of a stream.
func (p *program) sheet(w io.Writer) sheet {
	size, ok := terminal(w, p.getenv)
	if !ok {
		return sheet{}
	}
	columns, _ := size()
	return sheet{columns: columns, color: p.getenv("NO_COLOR") == ""}
}

// signs are the marks of the table, with their colours.
var signs = map[standing][2]string{works: {"✓", green}, skipped: {"–", faint}, noted: {"!", yellow}, fails: {"✗", red}}

// print writes a line a finding; below it why and what mends it.
func (d diagnosis) print(w io.Writer, pg sheet) {
	lines := gathered(d.Findings)
	var check, subject int
	for _, f := range lines {
		check = max(check, runewidth.StringWidth(clean(f.Check)))
		if n := runewidth.StringWidth(clean(f.Subject)); n <= widestSubject {
			subject = max(subject, n)
		}
	}
	for _, f := range lines {
		f.print(w, pg, check, subject)
	}
	fmt.Fprintf(w, "\n%s\n", d.summary())
}

// widestSubject bounds a column: a longer name pushes its line to the right,
// not all of them.
const widestSubject = 44

func (f finding) print(w io.Writer, pg sheet, check, subject int) {
	head := runewidth.FillRight(clean(f.Check), check) + "  "
	if f.Subject != "" {
		head += runewidth.FillRight(clean(f.Subject), subject) + "  "
	}
	lines := []string{clean(f.Found)}
	if room := pg.columns - 4 - runewidth.StringWidth(head); pg.columns > 0 && room >= narrow/2 {
		lines = wrap(lines[0], room)
	}
	sign := signs[f.Mark]
	fmt.Fprintf(w, "  %s %s\n", paint(pg.color, sign[1], sign[0]), head+strings.TrimRight(lines[0], " "))
	for _, line := range lines[1:] {
		fmt.Fprintln(w, strings.Repeat(" ", 4+runewidth.StringWidth(head))+strings.TrimRight(line, " "))
	}
	if f.Why != "" {
		fmt.Fprintf(w, "      %s\n", indentMore(f.Why))
	}
	if f.Fix != "" { // not broken into lines: it is to be copied
		fmt.Fprintf(w, "      %s %s\n", paint(pg.color, green, "fix:"), indentMore(f.Fix))
	}
}

func indentMore(text string) string {
	return strings.ReplaceAll(strings.TrimRight(clean(text), "\n"), "\n", "\n      ")
}

// gathered joins lines that were skipped for the same reason: it is said once,
// before all that it is said of.
func gathered(all []finding) []finding {
	var lines []finding
	for i := 0; i < len(all); {
		f, n := all[i], 1
		names := []string{f.Subject}
		for ; i+n < len(all) && f.Mark == skipped && all[i+n].Mark == skipped && all[i+n].Check == f.Check && all[i+n].Found == f.Found; n++ {
			names = append(names, all[i+n].Subject)
		}
		if n > 1 {
			f.Subject, f.Found = "", strings.Join(names, ", ")+": "+f.Found
		}
		lines = append(lines, f)
		i += n
	}
	return lines
}

func (d diagnosis) summary() string {
	count := map[standing]int{}
	for _, f := range d.Findings {
		count[f.Mark]++
	}
	text := fmt.Sprintf("%s, none fails", plural(len(d.Findings), "check"))
	if n := count[fails]; n > 0 {
		text = fmt.Sprintf("%d of %s %s", n, plural(len(d.Findings), "check"), map[bool]string{true: "fails", false: "fail"}[n == 1])
	}
	if n := count[skipped]; n > 0 {
		text += fmt.Sprintf("; %d not needed or not known", n)
	}
	return text + "."
}

// inCI shows a CI system what was found: all of it on the run's page, and an
// annotation for each thing that fails.
func (d *doctor) inCI(result diagnosis) {
	if d.p.ci == nil {
		return
	}
	d.p.pages = append(d.p.pages, result.page())
	for _, f := range result.Findings {
		if f.Mark == fails {
			d.p.ci.Error("slipway doctor: "+strings.TrimSpace(f.Check+" "+f.Subject), annotation(f.Found, f.Why, f.Fix))
		}
	}
}

func (d diagnosis) page() string {
	var p page
	p.head("%s slipway doctor: %s", map[bool]string{true: "✅", false: "❌"}[d.Works], d.summary())
	rows := [][]string{{"", "check", "", "found", "fix"}}
	for _, f := range gathered(d.Findings) {
		rows = append(rows, []string{signs[f.Mark][0], f.Check, f.Subject, f.Found + orNothing(": ", f.Why), f.Fix})
	}
	p.table(rows)
	return p.b.String()
}
