package e2e

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// What reads diagrams: Mermaid itself, which wants a browser's document, and
// one without a screen.
const (
	mermaidVersion = "12.3.0"
	jsdomVersion   = "31.0.1"
)

// Diagram is one in Mermaid's language.
type Diagram struct {
	Name string `json:"name"` // for messages: FILE:LINE
	Text string `json:"text"`
}

// MermaidErrors has the real Mermaid parse the diagrams and returns what is
// wrong with them.
func MermaidErrors(t testing.TB, diagrams []Diagram) string {
	t.Helper()
	in, err := json.Marshal(diagrams)
	if err != nil {
		t.Fatal(err)
	}
	_, here, _, _ := runtime.Caller(0)
	cmd := exec.CommandContext(t.Context(), nodeProgram(t), filepath.Join(filepath.Dir(here), "testdata", "mermaid.mjs"), npmDir(t, "mermaid", "mermaid@"+mermaidVersion, "jsdom@"+jsdomVersion))
	cmd.Stdin = bytes.NewReader(in)
	var problem bytes.Buffer
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("running Mermaid: %v\n%s", err, tail(problem.Bytes(), 4000))
	}
	return strings.TrimSpace(string(out))
}
