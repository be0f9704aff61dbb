//go:build e2e

package sandbox_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/sandbox"
)

// prefix returns where the interpreter is and what it is made of.
func prefix(t *testing.T, python string) (executable string, folders []string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), python, "-c",
		"import json, sys; print(json.dumps([sys.executable, sys.prefix, sys.base_prefix]))").Output()
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	if err := json.Unmarshal(out, &paths); err != nil {
		t.Fatal(err)
	}
	return paths[0], paths[1:]
}

// An interpreter in a home that only root may enter works; the rest of that
// home is not shown.
func TestE2EAnInterpreterInAHome(t *testing.T) {
	t.Parallel()
	python, folders := prefix(t, "python3")
	o := run(t, os.Geteuid(), sandbox.Config{Program: python, ReadOnly: folders, Args: []string{"-c", `
import ctypes, lzma, os, sqlite3, ssl, sys, tempfile, threading, multiprocessing
ssl.create_default_context()
threading.Thread(target=print).start()
with multiprocessing.get_context('fork').Pool(2) as pool: pool.map(abs, [1, 2])
tempfile.TemporaryFile().write(b'x')
home = os.path.dirname(sys.prefix)
print(os.path.expanduser('~'), os.listdir(home) if home.startswith(('/root', '/home')) else [os.path.basename(sys.prefix)])
`}})
	want := "/home/slipway ['" + filepath.Base(folders[0]) + "']"
	if o.Code != "" || strings.TrimSpace(o.Out) != want {
		t.Errorf("got %q, %s, %s\nwant %q", o.Out, o.Message, o.Err, want)
	}
}

// numpy reserves much more than it uses: the limits let it load and compute.
func TestE2ENumpyLoads(t *testing.T) {
	t.Parallel()
	python := e2e.Python(t, "numpy==2.4.6")
	_, folders := prefix(t, python)
	for name, memory := range map[string]int64{"as usual": 0, "with little": 512 << 20} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := fine(t, os.Geteuid(), sandbox.Config{Program: python, ReadOnly: folders, Memory: memory, Args: []string{"-c", `
import numpy as np
a = np.random.default_rng(1).random((300, 300))
print(np.allclose(a @ np.linalg.inv(a), np.eye(300)))
`}})
			if got != "True" {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestE2ECheck(t *testing.T) {
	t.Parallel()
	if err := sandbox.Check(t.Context()); err != nil {
		t.Errorf("%v; %s", err, slipway.HintOf(err))
	}
}

func init() { helpers["without"] = without }

// without asks for a sandbox where only so many user namespaces are allowed.
func without() error {
	if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte(os.Args[2]), 0); err != nil {
		return err
	}
	err := sandbox.Check(context.Background())
	o := outcome{Code: slipway.CodeOf(err), Hint: slipway.HintOf(err)}
	if err != nil {
		o.Message = err.Error()
	}
	return json.NewEncoder(os.Stdout).Encode(o)
}

// A machine that does not allow sandboxes is told from a program that failed.
func TestE2EAMachineThatDoesNotAllowIt(t *testing.T) {
	t.Parallel()
	if o := inContainer(t, "0"); o.Code != slipway.Unauthorized || !strings.Contains(o.Hint, "sysctl -w user.max_user_namespaces") {
		t.Errorf("got %s (%s), hint %q", o.Message, o.Code, o.Hint)
	}
	if o := inContainer(t, "10"); o.Code != "" {
		t.Errorf("where root is the only user: got %s (%s), hint %q", o.Message, o.Code, o.Hint)
	}
}

// inContainer asks for a sandbox as root of a user namespace with no other user.
func inContainer(t *testing.T, namespaces string) (o outcome) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "without", namespaces)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
	data, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &o); err != nil {
		t.Fatal(err)
	}
	return o
}
