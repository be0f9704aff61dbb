package mlflow

import (
	"encoding/json"
	"strings"
	"time"
)

// What tests need of the inside: the parsers of foreign bytes.
var (
	ParseCredentials = parseCredentials
	ParseRetryAfter  = parseRetryAfter
	CheckPath        = checkPath
	OneLine          = oneLine
	CauseOf          = causeOf
)

// FailureText returns what is made of an error's body.
func FailureText(body []byte, media string) (code, text string) {
	r := parseFailure(body, media)
	return r.code, r.text
}

// Listed walks one folder's listing as the client does, and returns the paths.
func Listed(data []byte, dir, root string, names bool) ([]string, error) {
	var l wireListing
	if err := json.Unmarshal(data, &l); err != nil {
		return nil, err
	}
	entries, err := l.under(dir, root, names)
	if err != nil {
		return nil, err
	}
	w := walker{seen: map[string]string{}, maxFiles: 1000, maxBytes: 1 << 40}
	if _, err := w.take(entries); err != nil {
		return nil, err
	}
	var paths []string
	for _, e := range entries {
		paths = append(paths, e.path)
	}
	return paths, nil
}

// VersionFrom decodes a version as the server sends it.
func VersionFrom(data []byte) (Version, error) {
	var w wireVersion
	if err := json.Unmarshal(data, &w); err != nil {
		return Version{}, err
	}
	return w.version("testing")
}

// Replayed reads a partial download's journal and returns the finished paths.
func Replayed(journal string) ([]string, error) {
	p := newPartial("testing", "")
	err := p.replay(strings.NewReader(journal))
	var paths []string
	for path := range p.done {
		paths = append(paths, path)
	}
	return paths, err
}

// Proxied reads an mlflow-artifacts address and returns the path asked for.
func Proxied(c *Client, uri string) (server, root string, err error) {
	l := locator{client: c, op: "testing"}
	p, err := l.proxied(uri)
	if err != nil {
		return "", "", err
	}
	s := p.store.(*proxyStore)
	return s.server, s.root, nil
}

// CheckSigned reports whether a presigned URL would be followed.
func CheckSigned(c *Client, s string) error {
	_, err := c.checkSigned(s)
	return err
}

// MaxPause is the longest Retry-After that is waited for.
const MaxPause time.Duration = maxPause
