package docker

import (
	"bytes"
	"regexp"
	"strings"
	"unicode/utf8"
)

// toldLimit bounds what is kept of docker's stderr, in bytes: its end, where
// the error is.
const toldLimit = 64 << 10

// told is what docker wrote to stderr.
type told struct {
	lines func(string) // gets each line; may be nil
	kept  []byte
	part  []byte // of a line
	about []byte // the Dockerfile that it is about; may be nil
}

func (t *told) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if extra := len(t.kept) - toldLimit; extra > 0 {
		t.kept = bytes.Clone(t.kept[extra:])
	}
	if t.lines != nil {
		t.cut(p)
	}
	return len(p), nil
}

// cut hands on the lines that are whole.
func (t *told) cut(p []byte) {
	t.part = append(t.part, p...)
	for {
		line, rest, whole := bytes.Cut(t.part, []byte("\n"))
		if !whole {
			break
		}
		t.lines(plain(string(line)))
		t.part = rest
	}
	if len(t.part) > toldLimit {
		t.part = nil
	}
}

func (t *told) text() string { return plain(string(t.kept)) }

var (
	userInfo = regexp.MustCompile(`://[^/\s"'` + "`" + `]*@`)
	escapes  = regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]`)
)

// plain is text without passwords of addresses and what a terminal would obey.
func plain(text string) string {
	text = escapes.ReplaceAllString(strings.ToValidUTF8(text, "\uFFFD"), "")
	text = userInfo.ReplaceAllString(text, "://")
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r >= ' ' && r != 0x7f && (r < 0x80 || r > 0x9f) && (r < 0x202a || r > 0x202e) && (r < 0x2066 || r > 0x2069) {
			return r
		}
		return -1
	}, text)
}

// short cuts a text to at most limit bytes.
func short(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit] + "…"
}
