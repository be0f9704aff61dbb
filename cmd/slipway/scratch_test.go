package main

import (
	"os"
	"path/filepath"
	"testing"
)

// A run leaves no folder; one that was killed leaves its own to the next run,
// which takes away nobody else's.
func TestScratch(t *testing.T) {
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	killed, err := os.MkdirTemp("", scratchPrefix)
	if err != nil {
		t.Fatal(err)
	}
	one, other := &journey{}, &journey{}
	for _, j := range []*journey{one, other} {
		dir, err := j.scratch("model")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(killed); !os.IsNotExist(err) {
		t.Errorf("the folder of a run that was killed is still there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(one.scratchDir, "model", "file")); err != nil {
		t.Errorf("another run took the folder away: %v", err)
	}
	one.cleanUp()
	other.cleanUp()
	if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
