package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// mount is a line of /proc/self/mountinfo.
type mount struct{ point, kind string }

// mounts returns what is mounted, in the order of mounting.
func mounts() ([]mount, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []mount
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if m, ok := parseMount(lines.Text()); ok {
			all = append(all, m)
		}
	}
	return all, lines.Err()
}

// parseMount reads "36 35 98:0 /root /point options - kind source options".
func parseMount(line string) (mount, bool) {
	fields := strings.Fields(line)
	dash := slices.Index(fields, "-")
	if len(fields) < 5 || dash < 0 || dash+1 >= len(fields) {
		return mount{}, false
	}
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	return mount{point: unescape.Replace(fields[4]), kind: fields[dash+1]}, true
}

// hierarchies returns the roots of the cgroups that pods are put under: one for
// each controller (version 1), or the only one (version 2, unified).
func hierarchies() (roots []string, unified bool, err error) {
	all, err := mounts()
	if err != nil {
		return nil, false, err
	}
	for _, m := range all {
		if m.kind == "cgroup" || m.kind == "cgroup2" {
			roots = append(roots, m.point)
		}
	}
	if len(roots) == 0 {
		return nil, false, errors.New("no cgroups are mounted: a container needs them (docker run --privileged --cgroupns=host)")
	}
	return roots, len(roots) == 1, nil
}

// makeCgroups makes the cgroup that the kubelet wants to find. Under version 2
// its controllers must first be switched on above it.
func (c cluster) makeCgroups() error {
	roots, unified, err := hierarchies()
	if err != nil {
		return err
	}
	if unified {
		if err := enableControllers(roots[0]); err != nil {
			return err
		}
	}
	for _, root := range roots {
		if err := os.MkdirAll(root+c.CgroupRoot(), 0o755); err != nil {
			return fmt.Errorf("making the pods' cgroup: %w", err)
		}
	}
	return nil
}

func enableControllers(root string) error {
	content, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(string(content)) {
		if err := os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+"+name), 0o644); err != nil {
			return fmt.Errorf("switching on the cgroup controller %s: %w", name, err)
		}
	}
	return nil
}

// podProcesses returns what runs in the cluster's pods.
func (c cluster) podProcesses() ([]int, error) {
	var pids []int
	err := c.eachCgroup(func(dir string) error {
		content, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		for _, word := range strings.Fields(string(content)) {
			if pid, err := strconv.Atoi(word); err == nil {
				pids = append(pids, pid)
			}
		}
		return err
	})
	slices.Sort(pids)
	return slices.Compact(pids), err
}

// removeCgroups removes the pods' cgroups, which must be empty.
func (c cluster) removeCgroups() error {
	var dirs []string
	if err := c.eachCgroup(func(dir string) error { dirs = append(dirs, dir); return nil }); err != nil {
		return err
	}
	for _, dir := range slices.Backward(dirs) { // children first
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// eachCgroup visits the folders of the cluster's cgroups, parents first.
func (c cluster) eachCgroup(visit func(dir string) error) error {
	roots, _, err := hierarchies()
	if err != nil {
		return err
	}
	for _, root := range roots {
		err := filepath.WalkDir(root+c.CgroupRoot(), func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || !d.IsDir() {
				return err
			}
			return visit(path)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
