package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// dockerLimit bounds one command of docker: a cold build of MLflow's image
// takes minutes on a busy machine.
const dockerLimit = 20 * time.Minute

// DockerEngine is a Docker engine of a test's own. Builds and containers have
// no network but the machine's: pass "--network", "host" to `docker build` and
// `docker run`. Image registries on loopback are spoken to in plain HTTP.
type DockerEngine struct {
	Version string // of the engine: "20.10.24+dfsg1"
	dir     string
	client  string // the program
}

// Docker starts a Docker engine (Debian's docker.io, installed when it is
// missing and we may) and ends it with the test, with everything in it. One
// runs at a time on a machine; tests wait for each other. Its images are kept
// in a folder of the Cache meanwhile, which must be on a real disk.
func Docker(t testing.TB) *DockerEngine {
	t.Helper()
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		NotRun(t, "a Docker engine of our own needs Linux and root")
	}
	client, daemon := dockerPrograms(t)
	d := &DockerEngine{dir: filepath.Join(Cache(t), "docker"), client: client}
	t.Cleanup(lock(t, d.dir))
	if err := errors.Join(os.RemoveAll(d.dir), os.Mkdir(d.dir, 0o700)); err != nil { // an earlier one may have been killed
		t.Fatalf("making room for a Docker engine: %v", err)
	}
	exited := d.start(t, daemon)
	if err := d.await(t.Context(), exited); err != nil {
		log, _ := os.ReadFile(filepath.Join(d.dir, "log"))
		t.Fatalf("the Docker engine did not start: %v\n%s", err, tail(log, 8000))
	}
	return d
}

// dockerPrograms prefers the client of the engine's own package: its BuildKit
// needs no plugin.
func dockerPrograms(t testing.TB) (client, daemon string) {
	t.Helper()
	find := func() (err error) {
		if daemon, err = exec.LookPath("dockerd"); err != nil {
			return err
		}
		if client, err = exec.LookPath("/usr/bin/docker"); err != nil {
			client, err = exec.LookPath("docker")
		}
		return err
	}
	err := find()
	if err == nil {
		return client, daemon
	}
	installDebian(t, err, "docker.io")
	if err := find(); err != nil {
		t.Fatalf("Docker is installed but not found: %v", err)
	}
	return client, daemon
}

// superviseDocker runs the engine ("$@") as long as standard input is open,
// which ends when the test binary closes it or dies, and removes its folder.
// It is process 1 of a namespace, so nothing that the engine started outlives
// it, and what the engine mounts is seen by nobody else.
const superviseDocker = `
dir=$1; cgroup=$2; shift 2
exec 3<&0
mkdir -p /run/containerd && mount -t tmpfs tmpfs /run/containerd
"$@" </dev/null 3<&- >"$dir/log" 2>&1 &
engine=$!
{ cat <&3 >/dev/null; kill -TERM $engine; sleep 30; kill -KILL $engine 2>/dev/null; } &
wait $engine; code=$?
cut -d' ' -f2 /proc/mounts | grep "^$dir/" | sort -r | xargs -r umount -l
for c in /sys/fs/cgroup$cgroup /sys/fs/cgroup/*$cgroup; do
	[ ! -d "$c" ] || find "$c" -depth -type d -exec rmdir {} +
done
if [ $code = 0 ]; then rm -rf "$dir"; fi
exit $code
`

// start returns a channel that tells when the engine has ended.
func (d *DockerEngine) start(t testing.TB, daemon string) <-chan error {
	t.Helper()
	const cgroup = "/slipway-test-docker"
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc",
		"sh", "-c", superviseDocker, "docker", d.dir, cgroup,
		daemon, "--host", d.host(), "--data-root", filepath.Join(d.dir, "data"), "--exec-root", filepath.Join(d.dir, "exec"),
		"--pidfile", filepath.Join(d.dir, "pid"), "--storage-driver", "overlay2", "--bridge", "none", "--iptables=false", "--ip6tables=false",
		"--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", cgroup, "--insecure-registry", "127.0.0.0/8", "--shutdown-timeout", "5")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + d.dir}
	var said bytes.Buffer
	cmd.Stderr = &said
	hangUp, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting a Docker engine: %v", err)
	}
	exited := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		if said.Len() > 0 {
			err = errors.Join(err, errors.New(said.String()))
		}
		exited <- err
		close(exited)
	}()
	t.Cleanup(func() { d.stop(t, hangUp, exited, cmd.Process) })
	return exited
}

func (d *DockerEngine) stop(t testing.TB, hangUp io.Closer, exited <-chan error, shell *os.Process) {
	hangUp.Close()
	tooLate := time.AfterFunc(5*time.Minute, func() { _ = shell.Kill() }) // with all of its namespace; gigabytes go in seconds, or minutes on a busy disk
	defer tooLate.Stop()
	if err := <-exited; err != nil {
		t.Errorf("the Docker engine ended badly: %v", err)
	}
}

// await asks until the engine answers, has exited or is too late.
func (d *DockerEngine) await(ctx context.Context, exited <-chan error) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		if out, err := d.Command(ctx, "version", "--format", "{{.Server.Version}}").Output(); err == nil {
			d.Version = strings.TrimSpace(string(out))
			return nil
		}
		select {
		case err := <-exited:
			return fmt.Errorf("it exited: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (d *DockerEngine) host() string { return "unix://" + filepath.Join(d.dir, "docker.sock") }

// Command returns a docker that has not started yet. It builds with BuildKit
// and knows no credentials.
func (d *DockerEngine) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, d.client, args...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+d.host(), "DOCKER_CONFIG="+filepath.Join(d.dir, "config"), "DOCKER_BUILDKIT=1", "DOCKER_CONTEXT=")
	return cmd
}

// Run runs docker and returns what it printed, without the last newline. It
// fails the test when docker does, or takes more than 20 minutes.
func (d *DockerEngine) Run(t testing.TB, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), dockerLimit)
	defer cancel()
	cmd := d.Command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, tail(stderr.Bytes(), 4000))
	}
	return strings.TrimSpace(stdout.String())
}
