package sandbox_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/sandbox"
)

// A Config that makes no sense, or would show the machine, never starts.
func TestWhatCommandRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	everything := filepath.Join(dir, "everything")
	if err := os.Symlink("/", everything); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		c    sandbox.Config
		want slipway.Code
		say  string
	}{
		{"no program", sandbox.Config{}, slipway.Invalid, "absolute"},
		{"a program that is looked up", sandbox.Config{Program: "sh"}, slipway.Invalid, "absolute"},
		{"a path that climbs", sandbox.Config{Program: "/usr/../bin/sh"}, slipway.Invalid, "absolute"},
		{"a program that is not there", sandbox.Config{Program: filepath.Join(dir, "none")}, slipway.NotFound, "none"},
		{"a folder that is not there", sandbox.Config{Program: file, ReadOnly: []string{"/none"}}, slipway.NotFound, "/none"},
		{"the whole machine", sandbox.Config{Program: file, ReadOnly: []string{"/"}}, slipway.Invalid, `"/"`},
		{"a link to the whole machine", sandbox.Config{Program: file, ReadOnly: []string{everything}}, slipway.Invalid, `"/"`},
		{"its processes", sandbox.Config{Program: file, ReadOnly: []string{"/proc/1"}}, slipway.Invalid, "/proc/1"},
		{"its devices", sandbox.Config{Program: file, Dir: "/dev/shm"}, slipway.Invalid, "/dev/shm"},
		{"a file to write in", sandbox.Config{Program: file, Dir: file}, slipway.Invalid, "folder"},
		{"no folder to write in", sandbox.Config{Program: file, Dir: filepath.Join(dir, "none")}, slipway.NotFound, "none"},
		{"a zero byte", sandbox.Config{Program: file, Args: []string{"a\x00b"}}, slipway.Invalid, "zero byte"},
		{"a variable without a value", sandbox.Config{Program: file, Env: []string{"SECRET-VALUE"}}, slipway.Invalid, "variable"},
		{"a negative limit", sandbox.Config{Program: file, Memory: -1}, slipway.Invalid, "limit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := sandbox.Command(t.Context(), tt.c)
			if slipway.CodeOf(err) != tt.want || !strings.Contains(err.Error(), tt.say) {
				t.Errorf("got %v (%s), want %s and %q", err, slipway.CodeOf(err), tt.want, tt.say)
			}
			if err != nil && strings.Contains(err.Error(), "SECRET-VALUE") {
				t.Errorf("the error tells a secret: %v", err)
			}
		})
	}
}

func TestWhereThereAreNoSandboxes(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "linux" {
		return // TestE2E… shows what there is
	}
	if err := sandbox.Check(t.Context()); slipway.CodeOf(err) != slipway.Invalid || slipway.HintOf(err) == "" {
		t.Errorf("got %v, want Invalid with a hint", err)
	}
}

func TestNothingToExplain(t *testing.T) {
	t.Parallel()
	if err := sandbox.Explain(nil, nil); err != nil {
		t.Errorf("got %v", err)
	}
}
