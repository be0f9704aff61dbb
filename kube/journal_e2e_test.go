//go:build e2e

package kube_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/kube"
	"github.com/slipway-dev/slipway/slipwaytest"
)

// testLease is short, so that tests of dead holders are.
const testLease = 2 * time.Second

func TestE2EJournal(t *testing.T) {
	t.Parallel()
	cluster := e2e.Cluster(t)
	namespace := cluster.Namespace(t)
	slipwaytest.Journal(t, func(t *testing.T) slipwaytest.JournalFixture {
		name := newName()
		return slipwaytest.JournalFixture{
			Journal: newTarget(t, cluster, namespace, name, nil).Journal(),
			Other:   newTarget(t, cluster, namespace, name, nil).Journal(),
			Mortal: func(t *testing.T, holder string) func() {
				wire := &wire{}
				_, die := hold(t, newTarget(t, cluster, namespace, name, wire).Journal(), holder, wire)
				return die
			},
			Plant: func(t *testing.T, data []byte) { plant(t, cluster, namespace, name, data) },
		}
	})
}

// The number of the next lock is greater than that of every lock before,
// whatever of the three places that keep it is lost.
func TestE2EFencesNeverGoBack(t *testing.T) {
	t.Parallel()
	cluster := e2e.Cluster(t)
	namespace := cluster.Namespace(t)
	for _, lost := range []struct{ name, without string }{
		{"nothing", ""},
		{"Lease", "lease/%[1]s-slipway"},
		{"ConfigMap", "configmap/%[1]s-slipway"},
		{"Deployment", "deployment/%[1]s"},
		{"Lease and ConfigMap", "lease/%[1]s-slipway configmap/%[1]s-slipway"},
		{"Lease and Deployment", "lease/%[1]s-slipway deployment/%[1]s"},
		{"ConfigMap and Deployment", "configmap/%[1]s-slipway deployment/%[1]s"},
	} {
		t.Run(lost.name, func(t *testing.T) {
			t.Parallel()
			name := newName()
			cluster.Kubectl(t, "create", "deployment", name, "--image=registry.invalid/none", "--replicas=0", "-n", namespace)
			journal := newTarget(t, cluster, namespace, name, nil).Journal()
			first := lockOnce(t, journal)
			second := lockOnce(t, journal)
			if lost.without != "" {
				args := append([]string{"delete", "-n", namespace}, strings.Fields(fmt.Sprintf(lost.without, name))...)
				cluster.Kubectl(t, args...)
			}
			third := lockOnce(t, journal)
			if first >= second || second >= third {
				t.Errorf("fences %d, %d and, without %s, %d", first, second, lost.name, third)
			}
		})
	}
}

func TestE2EALockOutlivesWhatPeopleDoToTheLease(t *testing.T) {
	t.Parallel()
	cluster := e2e.Cluster(t)
	namespace := cluster.Namespace(t)
	for _, done := range []struct{ name, args string }{
		{"deleted", "delete lease %s-slipway"},
		{"emptied", `patch lease %s-slipway --type=merge -p {"spec":{"holderIdentity":null}}`},
		{"edited", "annotate lease %s-slipway colour=blue"},
		{"the record deleted", "delete configmap %s-slipway"},
	} {
		t.Run(done.name, func(t *testing.T) {
			t.Parallel()
			name := newName()
			journal := newTarget(t, cluster, namespace, name, nil).Journal()
			lock, err := journal.Lock(t.Context(), slipway.Claim{Holder: "first"})
			if err != nil {
				t.Fatal(err)
			}
			stored, err := journal.Store(t.Context(), lock.Fence(), slipway.Record{Hold: &slipway.Hold{By: "ada"}})
			if err != nil {
				t.Fatal(err)
			}
			cluster.Kubectl(t, append([]string{"-n", namespace}, strings.Fields(fmt.Sprintf(done.args, name))...)...)
			waitForHolder(t, cluster, namespace, name, "first")
			if _, err := journal.Store(t.Context(), lock.Fence(), stored); err != nil {
				t.Errorf("storing under the lock: %v", err)
			}
			if err := lock.Unlock(t.Context()); err != nil {
				t.Error(err)
			}
			if holder := holderOf(t, cluster, namespace, name); holder != "" {
				t.Errorf("%q holds the target after Unlock", holder)
			}
		})
	}
}

// A name that somebody wrote into the Lease by hand is seen by the next write:
// the sign of life that would notice it may be seconds away.
func TestE2EALockTakenByHandStoresNothing(t *testing.T) {
	t.Parallel()
	cluster := e2e.Cluster(t)
	namespace, name := cluster.Namespace(t), newName()
	journal := newTarget(t, cluster, namespace, name, nil).Journal()
	lock, err := journal.Lock(t.Context(), slipway.Claim{Holder: "first"})
	if err != nil {
		t.Fatal(err)
	}
	cluster.Kubectl(t, "-n", namespace, "patch", "lease", name+"-slipway", "--type=merge", "-p",
		`{"metadata": {"annotations": {"slipway.dev/token": null}}, "spec": {"holderIdentity": "mallory"}}`)
	if _, err := journal.Store(t.Context(), lock.Fence(), slipway.Record{}); slipway.CodeOf(err) != slipway.Conflict {
		t.Errorf("storing under a lock that mallory has: %v", err)
	}
	if err := lock.Unlock(t.Context()); err != nil {
		t.Error(err)
	}
	if holder := holderOf(t, cluster, namespace, name); holder != "mallory" {
		t.Errorf("%q holds the target, want mallory", holder)
	}
}

// A run that cannot reach the cluster keeps its lock while nobody takes it, and
// knows that it has lost it once somebody has.
func TestE2EALockIsLostToTheNextHolderOnly(t *testing.T) {
	t.Parallel()
	cluster := e2e.Cluster(t)
	namespace, name := cluster.Namespace(t), newName()
	wire := &wire{}
	lock, cut := hold(t, newTarget(t, cluster, namespace, name, wire).Journal(), "cut off", wire)
	cut()
	select {
	case <-lock.Lost():
		t.Fatal("lost though nobody took it")
	case <-time.After(testLease + testLease/2):
	}
	wire.cut.Store(false)
	journal := newTarget(t, cluster, namespace, name, nil).Journal()
	renewed := renewedAt(t, cluster, namespace, name)
	for deadline := time.Now().Add(30 * time.Second); renewedAt(t, cluster, namespace, name) == renewed; {
		if time.Now().After(deadline) {
			t.Fatal("the lock is not renewed once the API server is back")
		}
	}
	cut()
	heir, err := journal.Lock(t.Context(), slipway.Claim{Holder: "heir"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = heir.Unlock(context.WithoutCancel(t.Context())) })
	wire.cut.Store(false)
	select {
	case <-lock.Lost():
	case <-time.After(30 * time.Second):
		t.Fatal("the first holder does not notice")
	}
	if err := lock.Unlock(t.Context()); err != nil {
		t.Errorf("unlocking what was lost: %v", err)
	}
	if holder := holderOf(t, cluster, namespace, name); holder != "heir" {
		t.Errorf("%q holds the target, want the heir", holder)
	}
}

// While nobody can reach the API server, nobody dies of it: the holder keeps
// its lock, and who waits goes on waiting.
func TestE2EAnOutageIsNoDeath(t *testing.T) {
	t.Parallel()
	cluster := e2e.Cluster(t)
	namespace, name, wire := cluster.Namespace(t), newName(), &wire{}
	lock, cut := hold(t, newTarget(t, cluster, namespace, name, wire).Journal(), "first", wire)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	waits, got := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		claim := slipway.Claim{Holder: "second", Waiting: func(string) {
			select {
			case waits <- struct{}{}:
			default:
			}
		}}
		err := error(slipway.Errorf(slipway.Unavailable, "waiting", "not begun"))
		for slipway.Retryable(err) && ctx.Err() == nil { // as the driver does
			_, err = newTarget(t, cluster, namespace, name, wire).Journal().Lock(ctx, claim)
		}
		got <- err
	}()
	<-waits
	cut()
	<-time.After(3 * testLease)
	wire.cut.Store(false)
	select {
	case err := <-got:
		t.Errorf("who waited has the lock, or gave up: %v", err)
	case <-lock.Lost():
		t.Error("the holder lost its lock")
	case <-time.After(2 * testLease):
	}
	if holder := holderOf(t, cluster, namespace, name); holder != "first" {
		t.Errorf("%q holds the target", holder)
	}
	cancel()
	<-got
}

// A record that is larger than a ConfigMap may be loses its oldest history,
// and nothing else; what cannot be made to fit is refused.
func TestE2ERecordsFitIntoAConfigMap(t *testing.T) {
	t.Parallel()
	cluster := e2e.Cluster(t)
	journal := newTarget(t, cluster, cluster.Namespace(t), newName(), nil).Journal()
	lock, err := journal.Lock(t.Context(), slipway.Claim{Holder: "a"})
	must(t, err)
	t.Cleanup(func() { _ = lock.Unlock(context.WithoutCancel(t.Context())) })
	large := func(id string, bytes int) slipway.Release {
		return slipway.Release{ID: slipway.ReleaseID(id), Phase: slipway.Verified, Env: map[string]string{"FILLER": strings.Repeat("x", bytes)}}
	}
	live := large("LIVE", 40<<10)
	r := slipway.Record{Live: &live, Hold: &slipway.Hold{By: "ada"}}
	for i := range slipway.HistoryLimit {
		r.History = append(r.History, large(fmt.Sprint(i), 40<<10))
	}
	stored, err := journal.Store(t.Context(), lock.Fence(), r)
	must(t, err)
	loaded, err := journal.Load(t.Context())
	must(t, err)
	n := len(loaded.History)
	if n < 15 || n > 22 || loaded.History[n-1].ID != "49" || loaded.Live.ID != "LIVE" || loaded.Hold == nil || loaded.Revision != stored.Revision {
		t.Errorf("%d releases in the history, the newest %s, live %+v", n, loaded.History[n-1].ID, loaded.Live)
	}
	huge := large("LIVE", 1<<20)
	stored.Live = &huge
	_, err = journal.Store(t.Context(), lock.Fence(), stored)
	if slipway.CodeOf(err) != slipway.Exhausted || slipway.HintOf(err) == "" {
		t.Errorf("a record that cannot fit: %v", err)
	}
}

// wire is the way of one process to the API server; cut, nothing gets through.
type wire struct{ cut atomic.Bool }

var errCut = errors.New("the wire is cut")

func (w *wire) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTrip(func(req *http.Request) (*http.Response, error) {
		if w.cut.Load() {
			return nil, errCut
		}
		return next.RoundTrip(req)
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// hold takes the lock and returns it with how to cut its holder off for good,
// as if the process had died.
func hold(t *testing.T, j *kube.Journal, holder string, w *wire) (slipway.Lock, func()) {
	t.Helper()
	lock, err := j.Lock(t.Context(), slipway.Claim{Holder: holder})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // only to end its goroutine
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		cancel()
		_ = lock.Unlock(ctx)
	})
	return lock, func() { w.cut.Store(true) }
}

func newName() string { return "n" + strings.ToLower(rand.Text()[:8]) }

// way is how calls of one process get to the API server.
type way interface {
	wrap(http.RoundTripper) http.RoundTripper
}

// newTarget returns the Deployment as one process sees it; w may be nil.
func newTarget(t *testing.T, cluster *e2e.KubeCluster, namespace, name string, w way) *kube.Target {
	t.Helper()
	config := kube.Config{
		Ref:    slipway.TargetRef{Scheme: "kubernetes", Namespace: namespace, Name: name},
		Lease:  testLease,
		Getenv: os.Getenv,
		Rest:   restConfig(t, cluster),
	}
	if w != nil {
		config.Rest.Wrap(w.wrap)
	}
	target, err := kube.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

func restConfig(t *testing.T, cluster *e2e.KubeCluster) *rest.Config {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", cluster.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func lockOnce(t *testing.T, j *kube.Journal) uint64 {
	t.Helper()
	lock, err := j.Lock(t.Context(), slipway.Claim{Holder: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if err := lock.Unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
	return lock.Fence()
}

func plant(t *testing.T, cluster *e2e.KubeCluster, namespace, name string, data []byte) {
	t.Helper()
	patch, err := json.Marshal(map[string]any{"data": map[string]string{"record.json": string(data)}})
	if err != nil {
		t.Fatal(err)
	}
	cm := "configmap/" + name + "-slipway"
	if _, _, err := cluster.TryKubectl(t, "", "get", cm, "-n", namespace); err != nil {
		cluster.Kubectl(t, "create", "configmap", name+"-slipway", "-n", namespace)
	}
	cluster.Kubectl(t, "patch", cm, "-n", namespace, "--type=merge", "-p", string(patch))
}

func waitForHolder(t *testing.T, cluster *e2e.KubeCluster, namespace, name, want string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); holderOf(t, cluster, namespace, name) != want; {
		if time.Now().After(deadline) {
			t.Fatalf("%q holds the target, want %q", holderOf(t, cluster, namespace, name), want)
		}
	}
}

func holderOf(t *testing.T, cluster *e2e.KubeCluster, namespace, name string) string {
	t.Helper()
	return cluster.Kubectl(t, "get", "lease", name+"-slipway", "-n", namespace, "--ignore-not-found", "-o", "jsonpath={.spec.holderIdentity}")
}

func renewedAt(t *testing.T, cluster *e2e.KubeCluster, namespace, name string) string {
	t.Helper()
	return cluster.Kubectl(t, "get", "lease", name+"-slipway", "-n", namespace, "-o", "jsonpath={.spec.renewTime}")
}
