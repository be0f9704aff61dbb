package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// buildKitVersion is the BuildKit of buildxVersion.
const buildKitVersion = "v0.25.0"

// BuildKit starts a builder that is not the engine's own, as CI machines have
// it: a BuildKit of today, from the Go module proxy, with nothing in its cache.
// It returns the name for BUILDX_BUILDER. Its builds have no network.
func (d *DockerEngine) BuildKit(t testing.TB) (builder string) {
	t.Helper()
	dir := filepath.Join(Cache(t), "buildkit-"+buildKitVersion)
	once(t, dir, func() {
		buildMain(t, "github.com/moby/buildkit@"+buildKitVersion, "./cmd/buildkitd", filepath.Join(dir, "buildkitd"))
	})
	root, err := os.MkdirTemp(d.dir, "buildkit-") // on a real disk, and removed with the engine's
	if err != nil {
		t.Fatalf("making room for BuildKit: %v", err)
	}
	address := "unix://" + filepath.Join(root, "sock")
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc",
		filepath.Join(dir, "buildkitd"), "--addr", address, "--root", filepath.Join(root, "data"), "--containerd-worker=false")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting BuildKit: %v", err)
	}
	end := sync.OnceFunc(func() {
		_ = cmd.Process.Kill() // with all of its namespace
		_ = cmd.Wait()
	})
	t.Cleanup(func() {
		end()
		if err := os.RemoveAll(root); err != nil {
			t.Errorf("removing BuildKit: %v", err)
		}
	})
	builder = filepath.Base(root)
	d.Run(t, "buildx", "create", "--name", builder, "--driver", "remote", address)
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for d.Command(ctx, "buildx", "inspect", "--bootstrap", builder).Run() != nil {
		select {
		case <-ctx.Done():
			end()
			t.Fatalf("BuildKit did not start:\n%s", tail(said.Bytes(), 4000))
		case <-tick.C:
		}
	}
	return builder
}
