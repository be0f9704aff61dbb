package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
)

// What somebody who looks at a Deployment in trouble reads.
func TestStatusOfACluster(t *testing.T) {
	t.Parallel()
	two := slipway.ModelVersion{Name: "iris", Version: "2"}
	live := slipway.Release{ID: "R", Model: two, Image: slipway.Image{Repository: "registry/iris", Digest: "sha256:" + slipway.Digest(strings.Repeat("ab", 32))},
		Golden: slipway.SelfChecked, Actor: "github run 812", Reason: "@champion points at it", Ended: clockAt(0)}
	room := &slipway.Problem{Message: "no node has room for iris-b: 1 Insufficient cpu", Evidence: "0/1 nodes are\n available", Hint: "kubectl describe nodes", Heals: true}
	s := statusResult{
		place:   place{Environment: "production", Target: "kubernetes://production/iris", ref: slipway.TargetRef{Scheme: "kubernetes", Namespace: "production", Name: "iris"}},
		Serving: &live, Since: clockAt(0),
		Observed: slipway.Observation{Desired: live.Image.Digest, Release: "R", Want: 3, Notes: []string{"scaled from 1 to 3 by somebody"}, Replicas: []slipway.Replica{
			{Name: "iris-a", Release: "R", Image: live.Image.Digest, State: slipway.Ready, Serving: true},
			{Name: "iris-b", Release: "R", Image: live.Image.Digest, State: slipway.Starting, Problem: room},
			{Name: "iris-c", Release: "R", Image: live.Image.Digest, State: slipway.Starting, Problem: &slipway.Problem{Message: "no node has room for iris-c: 1 Insufficient cpu"}},
		}},
	}
	var out bytes.Buffer
	s.print(&out, clockAt(30))
	want := `production  kubernetes://production/iris
  serves    iris 2, since today 09:14:00 (30 seconds)
  image     registry/iris@sha256:` + strings.Repeat("ab", 32) + `
  answers   self-checked
  release   R by github run 812, @champion points at it
  replicas  1 of 3 ready
  problem   no node has room for iris-b: 1 Insufficient cpu
            0/1 nodes are available
  fix       kubectl describe nodes
  note      scaled from 1 to 3 by somebody
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The manifest that is applied again leaves the replicas of before; without
// any, nothing serves.
func TestStatusOfADeploymentThatWasSetToSomethingElse(t *testing.T) {
	t.Parallel()
	live := slipway.Release{Model: slipway.ModelVersion{Name: "iris", Version: "2"}, Image: slipway.Image{Digest: "sha256:ab"}}
	s := statusResult{place: place{ref: slipway.TargetRef{Scheme: "kubernetes"}}, Serving: &live}
	if got := s.serves(live, clockAt(0)); got != "nothing: iris 2 was live until the Deployment was deleted or set to something else" {
		t.Errorf("without replicas: %s", got)
	}
	s.Observed.Replicas = []slipway.Replica{{Image: "sha256:ab", State: slipway.Ready, Serving: true}}
	if got := s.serves(live, clockAt(0)); got != "iris 2 still, though the target is set to something else; the next deploy puts it back" {
		t.Errorf("with one: %s", got)
	}
}

// What is advised can be run as it stands.
func TestAdviceNamesWhatItNeeds(t *testing.T) {
	t.Parallel()
	file, err := decodeConfig("slipway.yaml", []byte(inEnvironment(`target: "kubernetes://b/c"`)))
	if err != nil {
		t.Fatal(err)
	}
	inFile, err := choose(modelFlags{}, placeFlags{}, file, none)
	if err != nil {
		t.Fatal(err)
	}
	byFlags, err := choose(modelFlags{Model: "models:/i/1"}, placeFlags{To: "kubernetes://b/c", Image: "r/i"}, &config{}, none)
	if err != nil {
		t.Fatal(err)
	}
	spaced, elsewhere := inFile[0], byFlags[0]
	spaced.ref, spaced.environment = slipway.ModelRef{Name: "it's", Version: "1"}, "a b; c"
	if err := elsewhere.setTarget("kubernetes://b/c?context=d&container=e"); err != nil {
		t.Fatal(err)
	}
	got := []string{inFile[0].again(), inFile[0].explains("R"), byFlags[0].again(), byFlags[0].explains("R"), spaced.again(), elsewhere.explains("R")}
	want := []string{
		"slipway deploy models:/i/1 --environment a", "slipway explain R",
		"slipway deploy models:/i/1 --image r/i --to kubernetes://b/c", "slipway explain R --on kubernetes://b/c",
		`slipway deploy 'models:/it'\''s/1' --environment 'a b; c'`, "slipway explain R --on 'kubernetes://b/c?container=e&context=d'",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
