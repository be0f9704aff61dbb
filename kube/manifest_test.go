package kube_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/k8s"
	"github.com/slipway-dev/slipway/kube"
)

// What people keep is what --create makes.
func TestManifestIsWhatCreateMakes(t *testing.T) {
	t.Parallel()
	for _, ref := range []slipway.TargetRef{
		{Namespace: "production", Name: "inference-service"}, {Namespace: "staging", Name: "inference-service"},
		{Namespace: "production", Name: "spam-filter"}, {Namespace: "shop", Name: "slipway"}, {Namespace: "inference-service", Name: "production"},
	} {
		want, err := kube.Renamed(k8s.Production, ref)
		if err != nil {
			t.Fatal(err)
		}
		got, err := kube.Renamed(kube.Manifest(ref), slipway.TargetRef{Namespace: ref.Namespace, Name: "inference-service"})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%+v (-created +written):\n%s", ref, diff)
		}
	}
}

func TestManifestOfOurs(t *testing.T) {
	t.Parallel()
	if got := kube.Manifest(slipway.TargetRef{Namespace: "production", Name: "inference-service"}); !bytes.Equal(got, k8s.Production) {
		t.Errorf("under its own names the manifest changes:\n%s", cmp.Diff(string(k8s.Production), string(got)))
	}
	got := kube.Manifest(slipway.TargetRef{Namespace: "shop", Name: "spam"})
	for _, gone := range []string{"inference-service", "production"} {
		if bytes.Contains(got, []byte(gone)) {
			t.Errorf("%q is left in it:\n%s", gone, got)
		}
	}
}
