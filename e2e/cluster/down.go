package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// down ends whatever of the cluster there is, also after a crash or a reboot,
// and leaves nothing of it but the built programs. Its state is thrown away,
// so everything is killed outright.
func (c cluster) down() error {
	running, err := c.processes()
	if err == nil && len(running) == 0 && !exists(c.Run()) {
		return nil // the folder goes last
	}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"ending its processes", c.killAll},
		{"unmounting", c.unmountAll},
		{"removing the rules of Services", c.removeRules},
		{"removing its address", tearDownNetwork},
		{"removing its cgroups", c.awaitCgroups},
		{"removing its traces", c.removeTraces},
		{"removing its folder", func() error { return os.RemoveAll(c.Run()) }},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("ending the cluster: %s: %w", step.what, err)
		}
	}
	return nil
}

// killAll ends first what would start more, then the pods, then what was being
// started meanwhile.
func (c cluster) killAll() error {
	own := func() ([]int, error) {
		found, err := c.processes()
		var pids []int
		for pid := range found {
			pids = append(pids, pid)
		}
		return pids, err
	}
	for _, find := range []func() ([]int, error){own, c.podProcesses, own} {
		if err := kill(find); err != nil {
			return err
		}
	}
	return nil
}

// unmountAll unmounts what lies below the run folder: pods' volumes, roots and
// network namespaces. What remained would be deleted through.
func (c cluster) unmountAll() error {
	all, err := mounts()
	if err != nil {
		return err
	}
	for _, m := range slices.Backward(all) {
		if !strings.HasPrefix(m.point, c.Run()+"/") {
			continue
		}
		if err := run("umount", "--lazy", m.point); err != nil {
			return err
		}
	}
	return nil
}

// awaitCgroups removes the pods' cgroups; one whose last process just ended is
// busy for a moment.
func (c cluster) awaitCgroups() error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		err := c.removeCgroups()
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// removeTraces removes what programs keep where no setting reaches: sockets of
// shims, the network plugins' cache, links to pods' logs.
func (c cluster) removeTraces() error {
	traces, err := filepath.Glob("/var/lib/cni/results/" + c.Network() + "-*")
	if err != nil {
		return err
	}
	addresses, err := filepath.Glob(c.run("containerd-state/io.containerd.runtime.v2.task/*/*/address"))
	if err != nil {
		return err
	}
	for _, file := range addresses {
		if address, err := os.ReadFile(file); err == nil {
			traces = append(traces, strings.TrimPrefix(strings.TrimSpace(string(address)), "unix://"))
		}
	}
	for _, path := range append(traces, c.logLinks()...) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (c cluster) logLinks() []string {
	links, _ := filepath.Glob("/var/log/containers/*.log") // the pattern is well formed
	return slices.DeleteFunc(links, func(link string) bool {
		target, err := os.Readlink(link)
		return err != nil || !strings.HasPrefix(target, c.Run()+"/")
	})
}
