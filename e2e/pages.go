package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Page is a page of the documentation.
type Page struct {
	Path   string // from the root
	Prose  string // without its blocks of code
	Blocks []Block
}

// Block is one of code, by its info string: "sh test".
type Block struct {
	Info, Text string
	Line       int
}

// Pages reads the project's documentation; root leads to its folder.
func Pages(t testing.TB, root string) []Page {
	t.Helper()
	var all []Page
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		paths, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			name, err := filepath.Rel(root, path)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, ParsePage(name, string(text)))
		}
	}
	return all
}

// ParsePage tells prose from blocks of code: those between fences that begin a
// line (CommonMark 0.31, 4.5; ours are of three backticks, maybe indented).
func ParsePage(path, text string) Page {
	p := Page{Path: path}
	var open *Block
	var prose strings.Builder
	for i, line := range strings.Split(text, "\n") {
		fence, fenced := strings.CutPrefix(strings.TrimLeft(line, " "), "```")
		switch {
		case fenced && open == nil:
			open = &Block{Info: strings.TrimSpace(fence), Line: i + 1}
		case fenced:
			p.Blocks, open = append(p.Blocks, *open), nil
		case open != nil:
			open.Text += line + "\n"
		default:
			prose.WriteString(line + "\n")
		}
	}
	p.Prose = prose.String()
	return p
}

// Script joins the blocks of the kind, as a reader would type them; "" where
// there are none.
func (p Page) Script(info string) string {
	var script strings.Builder
	for _, b := range p.Blocks {
		if b.Info == info {
			script.WriteString(b.Text)
		}
	}
	return script.String()
}
