package main

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// reads are the calls that leave no trace, told apart by hand. All other
// methods of the ports are side effects.
var reads = map[string]bool{
	"models.Resolve": true, "models.Promoted": true, "models.AwaitReady": true, "models.SearchVersions": true,
	"images.Resolve": true, "images.Base": true, "images.Plan": true, "images.Check": true, "images.File": true, "images.FindKept": true,
	"target.Observe": true, "journal.Load": true, "journal.Lock.Fence": true, "journal.Lock.Lost": true,
	"verifier.Verify": true, "local.Stats": true, "local.File": true,
	"cluster.Find": true,
}

// forDrivers are the actions that no target is ever told.
var forDrivers = map[string]bool{"wait": true, "verify": true, "finish": true, "leave": true}

// calls returns all that can be called through the ports: the methods of their
// interfaces, of the interfaces of ours that these return, and for Act one for
// each kind of action.
func calls(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, field := range reflect.VisibleFields(reflect.TypeFor[ports]()) {
		port := field.Type
		if port.Kind() == reflect.Func { // opened when it is first asked for
			port = port.Out(0)
		}
		if port.Kind() == reflect.Interface {
			all = append(all, methods(t, field.Name, port)...)
		}
	}
	return all
}

func methods(t *testing.T, name string, port reflect.Type) []string {
	t.Helper()
	var all []string
	for i := range port.NumMethod() {
		m := port.Method(i)
		call := name + "." + m.Name
		if call == "target.Act" {
			for _, kind := range actionKinds(t) {
				if !forDrivers[kind] {
					all = append(all, call+"("+kind+")")
				}
			}
			continue
		}
		all = append(all, call)
		for j := range m.Type.NumOut() {
			if out := m.Type.Out(j); out.Kind() == reflect.Interface && strings.HasPrefix(out.PkgPath(), module) {
				all = append(all, methods(t, call, out)...)
			}
		}
	}
	return all
}

// actionKinds returns the values of the constants of type ActionKind.
func actionKinds(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../../target.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if of, ok := spec.Type.(*ast.Ident); ok && of.Name == "ActionKind" {
			value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			kinds = append(kinds, value)
		}
		return true
	})
	return kinds
}

// sideEffects returns the calls that leave a trace.
func sideEffects(t *testing.T) []string {
	t.Helper()
	return slices.DeleteFunc(calls(t), func(call string) bool { return reads[call] })
}

// side is before or after a call.
type side string

const (
	before side = "before"
	after  side = "after"
)

// watch counts the side effects of one run and strikes at one of them.
type watch struct {
	at     int  // strike at this side effect, from 1; 0: never
	when   side // before or after it
	strike func()
	log    func(call string)

	mu    sync.Mutex
	count int
}

// begin notes a call and returns its number among the side effects, 0 for a
// read. Calls may be within each other: Act pulls the image.
func (w *watch) begin(call string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log(call)
	if reads[call] {
		return 0
	}
	w.count++
	w.reach(w.count, before)
	return w.count
}

func (w *watch) end(number int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reach(number, after)
}

func (w *watch) reach(number int, s side) {
	if number > 0 && number == w.at && s == w.when {
		w.strike()
	}
}

// The environment of a run that is to be killed.
const (
	crashArgs   = "SLIPWAY_TEST_CRASH_ARGS"   // the command line, separated by newlines
	crashPlan   = "SLIPWAY_TEST_CRASH_PLAN"   // N:before, N:after, or 0: for nothing
	crashVictim = "SLIPWAY_TEST_CRASH_VICTIM" // the folder whose supervisor is killed; empty: this process
	crashLog    = "SLIPWAY_TEST_CRASH_LOG"    // the file that the calls are appended to
	crashLease  = "SLIPWAY_TEST_CRASH_LEASE"  // how long a cluster's lock outlives its holder
)

// leasing is slipway with short locks in clusters. The test binary is it when
// its environment says so.
func leasing(lease string) {
	p := &program{stdin: strings.NewReader(""), stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv}
	var err error
	if p.lease, err = time.ParseDuration(lease); err != nil {
		panic(err)
	}
	p.connect = p.wire
	os.Exit(p.execute(context.Background(), os.Args[1:]))
}

// crashing is slipway with its ports watched, which kills itself or its
// supervisor as planned. The test binary is it when its environment says so.
func crashing(args []string) {
	log, err := os.OpenFile(os.Getenv(crashLog), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	w := &watch{strike: strike, log: func(call string) { fmt.Fprintln(log, call) }}
	at, when, _ := strings.Cut(os.Getenv(crashPlan), ":")
	if w.at, err = strconv.Atoi(at); err != nil {
		panic(err)
	}
	w.when = side(when)
	os.Exit(w.run(args))
}

func (w *watch) run(args []string) int {
	p := &program{stdin: strings.NewReader(""), stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv}
	p.connect = func(s settings) (*ports, error) {
		to := p.wireRegistries(s)
		w.around(to)
		err := p.wireTarget(to, s)
		if err == nil && to.target != nil {
			w.around(to)
		}
		return to, err
	}
	return p.execute(context.Background(), args)
}

// strike kills the victim the way a crash does.
func strike() {
	state := os.Getenv(crashVictim)
	if state == "" {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // it comes at once, but not before the system call returns
	}
	for _, pid := range processes(func(cmdline string) bool { return strings.Contains(cmdline, "\x00supervise\x00--state\x00"+state) }) {
		syscall.Kill(pid, syscall.SIGKILL)
		for deadline := time.Now().Add(10 * time.Second); alive(pid) && time.Now().Before(deadline); {
			<-time.After(time.Millisecond)
		}
	}
}

// processes returns those whose command line, its arguments ended by zero
// bytes, is wanted (proc(5)).
func processes(wanted func(cmdline string) bool) []int {
	var found []int
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil || !wanted(string(data)) {
			continue // it has ended meanwhile
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil && alive(pid) {
			found = append(found, pid)
		}
	}
	return found
}

// alive reports whether the process runs: one that waits to be reaped does not.
func alive(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	return len(fields) > 0 && fields[0] != "Z" && fields[0] != "X"
}

// The list that the crash test works through is made of the ports, so a port
// or an action that is new is on it, and every call of a whole release is.
func TestEveryCallIsOnTheListOfSideEffects(t *testing.T) {
	t.Parallel()
	list := calls(t)
	for call := range reads {
		if !slices.Contains(list, call) {
			t.Errorf("%s is told apart as a read, and no port has it", call)
		}
	}
	for kind := range forDrivers {
		if !slices.Contains(actionKinds(t), kind) {
			t.Errorf("there is no action %q", kind)
		}
	}
	w := threeVersions(t)
	seen := map[string]bool{}
	watching := &watch{log: func(call string) { seen[call] = true }}
	wrap := func(p *ports) { watching.around(p) }
	to := []string{"--image", w.vars["IMAGES"] + "/iris", "--to", "local://" + w.vars["ADDRESS"]}
	for _, args := range [][]string{
		append([]string{"deploy", "models:/iris/1"}, to...),
		append([]string{"deploy", "models:/iris/2"}, to...),
		{"rollback", "local://" + w.vars["ADDRESS"]},
		{"stop", "local://" + w.vars["ADDRESS"]},
	} {
		if code, text := w.slipway(t.Context(), wrap, args...); code != exitLive {
			t.Fatalf("%v: exit code %d\n%s", args, code, text)
		}
	}
	for call := range seen {
		if !slices.Contains(list, call) {
			t.Errorf("%s was called and is not on the list %v", call, list)
		}
	}
	for _, call := range []string{"models.Download", "models.SetTag", "images.Push", "images.Unpack", "target.Act(apply)", "journal.Lock", "journal.Store", "journal.Lock.Unlock", "local.Stop"} {
		if !seen[call] {
			t.Errorf("%s was not called: the ports are not watched", call)
		}
	}
}
