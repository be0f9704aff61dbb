package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// needs are the programs of the machine and the Debian packages they are in.
var needs = []struct{ program, pkg string }{
	{"containerd", "containerd"},
	{"runc", "runc"},
	{"iptables", "iptables"},
	{"conntrack", "conntrack"},
	{"ip", "iproute2"},
	{"mount", "mount"},
	{filepath.Join(cniPlugins, "ptp"), "containernetworking-plugins"},
}

// prepareMachine checks that a node can run here and installs what is missing.
func prepareMachine(say func(string, ...any)) error {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		return errors.New("a node runs only on Linux and as root; set KUBECONFIG to use a cluster that runs already")
	}
	missing := missingPackages()
	if len(missing) == 0 {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("missing: %s; install what Debian calls so, for this machine has no apt-get", strings.Join(missing, " "))
	}
	say("installing %s", strings.Join(missing, " "))
	if err := run("apt-get", "-q", "update"); err != nil {
		return err
	}
	if err := run("apt-get", append([]string{"-q", "install", "-y", "--no-install-recommends"}, missing...)...); err != nil {
		return err
	}
	if still := missingPackages(); len(still) > 0 {
		return fmt.Errorf("installed, but still without what belongs to %s", strings.Join(still, " "))
	}
	return nil
}

func missingPackages() []string {
	var missing []string
	for _, n := range needs {
		if _, err := exec.LookPath(n.program); err != nil {
			missing = append(missing, n.pkg)
		}
	}
	return missing
}

// run runs a program of the machine to its end. Its output is in the error.
func run(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out[max(0, len(out)-2000):])
	}
	return nil
}
