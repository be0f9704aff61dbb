//go:build e2e

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
)

// tale is a run of slipway that is killed, and what may come of it.
type tale struct {
	name   string
	before []string // deployed before, and watched from then on: references
	args   []string // the run: what it is given beside image and target
	server string   // the fault of its model server; empty: none
	ends   []string // the versions that may serve once the next run has ended
	settle string   // the version that serves when the run is asked for again; empty: nothing
	victim string   // "supervisor"; empty: the run itself
}

var tales = []tale{
	{name: "deploy", before: []string{"1"}, args: []string{"deploy", "models:/iris/2"}, ends: []string{"1", "2"}, settle: "2"},
	{name: "first deploy", args: []string{"deploy", "models:/iris@champion"}, ends: []string{"", "2"}, settle: "2"},
	{name: "deploy of a bad one", before: []string{"1"}, args: []string{"deploy", "models:/iris@champion", "--move-alias"}, server: "miscalculates", ends: []string{"1"}, settle: "1"},
	{name: "first deploy of a bad one", args: []string{"deploy", "models:/iris/2"}, server: "miscalculates", ends: []string{""}, settle: ""},
	{name: "rollback", before: []string{"1", "2"}, args: []string{"rollback"}, ends: []string{"1", "2"}, settle: "1"},
	{name: "stop", before: []string{"1", "2"}, args: []string{"stop"}, ends: []string{"", "2"}, settle: ""},
	{name: "deploy, supervisor", before: []string{"1"}, args: []string{"deploy", "models:/iris/2"}, ends: []string{"1", "2"}, settle: "2", victim: "supervisor"},
	{name: "deploy of a bad one, supervisor", before: []string{"1"}, args: []string{"deploy", "models:/iris/2"}, server: "miscalculates", ends: []string{"1"}, settle: "1", victim: "supervisor"},
}

// crashes counts over all tales.
var crashes struct {
	sync.Mutex
	points int
	struck map[string]bool // side effects at which something was killed
}

// A run, or the supervisor, is killed before and after every side effect, one
// after the other. At every instant only replicas that passed their golden
// predictions answer, and the next run finishes or undoes.
func TestE2EKilledAtEverySideEffect(t *testing.T) {
	crashes.struck = map[string]bool{}
	// All at once, and not as many as there are processors: they wait most of
	// the time, for the checks of a release among others.
	var told sync.WaitGroup
	for _, tale := range tales {
		told.Go(func() { t.Run(tale.name, tale.killedEverywhere) })
	}
	told.Wait()
	for _, effect := range sideEffects(t) {
		inCluster := strings.HasPrefix(effect, "cluster.")                                    // no local target has it
		ofPython := slices.Contains([]string{"images.Keep", "images.UnpackPackages"}, effect) // see TestE2EKilledWhileReleasingPython
		if !crashes.struck[effect] && !inCluster && !ofPython && !t.Failed() {
			t.Errorf("nothing was killed at %s: no tale calls it", effect)
		}
	}
	t.Logf("%d kill points over %d side effects", crashes.points, len(crashes.struck))
}

// killedEverywhere kills at the first side effect, at the second, and so on,
// until a run ends by itself.
func (a tale) killedEverywhere(t *testing.T) {
	cache := t.TempDir()
	for n := 1; ; n++ {
		for _, when := range []side{before, after} {
			if ended := a.killedAt(t, cache, n, when); ended && when == before {
				if n == 1 {
					t.Error("no side effect was met")
				}
				return
			}
			if t.Failed() {
				return
			}
		}
	}
}

// killedAt tells the tale in a world of its own. It reports whether the run
// had fewer side effects than n.
func (a tale) killedAt(t *testing.T, cache string, n int, when side) (ended bool) {
	c := a.begin(t, cache, fmt.Sprintf("%s: killed %s side effect %d", a.name, when, n))
	defer c.close()
	c.kill(n, when)
	if !c.killed {
		return true
	}
	c.next(n%2 == 0)
	c.check(a.ends)
	c.settle()
	c.check([]string{a.settle})
	c.end()
	return false
}

// crash is one world in which something is killed.
type crash struct {
	*world
	tale   tale
	t      *testing.T
	dir    string
	what   string
	to     []string
	prober *prober
	gate   *gate // before the registries
	killed bool
	calls  []string
}

func (a tale) begin(t *testing.T, cache, what string) *crash {
	dir := t.TempDir()
	w, err := newWorld(dir, buildServer(t))
	if err != nil {
		t.Fatal(err)
	}
	c := &crash{world: w, tale: a, t: t, dir: dir, what: what}
	if err := errors.Join(os.RemoveAll(filepath.Join(cache, "slipway", "models")), os.Mkdir(filepath.Join(dir, "tmp"), 0o700)); err != nil {
		t.Fatal(err)
	}
	w.vars["XDG_CACHE_HOME"], w.vars["TMPDIR"], w.vars["PATH"] = cache, filepath.Join(dir, "tmp"), os.Getenv("PATH")
	for _, model := range []string{"iris-1", "iris-2"} {
		if _, err := w.client.Register(t.Context(), "iris", w.vars["MODELS"]+"/"+model); err != nil {
			t.Fatal(err)
		}
	}
	c.promote("1")
	c.gate = gateOf(t, w)
	c.to = []string{"--image", w.vars["IMAGES"] + "/iris", "--to", c.target()}
	c.prober = newProber(w.vars["ADDRESS"])
	for _, version := range a.before {
		c.run(well, append([]string{"deploy", "models:/iris/" + version}, c.to...))
	}
	if len(a.before) > 0 && a.settle != "" {
		c.prober.live()
	}
	c.promote("2")
	return c
}

func (c *crash) promote(version slipway.Version) {
	if err := c.client.SetAlias(c.t.Context(), "iris", "champion", version); err != nil {
		c.t.Fatal(err)
	}
}

func (c *crash) target() string { return "local://" + c.vars["ADDRESS"] }

// state is the target's folder.
func (c *crash) state() string {
	return filepath.Join(c.dir, ".local", "state", "slipway", "local", c.vars["ADDRESS"])
}

// run runs slipway in this process and wants one of the exit codes.
func (c *crash) run(codes []int, args []string) {
	c.t.Helper()
	if got, text := c.slipway(c.t.Context(), nil, args...); !slices.Contains(codes, got) {
		c.t.Fatalf("%s: slipway %v: exit code %d, want one of %v\n%s\ncalls: %v", c.what, args, got, codes, text, c.calls)
	}
}

// well are the exit codes of a run that is to go well; over those with which a
// bad release may end.
var well = []int{exitLive}

func (a tale) over() []int {
	switch {
	case a.server == "":
		return well
	case len(a.before) == 0:
		return []int{exitLive, exitFailed} // removed, or in quarantine
	}
	return []int{exitLive, exitRolledBack}
}

// args are those of the tale's run.
func (c *crash) args() []string {
	if c.tale.args[0] != "deploy" {
		return append(slices.Clone(c.tale.args), c.target())
	}
	args := append(slices.Clone(c.tale.args), c.to...)
	if c.tale.server != "" {
		args = append(args, "--server", buildWrongServer(c.t, c.tale.server))
	}
	return args
}

// kill runs the tale's run in a process of its own, which is killed, or whose
// supervisor is.
func (c *crash) kill(n int, when side) {
	c.t.Helper()
	cmd, out := c.command(strconv.Itoa(n) + ":" + string(when))
	if c.tale.victim != "" {
		cmd.Env = append(cmd.Env, crashVictim+"="+c.state())
		c.prober.mayLose()
	}
	err := cmd.Run()
	c.learn(n)
	code := cmd.ProcessState.ExitCode()
	if c.tale.victim == "" && c.killed != signaled(cmd) || c.tale.victim != "" && !slices.Contains(c.tale.over(), code) {
		c.t.Fatalf("%s: %v, calls %v\n%s", c.what, err, c.calls, out)
	}
}

// command is the tale's run with its plan.
func (c *crash) command(plan string) (*exec.Cmd, *bytes.Buffer) {
	self, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.Command(self)
	for name, value := range c.vars {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Env = append(cmd.Env, crashArgs+"="+strings.Join(c.args(), "\n"), crashPlan+"="+plan, crashLog+"="+c.log())
	out := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	return cmd, out
}

func (c *crash) log() string { return filepath.Join(c.dir, "calls") }

// signaled reports whether the process ended by SIGKILL.
func signaled(cmd *exec.Cmd) bool {
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	return status.Signaled() && status.Signal() == syscall.SIGKILL
}

// learn reads what the run called, and whether it came as far as n.
func (c *crash) learn(n int) {
	data, err := os.ReadFile(c.log())
	if err != nil {
		c.t.Fatal(err)
	}
	c.calls = strings.Fields(string(data))
	list := calls(c.t)
	effects := 0
	for _, call := range c.calls {
		if !slices.Contains(list, call) {
			c.t.Errorf("%s: %s is not on the list of calls", c.what, call)
		}
		if reads[call] {
			continue
		}
		if effects++; effects == n {
			c.killed = true
			crashes.Lock()
			crashes.points++
			crashes.struck[call] = true
			crashes.Unlock()
			c.what += ", " + call
		}
	}
}

// next is the run after the crash.
func (c *crash) next(recover bool) {
	c.t.Helper()
	args := c.args()
	if recover || args[0] != "deploy" {
		args = []string{"recover", c.target()}
	}
	c.run(c.tale.over(), args)
}

// settle asks for the same again.
func (c *crash) settle() {
	c.t.Helper()
	if c.tale.name == "rollback" && c.served() == "1" {
		return
	}
	c.run(c.tale.over(), c.args())
}

func (c *crash) ports() *ports {
	c.t.Helper()
	p := &program{getenv: c.getenv}
	var s settings
	if err := s.setTarget(c.target()); err != nil {
		c.t.Fatal(err)
	}
	to, err := p.wire(s)
	if err != nil {
		c.t.Fatal(err)
	}
	return to
}

// served is the version that the target is set to; empty: nothing.
func (c *crash) served() string {
	c.t.Helper()
	o, err := c.ports().target.Observe(c.t.Context())
	if err != nil {
		c.t.Fatalf("%s: %v", c.what, err)
	}
	for _, r := range o.Replicas {
		if r.Image == o.Desired {
			return string(r.Model.Version)
		}
	}
	return ""
}

// check looks at all worlds: the target, its journal, the model registry, the
// processes and the disk.
func (c *crash) check(versions []string) {
	c.t.Helper()
	served := c.served()
	if !slices.Contains(versions, served) {
		c.t.Fatalf("%s: version %q serves, want one of %q; calls %v", c.what, served, versions, c.calls)
	}
	to := c.ports()
	record, err := to.journal.Load(c.t.Context())
	if err != nil {
		c.t.Fatalf("%s: %v", c.what, err)
	}
	if record.Current != nil {
		c.t.Errorf("%s: %s is still on its way, %s", c.what, record.Current.Model, record.Current.Phase)
	}
	if served != "" {
		o := c.settled(to.target, record.Live)
		if record.Live == nil || record.Live.Phase != slipway.Verified || string(record.Live.Model.Version) != served || !o.Settled(record.Live.Image.Digest) {
			c.t.Errorf("%s: version %s serves, verified is %+v, observed %+v", c.what, served, record.Live, o)
		}
		c.tags(served)
	}
	want := map[string]int{"supervise": 1, "--model": 2}
	if served == "" {
		want = map[string]int{"--model": 0}
	}
	c.processes(want)
	c.litter()
	c.prober.report(c)
}

// settled looks at the target until it has settled on the release, which a
// supervisor that was killed and started again takes a moment for.
func (c *crash) settled(target slipway.Target, live *slipway.Release) slipway.Observation {
	c.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(10 * time.Millisecond) {
		o, err := target.Observe(c.t.Context())
		if err != nil {
			c.t.Fatalf("%s: %v", c.what, err)
		}
		if live == nil || o.Settled(live.Image.Digest) || time.Now().After(deadline) {
			return o
		}
	}
}

// tags wants the model registry to say that the version is live, and no other.
func (c *crash) tags(served string) {
	c.t.Helper()
	for _, version := range []string{"1", "2"} {
		v, err := c.client.Resolve(c.t.Context(), mustRef(c.t, "models:/iris/"+version))
		if err != nil {
			c.t.Fatal(err)
		}
		if status := v.Tags[tagStatus]; (status == "live") != (version == served) {
			c.t.Errorf("%s: version %s serves, and %s is tagged %q", c.what, served, version, status)
		}
	}
}

// processes wants so many processes of the target's folder, by a word of their
// command line, as soon as the drained ones have ended.
func (c *crash) processes(want map[string]int) {
	c.t.Helper()
	for word, number := range want {
		var found []int
		for deadline := time.Now().Add(20 * time.Second); ; <-time.After(25 * time.Millisecond) {
			found = processes(func(cmdline string) bool {
				return strings.Contains(cmdline, "\x00"+word+"\x00") && strings.Contains(cmdline, c.state())
			})
			if len(found) == number || time.Now().After(deadline) {
				break
			}
		}
		if len(found) != number {
			c.t.Errorf("%s: %d processes with %s, want %d", c.what, len(found), word, number)
		}
	}
}

// known are the files that a target keeps.
var known = regexp.MustCompile(`^(` + strings.Join([]string{
	`journal/(record\.json|fence\.json|lock|guard)`,
	`desired\.json`, `control\.sock`, `supervisor\.(lock|log|out)`,
	`images/[0-9a-f]{64}/.*`,
	`images/\.old-[0-9a-f]{64}/.*`, // on its way out, or cleared away when the supervisor starts next
	`replicas/[a-z]+-\d+-[a-z0-9]{4}-\d/(addr|log|process\.json|termination-log)`,
}, "|") + `)$`)

// litter wants no file of the target that nobody knows, and no temporary ones.
func (c *crash) litter() {
	c.t.Helper()
	var unknown []string
	for _, dir := range []string{c.state(), filepath.Join(c.dir, "tmp")} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // a replica that has just ended
			}
			if err != nil || d.IsDir() {
				return err
			}
			name, err := filepath.Rel(dir, path)
			if dir != c.state() || !known.MatchString(name) {
				unknown = append(unknown, name)
			}
			return err
		})
		if err != nil {
			c.t.Fatal(err)
		}
	}
	if len(unknown) > 0 {
		c.t.Errorf("%s: litter: %v", c.what, unknown)
	}
}

// end stops the target: nothing of it is left running.
func (c *crash) end() {
	c.t.Helper()
	c.prober.close()
	c.run(well, []string{"stop", c.target()})
	c.processes(map[string]int{"supervise": 0, "--model": 0})
}

func (c *crash) close() {
	c.prober.close()
	c.world.close()
}

// wrongServers are built once a fault.
var wrongServers sync.Map

func buildWrongServer(t *testing.T, fault string) string {
	t.Helper()
	build, _ := wrongServers.LoadOrStore(fault, sync.OnceValues(func() (string, error) {
		path := filepath.Join(os.TempDir(), "slipway-test", "wrong-"+fault)
		cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.fault="+fault, "-o", path, "../../e2e/testdata/wrongserver")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%w: %s", err, out)
		}
		return path, nil
	}))
	path, err := build.(func() (string, error))()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// jsonEqual compares two JSON texts by value.
func jsonEqual(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && fmt.Sprint(x) == fmt.Sprint(y)
}
