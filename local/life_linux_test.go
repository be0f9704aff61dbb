package local_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/local"
)

func TestAKilledSupervisorLeavesNoOrphans(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	o := b.deploy(t, 1, release(1))
	var pids []int
	for _, r := range o.Replicas {
		pids = append(pids, b.pidOf(t, r.URL))
	}
	b.kill(t)
	for _, pid := range pids {
		eventually(t, fmt.Sprintf("replica %d ends", pid), func() bool { return !alive(pid) })
	}
}

func TestAKilledSupervisorIsStartedAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.deploy(t, 1, release(1))
	for range 3 {
		b.kill(t)
		b.await(t, func(o slipway.Observation) bool { return o.Settled(digest(1)) })
		b.wantAnswer(t, "1")
	}
}

// A machine that shuts down asks the supervisor to end. What it was set to
// comes back.
func TestASupervisorThatIsAskedToEnd(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.deploy(t, 1, release(1))
	l := startLoad(t, b.addr, 1)
	eventually(t, "requests come", func() bool { return l.count() > 20 })
	l.stop()
	l.wg.Wait()
	pid := b.supervisor()
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the supervisor ends", func() bool { return !alive(pid) })
	b.await(t, func(o slipway.Observation) bool { return o.Settled(digest(1)) })
	b.wantAnswer(t, "1")
}

// Where the system did not end a dead supervisor's replicas, the next one
// does, and it ends nothing else.
func TestOrphansAreEnded(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.deploy(t, 1, release(1))
	b.kill(t)
	orphan, stranger := sleeper(t), sleeper(t)
	for name, text := range map[string]string{
		"orphan":   fmt.Sprintf(`{"pid": %d, "identity": %q}`, orphan, identity(t, orphan)),
		"stranger": fmt.Sprintf(`{"pid": %d, "identity": "another start"}`, stranger),
		"broken":   `{"pid": `,
		"init":     `{"pid": 1}`,
	} {
		if err := os.MkdirAll(b.path("replicas", name), 0o700); err != nil {
			t.Fatal(err)
		}
		b.write(t, filepath.Join("replicas", name, "process.json"), text)
	}
	b.await(t, func(o slipway.Observation) bool { return o.Settled(digest(1)) })
	if alive(orphan) {
		t.Error("an orphan still runs")
	}
	if !alive(stranger) {
		t.Error("a process that was never a replica was ended")
	}
}

func sleeper(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("sleep", "300")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}

// identity is boot and start time of a process, as proc(5) has them.
func identity(t *testing.T, pid int) string {
	t.Helper()
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(boot)) + " " + strings.Fields(string(stat))[21]
}

// At every instant only replicas that gave their golden predictions serve,
// also when the supervisor dies in the middle of a rollout, and the replicas
// before serve again while the new ones are not ready.
func TestASupervisorKilledInARollout(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.deploy(t, 1, release(1))
	for _, next := range []int{slowStart, golden} {
		b.apply(t, 2, release(next))
		b.kill(t)
		o := b.await(t, func(o slipway.Observation) bool { return serves(o, 1) == 2 })
		if o.Desired != digest(next) {
			t.Errorf("set to %s, want %s", o.Desired.Short(), digest(next).Short())
		}
		b.wantAnswer(t, "1")
		if next == slowStart {
			b.await(t, func(o slipway.Observation) bool { return o.Settled(digest(slowStart)) })
			b.wantAnswer(t, "late")
			b.deploy(t, 2, release(1))
			continue
		}
		b.await(t, func(o slipway.Observation) bool { return problemOf(o, golden) != nil })
		b.wantAnswer(t, "1")
	}
}

func TestACLIKilledInTheMiddleOfAct(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.deploy(t, 1, release(1))
	data, err := json.Marshal(release(slowUnpack))
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cli := exec.Command(self, "act", b.dir, b.ref, string(data))
	out, err := cli.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cli.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "unpacking\n" {
		t.Fatalf("the command said %q (%v)", line, err)
	}
	if err := cli.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cli.Wait()
	if o := b.await(t, func(slipway.Observation) bool { return true }); !o.Settled(digest(1)) {
		t.Errorf("after a killed Act: %+v", o)
	}
	b.deploy(t, 1, release(slowUnpack))
	b.wantAnswer(t, "heavy")
}

// The supervisor outlives the command that started it.
func TestTheSupervisorOutlivesTheCLI(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	data, err := json.Marshal(release(1))
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(self, "act", b.dir, b.ref, string(data)).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b.await(t, func(o slipway.Observation) bool { return o.Settled(digest(1)) })
	sid, err := sessionOf(b.supervisor())
	if err != nil || sid != b.supervisor() {
		t.Errorf("session %d (%v), want one of its own", sid, err)
	}
}

func TestStop(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.deploy(t, 1, release(answersSlowly))
	pid := b.supervisor()
	conn, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answered := make(chan error, 1)
	go func() {
		_, err := askOnce(conn)
		answered <- err
	}()
	eventually(t, "the request is with a replica", func() bool { return b.inFlight(t) })
	if err := b.target.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil {
		t.Errorf("a request in flight was lost: %v", err)
	}
	eventually(t, "the supervisor ends", func() bool { return !alive(pid) })
	o, err := b.target.Observe(t.Context())
	if err != nil || o.Desired != "" || len(o.Replicas) > 0 {
		t.Errorf("after Stop: %+v (%v)", o, err)
	}
	if b.supervisor() != 0 {
		t.Error("Observe started a supervisor that has nothing to serve")
	}
	if err := b.target.Stop(t.Context()); err != nil {
		t.Errorf("a second Stop gave %v", err)
	}
	stale := slipway.Action{Kind: slipway.Apply, Release: release(1)}
	if err := b.target.Act(t.Context(), stale); slipway.CodeOf(err) != slipway.Conflict {
		t.Errorf("an older fence after Stop gave %v", err)
	}
}

// inFlight reports whether the front door has a connection that is at work.
func (b *bench) inFlight(t *testing.T) bool {
	t.Helper()
	stats, err := b.target.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return stats.InFlight > 0
}

func TestStopWhileNobodySupervises(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.deploy(t, 1, release(1))
	b.kill(t)
	if err := b.target.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if o, err := b.target.Observe(t.Context()); err != nil || o.Desired != "" {
		t.Errorf("after Stop: %+v (%v)", o, err)
	}
}

func TestReplicas(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *local.Config) { c.Replicas = 1 })
	if o := b.deploy(t, 1, release(1)); o.Want != 1 || len(o.Replicas) != 1 {
		t.Errorf("%d of %d replicas, want 1", len(o.Replicas), o.Want)
	}
	r := release(1)
	r.Replicas = 3
	b.apply(t, 1, r)
	o := b.await(t, func(o slipway.Observation) bool { return serves(o, 1) == 3 && len(o.Replicas) == 3 })
	if o.Want != 3 {
		t.Errorf("%d replicas wanted, want 3", o.Want)
	}
}

func TestOldImagesAreClearedAway(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for n := range 9 {
		b.deploy(t, 1, release(n))
	}
	eventually(t, "old images go", func() bool {
		images, err := filepath.Glob(b.path("images", "*"))
		return err == nil && len(images) <= 4
	})
	b.deploy(t, 1, release(0)) // unpacked again
	b.wantAnswer(t, "0")
}

// What was unpacked may have been damaged on this disk: a release that failed
// finds its image anew when it is tried again.
func TestTheImageOfAFailedReleaseIsNotKept(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.deploy(t, 1, release(1))
	bad := release(exits)
	b.apply(t, 2, bad)
	b.await(t, func(o slipway.Observation) bool { return problemOf(o, exits) != nil })
	b.apply(t, 3, release(1))
	eventually(t, "the failed image goes", func() bool {
		_, err := os.Stat(b.path("images", strings.TrimPrefix(string(bad.Image.Digest), "sha256:")))
		return os.IsNotExist(err)
	})
	b.wantAnswer(t, "1")
}

// A supervisor that was killed while it cleared an image away leaves a rest.
func TestTheNextSupervisorClearsWhatWasSetAside(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	rest := b.path("images", ".old-"+strings.Repeat("0", 64))
	if err := os.MkdirAll(filepath.Join(rest, "model"), 0o700); err != nil {
		t.Fatal(err)
	}
	b.deploy(t, 1, release(1))
	if _, err := os.Stat(rest); !os.IsNotExist(err) {
		t.Errorf("%s is still there (%v)", rest, err)
	}
}

// A writer that was killed leaves its new file; the next write takes its place.
func TestNothingIsLeftOfAWriteThatDied(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if err := os.MkdirAll(b.path(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.path(".new-desired.json"), []byte("half a fi"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.deploy(t, 1, release(1))
	if rest, err := filepath.Glob(b.path(".new-*")); err != nil || len(rest) > 0 {
		t.Errorf("%v (%v)", rest, err)
	}
	b.wantAnswer(t, "1")
}

// Names come from a model registry: they stay names.
func TestNamesStayInTheFolder(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := release(1)
	r.Model.Name, r.Model.Version = "../../../evil", "../../../../evil"
	o := b.deploy(t, 1, r)
	for _, replica := range o.Replicas {
		if _, err := os.Stat(b.path("replicas", replica.Name, "log")); err != nil || strings.ContainsAny(replica.Name, "./") {
			t.Errorf("replica %q: %v", replica.Name, err)
		}
	}
	if escaped, err := filepath.Glob(filepath.Join(b.dir, "*evil*")); err != nil || len(escaped) > 0 {
		t.Errorf("%v (%v)", escaped, err)
	}
}

func TestTheFolderIsPrivate(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if err := os.MkdirAll(b.path(), 0o755); err != nil {
		t.Fatal(err)
	}
	b.deploy(t, 1, release(1))
	for name, want := range map[string]os.FileMode{".": 0o700, "control.sock": 0o600, "desired.json": 0o600, "supervisor.log": 0o600} {
		info, err := os.Stat(b.path(name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", name, info.Mode().Perm(), want)
		}
	}
}

func TestTheLockIsLostWithItsFile(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	lock, err := b.target.Journal().Lock(context.Background(), slipway.Claim{Holder: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(b.path("journal")); err != nil {
		t.Fatal(err)
	}
	select {
	case <-lock.Lost():
	case <-time.After(30 * time.Second):
		t.Error("a lock whose file is gone is still held")
	}
}

// serves counts the replicas of release n that receive requests.
func serves(o slipway.Observation, n int) int {
	count := 0
	for _, r := range o.Replicas {
		if r.Image == digest(n) && r.Serving {
			count++
		}
	}
	return count
}

// alive reports whether the process runs; one that nobody has waited for does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return syscall.Kill(pid, 0) == nil && !os.IsNotExist(err)
	}
	var number int
	var name, state string
	if _, err := fmt.Sscan(string(stat), &number, &name, &state); err != nil {
		return true
	}
	return state != "Z"
}

func sessionOf(pid int) (int, error) {
	sid, _, errno := syscall.Syscall(syscall.SYS_GETSID, uintptr(pid), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(sid), nil
}

// busyImages leaves the model server open for writing for a while after it was
// unpacked, as a child does that was forked meanwhile.
type busyImages struct {
	images
	self  string
	until <-chan struct{}
	open  chan<- error
}

func (m busyImages) Unpack(ctx context.Context, image slipway.Image, platform, dir string) error {
	if err := m.images.Unpack(ctx, image, platform, dir); err != nil {
		return err
	}
	server := filepath.Join(dir, "slipway", "modelserver")
	data, err := os.ReadFile(m.self)
	if err == nil {
		err = errors.Join(os.Remove(server), os.WriteFile(server, data, 0o700))
	}
	file, openErr := os.OpenFile(server, os.O_WRONLY, 0)
	go func() {
		<-m.until
		m.open <- file.Close()
	}()
	return errors.Join(err, openErr)
}

func TestAModelServerThatIsStillOpenForWritingIsWaitedFor(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	until, closed := make(chan struct{}), make(chan error, 1)
	b := newBench(t, func(c *local.Config) {
		c.Images = busyImages{images: catalog(), self: self, until: until, open: closed}
	})
	b.apply(t, 1, release(1))
	starting := b.await(t, func(o slipway.Observation) bool { return len(o.Replicas) > 0 })
	for _, r := range starting.Replicas {
		if r.Problem != nil {
			t.Errorf("replica %s: %s", r.Name, r.Problem.Message)
		}
	}
	close(until)
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	b.await(t, func(o slipway.Observation) bool { return o.Settled(release(1).Image.Digest) })
}
