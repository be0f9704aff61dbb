package slipwaytest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/slipwaytest"
)

// What a memory target shows of two replicas at instants after Apply.
func TestBehaviours(t *testing.T) {
	t.Parallel()
	type seen struct {
		States  [2]slipway.ReplicaState
		Serving [2]bool
		Problem string
	}
	starting := seen{States: [2]slipway.ReplicaState{slipway.Starting, slipway.Starting}}
	serving := seen{States: [2]slipway.ReplicaState{slipway.Ready, slipway.Ready}, Serving: [2]bool{true, true}}
	tests := []struct {
		name      string
		behaviour slipwaytest.Behaviour
		want      map[time.Duration]seen
	}{
		{"good", slipwaytest.Behaviour{}, map[time.Duration]seen{0: serving, time.Hour: serving}},
		{"slow", slipwaytest.Behaviour{ReadyAfter: time.Second}, map[time.Duration]seen{0: starting, time.Second: serving}},
		{"never ready", slipwaytest.Behaviour{Never: true}, map[time.Duration]seen{0: starting, time.Hour: starting}},
		{"golden differs", slipwaytest.GoldenDiffers(), map[time.Duration]seen{
			0: {States: [2]slipway.ReplicaState{slipway.Failed, slipway.Failed}, Problem: "golden-differs"},
		}},
		{"partial", slipwaytest.Behaviour{Never: true, From: 1}, map[time.Duration]seen{
			time.Hour: {States: [2]slipway.ReplicaState{slipway.Ready, slipway.Starting}},
		}},
		{"crashes", slipwaytest.Behaviour{ReadyAfter: time.Second, CrashAfter: time.Second, From: 1}, map[time.Duration]seen{
			time.Second:     serving,
			2 * time.Second: {States: [2]slipway.ReplicaState{slipway.Ready, slipway.Failed}, Serving: [2]bool{true, false}, Problem: "crashed"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for after, want := range tt.want {
				synctest.Test(t, func(t *testing.T) {
					m := slipwaytest.NewMemoryTarget(2)
					m.Behave(release(1).Image.Digest, tt.behaviour)
					if err := m.Act(t.Context(), slipway.Action{Kind: slipway.Apply, Fence: 1, Release: release(1)}); err != nil {
						t.Fatal(err)
					}
					for end := time.Now().Add(after); time.Now().Before(end); <-time.After(time.Second / 2) {
						if _, err := m.Observe(t.Context()); err != nil { // it goes on when looked at
							t.Fatal(err)
						}
					}
					o, err := m.Observe(t.Context())
					if err != nil || len(o.Replicas) != 2 {
						t.Fatalf("%+v (%v)", o, err)
					}
					var got seen
					for i, r := range o.Replicas {
						got.States[i], got.Serving[i] = r.State, r.Serving
						if r.Problem != nil {
							got.Problem = r.Problem.Kind
						}
					}
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("after %s (-want +got):\n%s", after, diff)
					}
				})
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := slipwaytest.NewMemoryTarget(2)
		act := slipway.Action{Kind: slipway.Remove, Fence: 1}
		m.UnreachableFor(time.Minute)
		for range 2 {
			if _, err := m.Observe(t.Context()); !slipway.Retryable(err) {
				t.Errorf("Observe gave %v", err)
			}
			if err := m.Act(t.Context(), act); !slipway.Retryable(err) {
				t.Errorf("Act gave %v", err)
			}
		}
		<-time.After(time.Minute)
		m.FailNext(1)
		if err := m.Act(t.Context(), act); !slipway.Retryable(err) {
			t.Errorf("Act gave %v", err)
		}
		if err := m.Act(t.Context(), act); err != nil {
			t.Error(err)
		}
		if got := len(m.Acts()); got != 1 {
			t.Errorf("%d actions were taken in, want 1", got)
		}
		if m.Observed() != 0 {
			t.Errorf("looked at %d times", m.Observed())
		}
	})
}

func TestRefused(t *testing.T) {
	t.Parallel()
	m := slipwaytest.NewMemoryTarget(2)
	m.Behave(release(1).Image.Digest, slipwaytest.Behaviour{Refused: "the disk is full"})
	err := m.Act(t.Context(), slipway.Action{Kind: slipway.Apply, Fence: 1, Release: release(1)})
	if slipway.CodeOf(err) != slipway.Invalid {
		t.Errorf("Act gave %v", err)
	}
}
