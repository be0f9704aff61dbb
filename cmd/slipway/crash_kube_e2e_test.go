//go:build e2e

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
)

// kubeTale is a release in a cluster whose runner is killed.
type kubeTale struct {
	name    string
	fresh   bool                        // each time a Deployment that nothing was deployed to
	creates bool                        // likewise, and the run has to make it
	server  string                      // the fault of the model server; empty: none
	runs    func(*kubeCrash) [][]string // the command lines, one after the other
	codes   []int                       // with which they end when nobody is killed
}

var kubeTales = []kubeTale{
	{name: "deploy", runs: func(k *kubeCrash) [][]string { return [][]string{k.deploy("--retry")} }, codes: []int{exitLive}},
	{name: "deploy of a bad one", server: "miscalculates", runs: func(k *kubeCrash) [][]string { return [][]string{k.deploy("--retry")} }, codes: []int{exitRolledBack}},
	{name: "first deploy", fresh: true, runs: func(k *kubeCrash) [][]string { return [][]string{k.deploy()} }, codes: []int{exitLive}},
	{name: "first deploy of a bad one", fresh: true, server: "miscalculates", runs: func(k *kubeCrash) [][]string { return [][]string{k.deploy()} }, codes: []int{exitFailed}},
	{name: "first deploy that makes the Deployment", creates: true, runs: func(k *kubeCrash) [][]string { return [][]string{k.deploy("--create")} }, codes: []int{exitLive}},
	{name: "rollback", runs: func(k *kubeCrash) [][]string {
		return [][]string{{"rollback", k.target(), "--to-version", k.wanted()}}
	}, codes: []int{exitLive}},
	{name: "steps", runs: func(k *kubeCrash) [][]string {
		return [][]string{{"rollout", "--retry", "--release", k.release()}, {"verify", "--release", k.release()}}
	}, codes: []int{exitLive, exitLive}},
}

// moment is where a runner is killed: before or after a call of the API
// server. The calls of one kind are told apart by the phase of the release, as
// the journal had it; those that leave no trace are not.
type moment struct {
	tale  *kubeTale
	kind  string
	phase string
	side  side
	reads bool
}

func (m moment) String() string {
	return fmt.Sprintf("%s: killed %s %q while %s", m.tale.name, m.side, m.kind, m.phase)
}

// kubeWorkers is how many tales are told at once. They wait most of the time.
const kubeWorkers = 6

// shortLease is how long the lock of a killed runner lasts.
const shortLease = 1500 * time.Millisecond

// A run against a cluster is killed before and after every call of the API
// server. From another machine the next run finishes or undoes what it left,
// and meanwhile nothing but verified releases answers.
func TestE2EKilledAtEveryCallOfTheAPIServer(t *testing.T) {
	k := newKubeStage(t)
	moments := k.record(t)
	struck := map[moment]bool{}
	var missed []moment
	var mu sync.Mutex
	work := make(chan moment, len(moments))
	for _, m := range moments {
		work <- m
	}
	close(work)
	var workers sync.WaitGroup
	for n := range kubeWorkers {
		workers.Go(func() {
			t.Run(fmt.Sprint("worker ", n), func(t *testing.T) {
				c := k.worker(t)
				for m := range work {
					if t.Failed() {
						continue // the others go on
					}
					start := time.Now()
					hit := c.killedAt(m)
					t.Logf("%s (%s)", c.what, time.Since(start).Round(100*time.Millisecond))
					mu.Lock()
					if hit {
						struck[m] = true
					} else {
						missed = append(missed, m)
					}
					mu.Unlock()
				}
			})
		})
	}
	workers.Wait()
	if left := len(work); left > 0 {
		t.Errorf("%d moments were not tried", left)
	}
	checkStruck(t, moments, struck, missed)
}

// checkStruck wants every kind of call that leaves a trace to have been struck,
// on both sides. What is only read depends on how the pods do: events are asked
// for where one makes others wait.
func checkStruck(t *testing.T, moments []moment, struck map[moment]bool, missed []moment) {
	t.Helper()
	type kind struct {
		kind string
		side side
	}
	hit := map[kind]bool{}
	for m := range struck {
		hit[kind{m.kind, m.side}] = true
	}
	for _, m := range moments {
		if !m.reads && !hit[kind{m.kind, m.side}] && !t.Failed() {
			t.Errorf("nothing was killed %s %q", m.side, m.kind)
		}
	}
	for _, m := range missed {
		t.Logf("not met: %s", m)
	}
	t.Logf("%d kill points, %d of them met, over %d calls and sides", len(moments), len(struck), len(hit))
}

// record tells every tale once without killing anybody and returns the moments
// at which somebody can be killed: for calls that leave a trace, before and
// after each, by kind and phase; of every other kind the first. What takes the
// lock and gives it back is the same in all tales, and killed in one.
func (k *kubeStage) record(t *testing.T) []moment {
	t.Helper()
	found := make([][]moment, len(kubeTales))
	t.Run("record", func(t *testing.T) {
		var told sync.WaitGroup
		for i := range kubeTales {
			told.Go(func() {
				t.Run(kubeTales[i].name, func(t *testing.T) { found[i] = k.worker(t).recorded(&kubeTales[i]) })
			})
		}
		told.Wait()
	})
	var all []moment
	seen := map[moment]bool{}
	for _, m := range slices.Concat(found...) {
		what := m
		what.tale = nil
		if m.reads {
			what.phase = ""
		}
		if once := m.reads || ofLock(m.kind); once && seen[what] {
			continue
		}
		seen[what] = true
		all = append(all, m)
	}
	if len(all) == 0 || t.Failed() {
		t.Fatal("the calls were not recorded")
	}
	return all
}

// ofLock reports whether calls of the kind are the lock's: the Lease, and its
// number on the Deployment and on the ConfigMap.
func ofLock(kind string) bool {
	return strings.Contains(kind, " leases") || kind == "patch deployments" || kind == "update configmaps" || kind == "create configmaps"
}

// follower knows which call of a run is which, from what the run has sent so
// far.
type follower struct {
	phase string
	token string // of the lock that the run holds
}

// meet names a call, as moments do.
func (f *follower) meet(c e2e.APICall) (kind, phase string) {
	switch {
	case c.Reads:
	case strings.HasSuffix(c.Kind, " leases"):
		return f.meetLease(c)
	case strings.HasSuffix(c.Kind, " configmaps"):
		if next := phaseOf(c.Body); next != "" && next != f.phase {
			return c.Kind + " to say: " + next, f.phase
		}
	}
	return c.Kind, f.phase
}

func (f *follower) meetLease(c e2e.APICall) (kind, phase string) {
	switch tokenIn(c.Body) {
	case "":
		return c.Kind + ", letting go", f.phase
	case f.token:
		return c.Kind + ", renewing", "at any time" // by the clock
	}
	return c.Kind, f.phase
}

// done takes in what a call that got through has changed.
func (f *follower) done(c e2e.APICall) {
	switch {
	case c.Reads:
	case strings.HasSuffix(c.Kind, " leases"):
		f.token = tokenIn(c.Body)
	case strings.HasSuffix(c.Kind, " configmaps"):
		if phase := phaseOf(c.Body); phase != "" {
			f.phase = phase
		}
	}
}

var tokenPattern = regexp.MustCompile(`slipway\.dev/token\W{1,5}([A-Z2-7]{26})`)

// tokenIn returns what tells a held lock from others; empty: it is let go. The
// Lease is JSON or a protocol buffer.
func tokenIn(lease []byte) string {
	if found := tokenPattern.FindSubmatch(lease); found != nil {
		return string(found[1])
	}
	return ""
}

// phaseOf returns the phase that a journal to be written says; empty where it
// says nothing. The ConfigMap is JSON, with the record as a string in it, or a
// protocol buffer.
func phaseOf(configMap []byte) string {
	var c struct{ Data map[string]string }
	text := configMap
	if json.Unmarshal(configMap, &c) == nil {
		text = []byte(c.Data["record.json"])
	}
	_, text, found := bytes.Cut(text, []byte("{\n \"schemaVersion\""))
	var r slipway.Record
	record := io.MultiReader(strings.NewReader("{\n \"schemaVersion\""), bytes.NewReader(text))
	switch {
	case !found || json.NewDecoder(record).Decode(&r) != nil:
		return ""
	case r.Current == nil:
		return atRest
	}
	return string(r.Current.Phase)
}

const atRest = "nothing is on its way"

// recorded tells the tale and returns the moments of its calls.
func (c *kubeCrash) recorded(tale *kubeTale) []moment {
	c.t.Helper()
	c.begin(tale)
	var mu sync.Mutex
	var found []moment
	f := &follower{phase: atRest}
	c.proxy.Before(func(call e2e.APICall) int {
		mu.Lock()
		defer mu.Unlock()
		kind, phase := f.meet(call)
		m := moment{tale: tale, kind: kind, phase: phase, side: before, reads: call.Reads}
		after := m
		after.side = "after"
		for _, m := range []moment{m, after} {
			if m.reads && m.side == "after" || slices.Contains(found, m) {
				continue
			}
			found = append(found, m)
		}
		return 0
	})
	c.proxy.After(func(call e2e.APICall) {
		mu.Lock()
		defer mu.Unlock()
		f.done(call)
	})
	for i, args := range tale.runs(c) {
		if code, text := c.slipwayAt("one", c.proxied, args...); code != tale.codes[i] {
			c.t.Fatalf("%s: slipway %v: exit code %d, want %d\n%s", tale.name, args, code, tale.codes[i], text)
		}
	}
	c.check(c.outcome())
	if tale.creates { // all else the other tales have
		found = slices.DeleteFunc(found, func(m moment) bool { return m.reads || !strings.HasPrefix(m.kind, "create ") })
	}
	return found
}

// reaper kills a run at a moment.
type reaper struct {
	mu     sync.Mutex
	at     moment
	follow follower
	victim *os.Process
	dead   chan struct{} // closed when the victim has ended
	struck bool
}

func (r *reaper) before(c e2e.APICall) int {
	if r.strikes(c, before) {
		return 503 // the call comes to nothing: nobody hears the answer
	}
	return 0
}

func (r *reaper) after(c e2e.APICall) {
	r.strikes(c, after)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.follow.done(c)
}

// strikes kills the victim if this is the moment, and waits until it is dead.
func (r *reaper) strikes(c e2e.APICall, when side) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.struck {
		return true
	}
	kind, phase := r.follow.meet(c)
	if r.victim == nil || when != r.at.side || kind != r.at.kind || phase != r.at.phase && !r.at.reads {
		return false
	}
	r.struck = true
	_ = r.victim.Kill() // it may just have ended by itself; the test looks
	<-r.dead
	return true
}

func (r *reaper) hasStruck() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.struck
}

// start runs the command; wait returns once it has ended.
func (r *reaper) start(cmd *exec.Cmd) (wait func() error, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	dead := make(chan struct{})
	r.victim, r.dead = cmd.Process, dead
	return func() error {
		defer close(dead)
		return cmd.Wait()
	}, nil
}

// killedAt tells the tale and kills its runner at the moment. It reports
// whether the moment came: a lock is not renewed in every run.
func (c *kubeCrash) killedAt(m moment) bool {
	c.t.Helper()
	if m.tale.creates {
		c.creating.Lock()
		defer c.creating.Unlock()
		defer func() { c.cluster.EndNamespace(c.t, c.ns) }()
	}
	for range 3 {
		c.what = m.String()
		c.begin(m.tale)
		if c.kill(m) {
			c.check(c.next(m)...)
			return true
		}
		c.check(c.outcome())
		if c.t.Failed() {
			return false
		}
	}
	return false
}

// kill runs the tale until its runner is killed.
func (c *kubeCrash) kill(m moment) bool {
	c.t.Helper()
	r := &reaper{at: m, follow: follower{phase: atRest}}
	c.proxy.Before(r.before)
	c.proxy.After(r.after)
	defer c.proxy.Before(nil)
	defer c.proxy.After(nil)
	for i, args := range m.tale.runs(c) {
		cmd, out := c.command("one", c.proxied, args...)
		wait, err := r.start(cmd)
		if err != nil {
			c.t.Fatal(err)
		}
		err = wait()
		code, struck := cmd.ProcessState.ExitCode(), r.hasStruck()
		switch {
		case struck && signaled(cmd):
			return true
		case struck || code != m.tale.codes[i]:
			c.t.Fatalf("%s: %v\n%s", c.what, err, out)
		}
	}
	return false
}

// outcome is the version that serves after a whole run of the tale.
func (c *kubeCrash) outcome() string {
	if c.tale.server != "" {
		return c.live
	}
	return c.wanted()
}

// next is the run after the crash, from another machine. It returns the
// versions that may serve afterwards.
func (c *kubeCrash) next(m moment) []string {
	c.t.Helper()
	left := c.record()
	args := []string{"recover", c.target()}
	if c.turn++; c.turn%2 == 0 || isUnverified(left) || c.tale.creates {
		args = c.again()
	}
	want := c.expected(m.tale, left, args[0] == "deploy")
	c.what += fmt.Sprintf(", which left it %s; then slipway %s", stateOf(left), args[0])
	if code, text := c.slipwayAt("two", c.cluster.Kubeconfig, args...); !slices.Contains(want, code) {
		c.t.Fatalf("%s: exit code %d, want one of %v\n%s", c.what, code, want, text)
	}
	if args[0] == "deploy" {
		return []string{c.outcome()}
	}
	return []string{c.live, c.outcome()}
}

// isUnverified reports whether a release waits for its verification: recover
// leaves it to that.
func isUnverified(r slipway.Record) bool {
	return r.Current != nil && r.Current.Phase == slipway.Unverified
}

func stateOf(r slipway.Record) string {
	if r.Current == nil {
		return atRest
	}
	return string(r.Current.Phase)
}

// expected are the exit codes that the next run may end with.
func (c *kubeCrash) expected(tale *kubeTale, left slipway.Record, deploys bool) []int {
	bad := exitRolledBack
	if tale.fresh {
		bad = exitFailed // removed
	}
	switch {
	case tale.server == "":
		return []int{exitLive}
	case deploys && left.Current == nil && left.Quarantined(slipway.ModelVersion{Name: slipway.ModelName(c.name), Version: slipway.Version(c.wanted())}) != nil:
		return []int{exitLive} // quarantined
	case deploys && left.Current != nil:
		return []int{exitLive, bad} // what was left is undone; then it is quarantined
	case left.Current == nil && !deploys:
		return []int{exitLive} // nothing to recover
	}
	return []int{bad}
}
