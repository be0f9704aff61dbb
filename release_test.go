package slipway_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/slipway-dev/slipway"
)

func TestNewReleaseIDSortsByTime(t *testing.T) {
	t.Parallel()
	start := time.UnixMilli(1795392790025)
	var last slipway.ReleaseID
	for i := range 100 {
		random := bytes.NewReader(bytes.Repeat([]byte{byte(255 - i)}, 10))
		id, err := slipway.NewReleaseID(start.Add(time.Duration(i)*time.Millisecond), random)
		if err != nil {
			t.Fatal(err)
		}
		if len(id) != 26 || id <= last {
			t.Fatalf("%q follows %q", id, last)
		}
		last = id
	}
}

// 01ARZ3NDEK is the timestamp of the ULID specification's example.
func TestNewReleaseIDIsAULID(t *testing.T) {
	t.Parallel()
	id, err := slipway.NewReleaseID(time.UnixMilli(1469922850259), bytes.NewReader(make([]byte, 10)))
	if err != nil {
		t.Fatal(err)
	}
	if want := slipway.ReleaseID("01ARZ3NDEK0000000000000000"); id != want {
		t.Errorf("got %s, want %s", id, want)
	}
}

func TestDecodeRelease(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 9, 14, 2, 0, time.UTC)
	rel := slipway.Release{
		SchemaVersion: slipway.RecordSchema, ID: "01", Asked: "models:/iris@champion",
		Model: slipway.ModelVersion{Name: "iris", Version: "3"}, Strategy: slipway.Rolling(),
		Phase: slipway.Verified, Created: now, Previous: &slipway.Release{ID: "00", Created: now},
	}
	data, err := json.Marshal(rel)
	if err != nil {
		t.Fatal(err)
	}
	got, err := slipway.DecodeRelease(bytes.NewReader(data), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(rel, got); diff != "" {
		t.Error(diff)
	}
	refused := map[string]string{
		"newer schema": `{"schemaVersion": 2, "phase": {"some": "new shape"}}`,
		"not JSON":     `release`,
		"wrong type":   `{"schemaVersion": 1, "phase": 3}`,
		"too large":    `{"schemaVersion": 1, "asked": "` + strings.Repeat("a", 1<<20) + `"}`,
	}
	for name, in := range refused {
		if _, err := slipway.DecodeRelease(strings.NewReader(in), 1<<20); slipway.CodeOf(err) != slipway.Invalid {
			t.Errorf("%s: got %v, want code invalid", name, err)
		}
	}
}

func TestErrorChain(t *testing.T) {
	t.Parallel()
	cause := errors.New("connection refused")
	inner := (&slipway.Error{Op: "asking MLflow", Code: slipway.Unavailable, Message: "out of reach", Err: cause}).WithHint("start it")
	err := fmt.Errorf("resolving: %w", inner)
	if !slipway.Retryable(err) || slipway.HintOf(err) != "start it" || !errors.Is(err, cause) {
		t.Errorf("code %q, hint %q", slipway.CodeOf(err), slipway.HintOf(err))
	}
	if want := "resolving: asking MLflow: out of reach: connection refused"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	if slipway.CodeOf(nil) != "" || slipway.CodeOf(cause) != slipway.Internal || slipway.HintOf(cause) != "" {
		t.Error("plain errors are internal and have no hint")
	}
}

func TestSettled(t *testing.T) {
	t.Parallel()
	const image, other = slipway.Digest("sha256:new"), slipway.Digest("sha256:old")
	ready := slipway.Replica{Image: image, State: slipway.Ready, Serving: true}
	starting := slipway.Replica{Image: image, State: slipway.Starting}
	old := slipway.Replica{Image: other, State: slipway.Ready, Serving: true}
	draining := slipway.Replica{Image: other, State: slipway.Draining}
	tests := map[string]struct {
		replicas []slipway.Replica
		desired  slipway.Digest
		want     bool
	}{
		"all new":              {[]slipway.Replica{ready, ready}, image, true},
		"old ones drain":       {[]slipway.Replica{ready, ready, draining}, image, true},
		"one is starting":      {[]slipway.Replica{ready, starting}, image, false},
		"an old one serves":    {[]slipway.Replica{ready, ready, old}, image, false},
		"set to another image": {[]slipway.Replica{ready, ready}, other, false},
		"none":                 {nil, image, false},
	}
	for name, tt := range tests {
		o := slipway.Observation{Desired: tt.desired, Want: 2, Replicas: tt.replicas}
		if got := o.Settled(image); got != tt.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
