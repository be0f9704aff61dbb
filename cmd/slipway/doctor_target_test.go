package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/azure"
	"github.com/slipway-dev/slipway/kube"
	"github.com/slipway-dev/slipway/oci"
)

// fakeCluster is a cluster.
type fakeCluster struct {
	rights   []kube.Right
	prepared kube.Prepared
	pulls    kube.Pulls
	host     string // the only one that was pulled from; "": any
	err      error
}

func (f fakeCluster) Reach(context.Context) (kube.Reached, error)     { return kube.Reached{}, f.err }
func (f fakeCluster) Rights(context.Context) ([]kube.Right, error)    { return f.rights, f.err }
func (f fakeCluster) Role() string                                    { return "slipway-spam" }
func (f fakeCluster) Prepared(context.Context) (kube.Prepared, error) { return f.prepared, f.err }
func (f fakeCluster) Pulls(_ context.Context, host string) (kube.Pulls, error) {
	if f.host != "" && f.host != host {
		return kube.Pulls{}, f.err
	}
	return f.pulls, f.err
}

func TestDoctorRights(t *testing.T) {
	t.Parallel()
	lacks := slipway.Errorf(slipway.Unauthorized, "", "missing").WithHint("kubectl create rolebinding")
	all := []kube.Right{{Name: "get pods"}, {Name: "list pods"}}
	for i := range 6 {
		all = append(all, kube.Right{Name: fmt.Sprintf("patch thing%d", i), Missing: lacks})
	}
	if f := rights(t.Context(), fakeCluster{rights: all[:2]}, settings{}); f.Mark != works || !strings.Contains(f.Found, "all 2 of the Role slipway-spam") {
		t.Errorf("all: %+v", f)
	}
	f := rights(t.Context(), fakeCluster{rights: all}, settings{})
	if want := "may not patch thing0, patch thing1, patch thing2, patch thing3, and 2 rights more"; f.Mark != fails || f.Found != want || len(f.Missing) != 6 || f.Fix != lacks.Hint {
		t.Errorf("some: %+v, want %q", f, want)
	}
	if f := rights(t.Context(), fakeCluster{err: lacks}, settings{}); f.Mark != fails || f.Fix != lacks.Hint {
		t.Errorf("not even asking: %+v", f)
	}
}

func TestDoctorPulling(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		image string
		pulls kube.Pulls
		want  standing
		says  string
	}{
		"a pod runs one":     {"r.example/iris", kube.Pulls{Proof: "pod-1"}, works, "pod-1 runs an image from r.example"},
		"a pod may not":      {"r.example/iris", kube.Pulls{Proof: "pod-1", Problem: &slipway.Problem{Message: "pod-2: may not be pulled", Evidence: "401", Hint: "give it"}}, fails, "pod-2: may not"},
		"before the first":   {"r.example/iris", kube.Pulls{}, skipped, "not known before the first release"},
		"with a pull secret": {"r.example/iris", kube.Pulls{Secrets: []string{"regcred"}}, skipped, "regcred"},
		"from Docker Hub":    {"team/iris", kube.Pulls{Proof: "pod-1"}, works, "pod-1 runs an image from index.docker.io"},
		"no image":           {"", kube.Pulls{}, skipped, "no image is named"},
		"no image's name":    {"HOST/Iris", kube.Pulls{}, fails, "no repository"},
	} {
		host, _ := oci.Host(tt.image)
		if f := pulling(t.Context(), fakeCluster{pulls: tt.pulls, host: host}, settings{image: tt.image}); f.Mark != tt.want || !strings.Contains(f.Found, tt.says) {
			t.Errorf("%s: %+v, want %s: %q", name, f, tt.want, tt.says)
		}
	}
}

// Azure's variables do not name the cluster of a context.
func TestDoctorOfAnUnnamedCluster(t *testing.T) {
	t.Parallel()
	err := slipway.Errorf(slipway.Invalid, "reading the kubeconfig", "there is none").WithHint("set KUBECONFIG")
	for target, azure := range map[string]bool{"kubernetes://a/b": true, "kubernetes://a/b?context=c": false} {
		var s settings
		if err := s.setTarget(target); err != nil {
			t.Fatal(err)
		}
		if f := unnamed(s, err); f.Mark != fails || !strings.HasPrefix(f.Fix, "set KUBECONFIG") || strings.Contains(f.Fix, "AKS_CLUSTER_NAME") != azure {
			t.Errorf("%s: %+v", target, f)
		}
	}
}

type fakeCloud struct {
	err   error
	login azure.Login
}

func (f fakeCloud) Cluster(context.Context, azure.ClusterRef) (azure.Cluster, error) {
	return azure.Cluster{}, f.err
}
func (f fakeCloud) Login(context.Context, string) (azure.Login, error) { return f.login, f.err }

func TestDoctorAzure(t *testing.T) {
	t.Parallel()
	refused := slipway.Errorf(slipway.Unauthorized, "signing in", "the role is missing").WithHint("az role assignment create")
	if f := azureCluster(t.Context(), fakeCloud{}, azure.ClusterRef{Name: "c"}); f.Mark != works {
		t.Errorf("%+v", f)
	}
	if f := azureCluster(t.Context(), fakeCloud{err: refused}, azure.ClusterRef{Name: "c"}); f.Mark != fails || f.Fix != refused.Hint {
		t.Errorf("%+v", f)
	}
	if f := azureLogIn(t.Context(), fakeCloud{err: refused}, "r.azurecr.io"); f.Mark != noted || f.Fix != refused.Hint {
		t.Errorf("%+v", f)
	}
	for login, want := range map[azure.Login]standing{{}: skipped, {Username: "ada", Password: "x"}: works} {
		if f := azureLogIn(t.Context(), fakeCloud{login: login}, "r.azurecr.io"); f.Mark != want {
			t.Errorf("%+v, want %s", f, want)
		}
	}
}

func TestDoctorClock(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		shows []time.Duration
		want  []string // check and what it says
	}{
		"nobody tells":        {nil, []string{"not known"}},
		"all agree":           {[]time.Duration{0, -2 * time.Second, 30 * time.Second}, []string{"within a minute of server 0, server 1, server 2"}},
		"ours is slow":        {[]time.Duration{5 * time.Minute, 5*time.Minute + time.Second}, []string{"this machine: 5 minutes behind server 0, server 1"}},
		"ours is fast":        {[]time.Duration{-5 * time.Minute, -5 * time.Minute}, []string{"this machine: 5 minutes ahead of server 0, server 1"}},
		"one server's":        {[]time.Duration{0, -time.Hour}, []string{"server 1: 1 hour behind this machine"}},
		"a server's or ours":  {[]time.Duration{2 * time.Hour}, []string{"server 0: 2 hours ahead of this machine"}},
		"all, and differing":  {[]time.Duration{2 * time.Hour, -time.Hour}, []string{"server 0: 2 hours ahead of", "server 1: 1 hour behind"}},
		"exactly the limit":   {[]time.Duration{time.Minute, -time.Minute}, []string{"within a minute"}},
		"one that tells none": {[]time.Duration{time.Duration(-1 << 62)}, []string{"not known"}},
	} {
		d := &doctor{p: &program{story: &story{now: func() time.Time { return now }}}}
		for i, ahead := range tt.shows {
			at := now.Add(ahead)
			if ahead < -1<<61 {
				at = time.Time{}
			}
			d.read(fmt.Sprint("server ", i), at)
			d.read(fmt.Sprint("server ", i), at) // by another release
		}
		var got []string
		for _, f := range d.clock() {
			got = append(got, strings.TrimPrefix(f.Subject+": "+f.Found, ": "))
			if failing := !strings.Contains(f.Found, "within") && !strings.Contains(f.Found, "not known"); failing != (f.Mark == fails) || failing != (f.Fix != "") {
				t.Errorf("%s: %+v", name, f)
			}
		}
		if !slices.EqualFunc(got, tt.want, strings.HasPrefix) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}
