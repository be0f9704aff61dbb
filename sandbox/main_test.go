package sandbox_test

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"github.com/slipway-dev/slipway/sandbox"
)

// helpers are what the test binary can be besides: argument 1 names one.
var helpers = map[string]func() error{}

// TestMain lets the test binary be what makes the sandbox, and the programs
// that start one.
func TestMain(m *testing.M) {
	if os.Args[0] == "slipway-sandbox" {
		go collect()
	}
	sandbox.Init()
	if len(os.Args) > 1 {
		if helper, ok := helpers[os.Args[1]]; ok {
			if err := helper(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}

// collect has the garbage collector at work while a sandbox is made: it closes
// files that nothing in Go holds any more, though the next process needs them.
func collect() {
	for range 100 {
		runtime.GC()
	}
}
