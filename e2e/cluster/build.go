package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"time"
)

// names are what the one Kubernetes binary is called.
var names = []string{
	"etcd", "registry", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl",
}

// buildable is a program, with its module's folder, its package and the files
// that decide what it is. The working folder must be e2e/cluster.
type buildable struct {
	name, folder, pkg string
	sources           []string
	flags             string // of the linker
}

func buildables() ([]buildable, error) {
	version, err := versionFlags()
	return []buildable{
		{"kubernetes", ".", "./kubernetes", []string{"go.mod", "go.sum", "kubernetes/*.go"}, "-s -w" + version},
		{"metrics-server", "metrics", "sigs.k8s.io/metrics-server/cmd/metrics-server", []string{"metrics/go.mod", "metrics/go.sum"}, "-s -w"},
		{"pause", ".", "./pause", []string{"pause/*.go"}, "-s -w"},
	}, err
}

var kubernetesVersion = regexp.MustCompile(`(?m)^\s+k8s\.io/kubernetes (v(\d+)\.(\d+)\.\d+)$`)

// versionFlags tell Kubernetes its own version, which is not in its source.
func versionFlags() (string, error) {
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		return "", fmt.Errorf("run this in e2e/cluster: %w", err)
	}
	v := kubernetesVersion.FindSubmatch(mod)
	if v == nil {
		return "", errors.New("go.mod names no version of k8s.io/kubernetes")
	}
	const variable = " -X k8s.io/component-base/version."
	return fmt.Sprintf("%[1]sgitVersion=%[2]s%[1]sgitMajor=%[3]s%[1]sgitMinor=%[4]s", variable, v[1], v[2], v[3]), nil
}

// build makes the programs that are missing or are of other sources.
func (c cluster) build(ctx context.Context, say func(string, ...any)) error {
	all, err := buildables()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.bin(""), 0o755); err != nil {
		return err
	}
	for _, b := range all {
		want, err := fingerprint(b.sources, b.flags)
		if err != nil {
			return err
		}
		stamp := c.bin(b.name + ".built-from")
		if have, err := os.ReadFile(stamp); err == nil && string(have) == want && exists(c.bin(b.name)) {
			continue
		}
		if err := c.buildOne(ctx, b, say); err != nil {
			return err
		}
		if err := os.WriteFile(stamp, []byte(want), 0o644); err != nil {
			return err
		}
	}
	return c.link()
}

func (c cluster) buildOne(ctx context.Context, b buildable, say func(string, ...any)) error {
	say("building %s (once; with nothing in Go's caches it takes minutes)", b.name)
	begin, done := time.Now(), make(chan struct{})
	defer close(done)
	go every(30*time.Second, done, func() { say("still building %s", b.name) })
	fresh := c.bin(b.name + ".new") // put in place when whole, for the old one may be running
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags="+b.flags, "-o", fresh, b.pkg)
	cmd.Dir = b.folder
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-mod=readonly")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", b.name, err, out[max(0, len(out)-2000):])
	}
	say("built %s in %.0f s", b.name, time.Since(begin).Seconds())
	return os.Rename(fresh, c.bin(b.name))
}

func every(d time.Duration, done <-chan struct{}, do func()) {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			do()
		}
	}
}

func (c cluster) link() error {
	for _, name := range names {
		if err := os.Symlink("kubernetes", c.bin(name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// version is of everything that makes a running cluster what it is.
func version() (string, error) {
	all, err := buildables()
	if err != nil {
		return "", err
	}
	sources := []string{"*.go", "templates/*"}
	for _, b := range all {
		sources = append(sources, b.sources...)
	}
	return fingerprint(sources)
}

// fingerprint is of the Go version, the files that match and the words.
func fingerprint(patterns []string, words ...string) (string, error) {
	sum := sha256.New()
	fmt.Fprintln(sum, runtime.Version(), words)
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil {
			return "", err
		}
		if len(files) == 0 {
			return "", fmt.Errorf("no %s here: run this in e2e/cluster", pattern)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				return "", err
			}
			fmt.Fprintln(sum, file, len(content))
			sum.Write(content)
		}
	}
	return hex.EncodeToString(sum.Sum(nil)[:8]), nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
