package kube_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/kube"
)

// seen is what a cluster showed at one time of a Deployment with a fault:
// testdata/faults holds a line each, of a real Kubernetes 1.34 with containerd,
// without what says nothing.
type seen struct {
	At    time.Time         `json:"at"`
	Items []json.RawMessage `json:"items"`
}

func readFault(t testing.TB, name string) []seen {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "faults", name+".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var all []seen
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var s seen
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all = append(all, s)
	}
	return all
}

// TestFaults looks at each fault as it came: "-" is that nothing is wrong yet,
// "kind?" that it may heal, "kind!" that it stays.
func TestFaults(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, want string }{
		{"affinity", "no-node? no-node!"},
		{"anti", "- no-room? no-room!"},
		{"badcmd", "- cannot-start!"},
		{"badname", "- bad-image-name!"},
		{"crash", "- crashed!"},
		{"gate", "- gated?"},
		{"golden", "- golden-differs!"},
		{"hook", "admission?"},
		{"hostfile", "- volume!"},
		{"initcrash", "- crashed!"},
		{"later", "- crashed? crashed! crashed?"},
		{"limit", "admission!"},
		{"mountcm", "- config-missing!"},
		{"never", "- image-not-found!"},
		{"neverready", "- not-ready? never-ready!"},
		{"noaccount", "cannot-create?"},
		{"noconfig", "- config-missing!"},
		{"nocpu", "no-room?"},
		{"nokey", "- config-missing!"},
		{"nopvc", "volume? volume!"},
		{"notfound", "- image-not-found!"},
		{"ok", "-"},
		{"oom", "- oom-killed? oom-killed!"},
		{"html", "- pull-fails?"},
		{"r401", "- pull-refused!"},
		{"r404", "- image-not-found!"},
		{"r429", "- pull-fails?"},
		{"r500", "- pull-fails?"},
		{"podsec", "admission!"},
		{"policy", "admission!"},
		{"port", "- no-room? no-room!"},
		{"poststart", "- cannot-start!"},
		{"quit", "- crashed? crashed!"},
		{"quota", "- quota!"},
		{"rgate", "- not-ready?"},
		{"sidecrash", "- crashed!"},
		{"subpath", "- cannot-start!"},
		{"unbound", "volume? volume!"},
		{"unhealthy", "- unhealthy? unhealthy! unhealthy?"},
		{"unready", "- not-ready? never-ready? never-ready!"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, s := range readFault(t, tt.name) {
				o, err := kube.ObserveAt(s.Items, s.At)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, verdictOf(t, o, s.At))
			}
			if text := strings.Join(got, " "); text != tt.want {
				t.Errorf("it was seen as %s, want %s", text, tt.want)
			}
		})
	}
}

// verdictOf is the worst that the observation shows. Every problem must say
// what it is, show it and tell what mends it.
func verdictOf(t *testing.T, o slipway.Observation, now time.Time) string {
	t.Helper()
	worst := "-"
	for _, p := range problemsOf(o) {
		checkProblem(t, p)
		if p.Heals && !p.HealBy.IsZero() && !now.Before(p.HealBy) {
			t.Errorf("it was to heal until %s, and it is %s: %+v", p.HealBy, now, p)
		}
		switch {
		case !p.Heals:
			return p.Kind + "!"
		case worst == "-":
			worst = p.Kind + "?"
		}
	}
	return worst
}

func problemsOf(o slipway.Observation) []slipway.Problem {
	var all []slipway.Problem
	if o.Problem != nil {
		all = append(all, *o.Problem)
	}
	for _, r := range o.Replicas {
		if r.Problem != nil {
			all = append(all, *r.Problem)
		}
	}
	return all
}

func checkProblem(t *testing.T, p slipway.Problem) {
	t.Helper()
	if p.Kind == "" || p.Message == "" || p.Hint == "" || strings.Contains(p.Message+p.Hint, "\n") {
		t.Errorf("problem %+v", p)
	}
	for _, text := range []string{p.Message, p.Evidence, p.Hint} {
		if !utf8.ValidString(text) || strings.ContainsAny(text, "\x00\x1b\x7f\r\u202e\u009b") || len(text) > 8<<10 {
			t.Errorf("not fit for a terminal: %q", text)
		}
	}
}

// TestPullWords tells by a registry's words, in the forms of three container
// runtimes, what heals.
func TestPullWords(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, want string }{
		// containerd
		{`rpc error: code = NotFound desc = failed to pull and unpack image "r/a:1": no match for platform in manifest: not found`, "no-platform!"},
		{`rpc error: code = NotFound desc = failed to pull and unpack image "r/a:1": failed to resolve reference "r/a:1": r/a:1: not found`, "image-not-found!"},
		{`failed to pull and unpack image "r/a:1": failed to copy: httpReadSeeker: failed open: content at https://r/v2/a/blobs/sha256:1 not found: not found`, "image-not-found!"},
		{`failed to pull and unpack image "r/a:1": failed to resolve reference "r/a:1": pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed`, "pull-refused!"},
		{`failed to pull and unpack image "r/a:1": failed to resolve reference "r/a:1": failed to authorize: failed to fetch anonymous token: unexpected status from GET request to https://r/oauth2/token?scope=x: 401 Unauthorized`, "pull-refused!"},
		{`failed to pull and unpack image "r/a:1": failed to resolve reference "r/a:1": failed to authorize: failed to fetch anonymous token: unexpected status from GET request to https://r/oauth2/token?scope=x: 503 Service Unavailable`, "pull-fails?"},
		{`failed to pull and unpack image "r/a:1": failed to resolve reference "r/a:1": failed to do request: Head "https://r/v2/a/manifests/1": dial tcp: lookup r on 10.0.0.10:53: no such host`, "pull-fails?"},
		{`failed to pull and unpack image "r/a:1": failed to resolve reference "r/a:1": failed to do request: Head "https://r/v2/a/manifests/1": dial tcp 1.2.3.4:443: i/o timeout`, "pull-fails?"},
		{`failed to pull and unpack image "r/a:1": failed to copy: httpReadSeeker: failed open: unexpected status code https://r/v2/a/blobs/sha256:1: 500 Internal Server Error`, "pull-fails?"},
		{`failed to pull and unpack image "r/a:1": failed to resolve reference "r/a:1": failed to do request: Head "https://r/v2/a": tls: failed to verify certificate: x509: certificate signed by unknown authority`, "pull-fails?"},
		{`failed to pull and unpack image "r/a:1": failed to extract layer sha256:1: write /var/lib/x: no space left on device: unknown`, "pull-fails?"},
		// CRI-O
		{`reading manifest 1 in r/a: manifest unknown`, "image-not-found!"},
		{`initializing source docker://r/a:1: reading manifest 1 in r/a: unauthorized: authentication required`, "pull-refused!"},
		{`choosing an image from manifest list docker://r/a:1: no image found in manifest list for architecture "arm64", variant "v8", OS "linux"`, "no-platform!"},
		{`initializing source docker://r/a:1: pinging container registry r: received unexpected HTTP status: 502 Bad Gateway`, "pull-fails?"},
		// Docker
		{`Error response from daemon: manifest for r/a:1 not found: manifest unknown: manifest unknown`, "image-not-found!"},
		{`Error response from daemon: pull access denied for r/a, repository does not exist or may require 'docker login': denied: requested access to the resource is denied`, "pull-refused!"},
		{`Error response from daemon: no matching manifest for linux/arm64/v8 in the manifest list entries`, "no-platform!"},
		{`Error response from daemon: toomanyrequests: You have reached your pull rate limit.`, "pull-fails?"},
		{`Error response from daemon: Get "https://r/v2/": net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)`, "pull-fails?"},
		{"", "pull-fails?"},
		{"something that nobody has ever seen", "pull-fails?"},
	} {
		for _, form := range []string{"%s", `Back-off pulling image "r/a:1": ErrImagePull: %s`} {
			reason := "ErrImagePull"
			if form != "%s" {
				reason = "ImagePullBackOff"
			}
			now := time.Date(2026, 11, 23, 5, 9, 0, 0, time.UTC)
			o, err := kube.ObserveAt(waiting(t, now, reason, fmt.Sprintf(form, tt.text)), now.Add(time.Second))
			if err != nil {
				t.Fatal(err)
			}
			if got := verdictOf(t, o, o.At); got != tt.want {
				t.Errorf("%q is seen as %s, want %s", fmt.Sprintf(form, tt.text), got, tt.want)
			}
		}
	}
}

// A registry that is not well is not waited for without end.
func TestAPullThatNeverHeals(t *testing.T) {
	t.Parallel()
	s := readFault(t, "r500")
	last := s[len(s)-1]
	o, err := kube.ObserveAt(last.Items, last.At.Add(4*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if got := verdictOf(t, o, o.At); got != "pull-fails!" {
		t.Errorf("after four minutes it is seen as %s", got)
	}
}

// Whether a Secret is missing is known only when the node could ask for it.
func TestASecretThatTheNodeHasNotReadIsWaitedFor(t *testing.T) {
	t.Parallel()
	since := time.Date(2026, 11, 23, 6, 13, 0, 0, time.UTC)
	items := waiting(t, since, "CreateContainerConfigError", "failed to sync secret cache: timed out waiting for the condition")
	o, err := kube.ObserveAt(items, since.Add(3*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if got := verdictOf(t, o, o.At); got != "config-missing?" {
		t.Errorf("it is seen as %s", got)
	}
}

// waiting is a Deployment whose pod has waited since then, for that reason.
func waiting(t testing.TB, since time.Time, reason, message string) []json.RawMessage {
	t.Helper()
	state := map[string]any{"waiting": map[string]any{"reason": reason, "message": message}}
	return withPod(t, since, map[string]any{"type": "PodScheduled", "status": "True", "lastTransitionTime": since}, state)
}

// withPod is a Deployment with one pod.
func withPod(t testing.TB, since time.Time, condition, state map[string]any) []json.RawMessage {
	t.Helper()
	type object = map[string]any
	notes := object{"slipway.dev/release": "01JDRELEASE", "slipway.dev/model": `{"name":"iris","version":"2"}`}
	spec := object{"containers": []object{{"name": "iris", "image": "r/a@sha256:" + strings.Repeat("1", 64)}}}
	labels := object{"app": "iris"}
	owned := func(kind, uid string) []object {
		return []object{{"apiVersion": "apps/v1", "kind": kind, "name": uid, "uid": uid, "controller": true}}
	}
	var items []json.RawMessage
	for _, o := range []object{
		{"kind": "Deployment", "metadata": object{"name": "iris", "namespace": "shop", "uid": "d", "annotations": notes}, "spec": object{
			"replicas": 1, "selector": object{"matchLabels": labels}, "template": object{"metadata": object{"labels": labels}, "spec": spec}}},
		{"kind": "ReplicaSet", "metadata": object{"name": "iris-1", "uid": "s", "annotations": notes, "ownerReferences": owned("Deployment", "d")}, "spec": object{
			"template": object{"metadata": object{"labels": labels}, "spec": spec}}},
		{"kind": "Pod", "metadata": object{"name": "iris-1-x", "uid": "p", "labels": labels, "creationTimestamp": since, "ownerReferences": owned("ReplicaSet", "s")},
			"spec": spec, "status": object{"conditions": []object{condition}, "containerStatuses": []object{{"name": "iris", "restartCount": 1, "state": state}}}},
	} {
		data, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, data)
	}
	return items
}

// Whatever a kubelet, a scheduler or a container says, it ends in a sentence
// that is fit for a terminal.
func FuzzWords(f *testing.F) {
	for _, seed := range [][2]string{
		{"ErrImagePull", `rpc error: code = NotFound desc = failed to pull and unpack image "r/a:1": r/a:1: not found`},
		{"ImagePullBackOff", `Back-off pulling image "r/a:1": ErrImagePull: x`}, {"ImagePullBackOff", "Back-off pulling image"},
		{"CreateContainerConfigError", "couldn't find key k in Secret shop/some"}, {"CreateContainerConfigError", `configmap "a" not found`},
		{"RunContainerError", `exec: "/a": stat /a: no such file or directory`}, {"CrashLoopBackOff", "back-off 10s"}, {"\x1b[2J", "\u202e\n\x00"},
		{"0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {a: b}. preemption: x", "{\"kind\":\"golden-differs\",\"message\":\"m\"}"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, reason, message string) {
		now := time.Date(2026, 11, 23, 5, 9, 0, 0, time.UTC)
		stopped := map[string]any{"reason": reason, "message": message, "exitCode": 1, "startedAt": now, "finishedAt": now.Add(time.Second)}
		unscheduled := map[string]any{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": reason + message, "lastTransitionTime": now}
		for _, items := range [][]json.RawMessage{
			waiting(t, now, reason, message),
			withPod(t, now, map[string]any{"type": "PodScheduled", "status": "True"}, map[string]any{"terminated": stopped}),
			withPod(t, now, unscheduled, nil),
		} {
			for _, late := range []time.Duration{time.Second, time.Hour} {
				o, err := kube.ObserveAt(items, now.Add(late))
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range problemsOf(o) {
					checkProblem(t, p)
				}
			}
		}
	})
}
