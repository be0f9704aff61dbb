package python

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// tokenName is the variable by which the children of a worker are known, also
// those that left its process group.
const tokenName = "SLIPWAY_WORKER"

func newToken() string { return rand.Text() }

// killChildren ends what a worker started and left behind. In an image the
// server is the first process, to which such children fall: it waits for them.
func (p *process) killChildren() {
	_ = syscall.Kill(-p.pid, syscall.SIGKILL) // the group is empty, mostly
	want := []byte(tokenName + "=" + p.token)
	for range 3 { // a child may have had a child meanwhile
		if !killMarked(want) {
			return
		}
	}
}

// killMarked ends all processes with the entry in their environment, and
// reports whether there were any.
func killMarked(entry []byte) (found bool) {
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return false
	}
	for _, file := range files {
		environment, err := os.ReadFile(file)
		if err != nil || !contains(environment, entry) {
			continue // another user's, or gone
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			continue
		}
		found = true
		_ = syscall.Kill(pid, syscall.SIGKILL)
		if os.Getpid() == 1 {
			_, _ = syscall.Wait4(pid, nil, 0, nil) // not ours unless it fell to us
		}
	}
	return found
}

func contains(environment, entry []byte) bool {
	for _, e := range bytes.Split(environment, []byte{0}) {
		if bytes.Equal(e, entry) {
			return true
		}
	}
	return false
}
