//go:build e2e

package sandbox_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/sandbox"
)

const stranger = 12345 // a user who is not root

// users are those who start a sandbox in a test that is for both.
func users(t *testing.T, test func(t *testing.T, uid int)) {
	t.Helper()
	if os.Geteuid() != 0 {
		e2e.NotRun(t, "only root can start a sandbox as two users")
	}
	for name, uid := range map[string]int{"root": 0, "somebody": stranger} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, uid)
		})
	}
}

// outcome is what became of a sandbox.
type outcome struct {
	Out, Err      string
	Code          slipway.Code
	Message, Hint string
}

func init() { helpers["start"], helpers["hold"] = start, hold }

// start is the program that starts a sandbox: a Config from its input, an
// outcome to its output.
func start() error {
	var c sandbox.Config
	if err := json.NewDecoder(os.Stdin).Decode(&c); err != nil {
		return err
	}
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd, err := sandbox.Command(ctx, c)
	if err == nil {
		err = sandbox.Explain(cmd, cmd.Run())
	}
	o := outcome{Out: out.String(), Err: errs.String(), Code: slipway.CodeOf(err), Hint: slipway.HintOf(err)}
	if err != nil {
		o.Message = err.Error()
	}
	return json.NewEncoder(os.Stdout).Encode(o)
}

// hold starts a sandbox and says the number of its process 1. It never ends.
func hold() error {
	var c sandbox.Config
	if err := json.NewDecoder(os.Stdin).Decode(&c); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c.Stdout = os.Stdout
	cmd, err := sandbox.Command(ctx, c)
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return sandbox.Explain(cmd, err)
	}
	fmt.Fprintln(os.Stdout, cmd.Process.Pid)
	return sandbox.Explain(cmd, cmd.Wait())
}

// secret is in all that a thief would look through.
const secret = "hunter2-of-the-parent"

// starter is the process that starts a sandbox: with secrets in its
// environment, its home, its arguments and an open file. Permissions alone
// would let everybody read them.
func starter(t *testing.T, uid int, mode, homeDir string, c sandbox.Config) *exec.Cmd {
	t.Helper()
	input, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	open, err := os.Open(filepath.Join(homeDir, ".ssh", "id_rsa"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { open.Close() })
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", mode, secret)
	cmd.Env = []string{"HOME=" + homeDir, "AZURE_CLIENT_SECRET=" + secret, "PATH=/usr/bin:/bin"}
	cmd.Dir = "/"
	cmd.Stdin = bytes.NewReader(input)
	cmd.ExtraFiles = []*os.File{open}
	if uid != os.Geteuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	return cmd
}

// run starts a sandbox as the user and waits for it.
func run(t *testing.T, uid int, c sandbox.Config) outcome {
	t.Helper()
	var errs bytes.Buffer
	cmd := starter(t, uid, "start", plantedHome(t), c)
	cmd.Stderr = &errs
	data, err := cmd.Output()
	if err != nil {
		t.Fatalf("the starter failed: %v: %s", err, &errs)
	}
	var o outcome
	if err := json.Unmarshal(data, &o); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
	return o
}

// fine runs a program that must succeed and returns its output.
func fine(t *testing.T, uid int, c sandbox.Config) string {
	t.Helper()
	o := run(t, uid, c)
	if o.Code != "" {
		t.Fatalf("%s (%s)\nhint: %s\n%s%s", o.Message, o.Code, o.Hint, o.Out, o.Err)
	}
	return strings.TrimSpace(o.Out)
}

// places are where credentials are kept.
var places = []string{".docker/config.json", ".kube/config", ".azure/accessTokens.json", ".ssh/id_rsa", ".netrc", ".aws/credentials"}

func plantedHome(t *testing.T) string {
	t.Helper()
	dir := openFolder(t)
	for _, place := range places {
		path := filepath.Join(dir, place)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(secret), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// openFolder returns a new folder that everybody may use.
func openFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o777)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// debian is an interpreter that every user may run.
const debian = "/usr/bin/python3"

// script is a Python program for everybody.
func script(t *testing.T, text string) sandbox.Config {
	t.Helper()
	if _, err := os.Stat(debian); err != nil {
		e2e.NotRun(t, "it needs Debian's python3: apt-get install python3")
	}
	return sandbox.Config{Program: debian, Args: []string{"-I", "-c", text}}
}

// awaitEnd waits for the end of a process.
func awaitEnd(t *testing.T, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err == unix.ESRCH {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer os.NewFile(uintptr(fd), "pidfd").Close()
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 30_000)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			t.Fatalf("process %d does not end (%v)", pid, err)
		}
		return
	}
}

// inNamespace counts this machine's processes that run in a namespace, named as
// /proc/self/ns/pid names it.
func inNamespace(t *testing.T, name string) int {
	t.Helper()
	if !strings.HasPrefix(name, "pid:[") {
		t.Fatalf("%q is not a namespace", name)
	}
	links, err := filepath.Glob("/proc/[0-9]*/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, link := range links {
		if to, err := os.Readlink(link); err != nil || to != name {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(link)), "stat"))
		if err == nil && !strings.Contains(string(stat), ") Z ") {
			count++
		}
	}
	return count
}
