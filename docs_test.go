package slipway_test

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/slipway-dev/slipway/e2e"
)

// kinds are the blocks that are run: with nothing but slipway (here), with MLflow
// and an image registry, and with a cluster too (e2e/docs_e2e_test.go).
var kinds = []string{"sh test", "sh test e2e", "sh test cluster"}

func pages(t *testing.T) []e2e.Page {
	t.Helper()
	return e2e.Pages(t, ".")
}

func TestParsePage(t *testing.T) {
	t.Parallel()
	p := e2e.ParsePage("x.md", "# A\n```sh test\ntrue\n```\n[b](c)\n  ```\n  d\n  ```\n")
	if len(p.Blocks) != 2 || p.Blocks[0] != (e2e.Block{Info: "sh test", Text: "true\n", Line: 2}) || p.Prose != "# A\n[b](c)\n\n" {
		t.Errorf("%+v", p)
	}
}

var (
	inlineCode = regexp.MustCompile("`[^`\n]*`")
	linkTo     = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	heading    = regexp.MustCompile(`(?m)^#{1,6} +(.+?) *$`)
)

// anchors are those that GitHub gives a page's headings: small letters, without
// punctuation, blanks as dashes, and numbered where they repeat.
func anchors(p e2e.Page) []string {
	var all []string
	seen := map[string]int{}
	for _, m := range heading.FindAllStringSubmatch(p.Prose, -1) {
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, linkTo.ReplaceAllString(m[1], "]"))
		if n := seen[name]; n > 0 {
			all = append(all, fmt.Sprintf("%s-%d", name, n))
		} else {
			all = append(all, name)
		}
		seen[name]++
	}
	return all
}

// Every link within the repository leads to something, also to the right place
// of a page.
func TestDocumentsLinkToWhatIsThere(t *testing.T) {
	t.Parallel()
	all := pages(t)
	links := 0
	for _, p := range all {
		for _, m := range linkTo.FindAllStringSubmatch(inlineCode.ReplaceAllString(p.Prose, ""), -1) {
			to, err := url.Parse(m[1])
			if err != nil || to.Scheme != "" {
				continue
			}
			links++
			if problem := checkLink(all, p, to); problem != "" {
				t.Errorf("%s: %s: %s", p.Path, m[1], problem)
			}
		}
	}
	if links < 100 {
		t.Errorf("only %d links were found", links)
	}
}

func checkLink(all []e2e.Page, from e2e.Page, to *url.URL) string {
	path := from.Path
	if to.Path != "" {
		path = filepath.Join(filepath.Dir(from.Path), filepath.FromSlash(to.Path))
	}
	if _, err := os.Stat(path); err != nil {
		return "there is no such file"
	}
	i := slices.IndexFunc(all, func(p e2e.Page) bool { return p.Path == path })
	if to.Fragment == "" || i >= 0 && slices.Contains(anchors(all[i]), to.Fragment) {
		return ""
	}
	return "there is no such heading"
}

// The pages that the documentation begins with are there, and linked.
func TestDocumentsPeopleStartFrom(t *testing.T) {
	t.Parallel()
	all := pages(t)
	i := slices.IndexFunc(all, func(p e2e.Page) bool { return p.Path == "docs/CICD_INDEX.md" })
	if i < 0 {
		t.Fatal("there is no docs/CICD_INDEX.md")
	}
	for _, p := range all {
		name, ours := strings.CutPrefix(p.Path, "docs/")
		if ours && p.Path != all[i].Path && !strings.Contains(all[i].Prose, "]("+name) {
			t.Errorf("docs/CICD_INDEX.md does not link %s", name)
		}
	}
}

// command is what a line of a shell, or inline code, says of slipway.
var command = regexp.MustCompile(`(?:^|[\s(;&|])slipway (webhook )?([a-z]+(?:-[a-z]+)*)\b([^|;&#\n]*)`)

// describedFlag is a line of the generated reference.
var describedFlag = regexp.MustCompile("^- `(?:-\\w, )?--([a-z-]+)")

var flag = regexp.MustCompile(`(?:^|\s)--([a-z][a-z-]+)`)

// commands are the command line's own, from its generated reference: flags by
// command, those of every one under "".
func commands(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	all, name := map[string][]string{}, ""
	for _, line := range strings.Split(string(text), "\n") {
		if title, ok := strings.CutPrefix(line, "### slipway "); ok {
			name = title
			all[name] = []string{"help"}
		}
		if m := describedFlag.FindStringSubmatch(line); m != nil {
			all[name] = append(all[name], m[1])
		}
	}
	return all
}

// No page tells of a command or a flag that does not exist, also where it is
// not run.
func TestDocumentsTellOfWhatExists(t *testing.T) {
	t.Parallel()
	known := commands(t)
	for _, p := range pages(t) {
		texts := inlineCode.FindAllString(p.Prose, -1)
		for _, b := range p.Blocks {
			if b.Info == "" || strings.HasPrefix(b.Info, "sh") {
				texts = append(texts, b.Text)
			}
		}
		for _, text := range texts {
			for _, m := range command.FindAllStringSubmatch(strings.Trim(text, "`"), -1) {
				checkCommand(t, known, p.Path, strings.TrimSpace(m[1]+m[2]), m[3])
			}
		}
	}
}

func checkCommand(t *testing.T, known map[string][]string, path, name, arguments string) {
	t.Helper()
	flags, ok := known[name]
	if !ok {
		if name != "webhook" {
			t.Errorf("%s: there is no command slipway %s", path, name)
		}
		return
	}
	for _, m := range flag.FindAllStringSubmatch(arguments, -1) {
		if !slices.Contains(flags, m[1]) && !slices.Contains(known[""], m[1]) {
			t.Errorf("%s: slipway %s has no flag --%s", path, name, m[1])
		}
	}
}

// A block that says it is tested is run by somebody.
func TestDocumentsAreTestedAsTheySay(t *testing.T) {
	t.Parallel()
	count := map[string]int{}
	for _, p := range pages(t) {
		for _, b := range p.Blocks {
			if count[b.Info]++; strings.Contains(b.Info, "test") && !slices.Contains(kinds, b.Info) {
				t.Errorf("%s:%d: no test runs blocks of %q, only %q", p.Path, b.Line, b.Info, kinds)
			}
		}
	}
	for _, kind := range kinds {
		if count[kind] == 0 {
			t.Errorf("no page has a block %q", kind)
		}
	}
}

// The blocks of each page that need nothing but slipway run as they are
// written, one after the other in one shell.
func TestDocumentsRun(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(bin, "slipway"), "./cmd/slipway").CombinedOutput(); err != nil {
		t.Fatalf("building slipway: %v\n%s", err, out)
	}
	for _, p := range pages(t) {
		script := p.Script(kinds[0])
		if script == "" {
			continue
		}
		t.Run(p.Path, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
			cmd.Dir = t.TempDir()
			cmd.Env = []string{"HOME=" + cmd.Dir, "PATH=" + bin + ":" + os.Getenv("PATH"), "NO_COLOR=1"}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
