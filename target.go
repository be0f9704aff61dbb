package slipway

import (
	"context"
	"net"
	"net/url"
	"strings"
	"time"
)

// TargetRef names where predictions are served.
type TargetRef struct {
	Scheme    string // "local" or "kubernetes"
	Host      string // local: HOST:PORT
	Namespace string // kubernetes
	Name      string // kubernetes: the Deployment
	Query     url.Values
}

// ParseTargetRef parses local://HOST:PORT or kubernetes://NAMESPACE/DEPLOYMENT[?context=…&container=…].
func ParseTargetRef(s string) (TargetRef, error) {
	const op = "reading the target"
	hint := "use local://127.0.0.1:8000 or kubernetes://NAMESPACE/DEPLOYMENT"
	u, err := url.Parse(s)
	if err != nil {
		return TargetRef{}, (&Error{Op: op, Code: Invalid, Message: "not a URL", Err: err}).WithHint("%s", hint)
	}
	switch u.Scheme {
	case "local":
		return parseLocal(s, u)
	case "kubernetes":
		name := strings.Trim(u.Path, "/")
		if u.Host == "" || name == "" || strings.Contains(name, "/") {
			return TargetRef{}, Errorf(Invalid, op, "%q names no Deployment", s).WithHint("%s", hint)
		}
		return TargetRef{Scheme: u.Scheme, Namespace: u.Host, Name: name, Query: u.Query()}, nil
	}
	return TargetRef{}, Errorf(Invalid, op, "%q is no target", s).WithHint("%s", hint)
}

func parseLocal(s string, u *url.URL) (TargetRef, error) {
	host, port, err := net.SplitHostPort(u.Host)
	if err != nil || host == "" || port == "" || (u.Path != "" && u.Path != "/") {
		return TargetRef{}, Errorf(Invalid, "reading the target", "%q names no address", s).
			WithHint("use local://127.0.0.1:8000")
	}
	return TargetRef{Scheme: "local", Host: net.JoinHostPort(host, port), Query: u.Query()}, nil
}

// String returns the reference in the form ParseTargetRef reads.
func (t TargetRef) String() string {
	s := "local://" + t.Host
	if t.Scheme == "kubernetes" {
		s = "kubernetes://" + t.Namespace + "/" + t.Name
	}
	if len(t.Query) > 0 {
		s += "?" + t.Query.Encode()
	}
	return s
}

// Target is a place where predictions are served: one machine, a Deployment.
type Target interface {
	// Observe returns what the target is set to and what its replicas do now.
	// It changes nothing. A target that serves nothing yet gives a zero
	// Desired and no replicas, not an error. Code Unavailable: ask again.
	Observe(ctx context.Context) (Observation, error)

	// Act starts the action and returns as soon as the target has taken it in;
	// Observe shows how it goes on. Repeating an action is harmless. The
	// outcomes: nil; Conflict when the fence is older than one the target has
	// seen; Invalid when the target refuses the release; Unavailable.
	Act(ctx context.Context, a Action) error
}

// ActionKind is what a target, or the driver of a release, is to do.
type ActionKind string

// The actions. Apply and Remove are for targets; the others for the driver.
const (
	Wait   ActionKind = "wait"   // observe again
	Apply  ActionKind = "apply"  // make the target serve Release, replica by replica, only ready ones receiving requests
	Remove ActionKind = "remove" // serve nothing: the way back of a target's first release
	Verify ActionKind = "verify" // probe and ask every replica of Release
	Finish ActionKind = "finish" // the release has ended: record it
	Leave  ActionKind = "leave"  // touch nothing: the target is another run's, or a later step's
)

// Action is one step of a rollout. It carries all the target needs, so that
// any process can repeat it.
type Action struct {
	Kind    ActionKind
	Fence   uint64  // of the lock under which the action was decided
	Release Release // Apply: what to serve: the release itself, or on the way back the previous one
}

// Observation is what a target looks like at one instant.
type Observation struct {
	At       time.Time `json:"at"`
	Desired  Digest    `json:"desired,omitempty"` // the image the target is set to; empty: nothing
	Release  ReleaseID `json:"release,omitempty"` // the release that set it
	Want     int       `json:"want"`              // replicas asked for
	Replicas []Replica `json:"replicas,omitempty"`
	Problem  *Problem  `json:"problem,omitempty"` // of the target itself, not of one replica

	// Startup is how long the target gives a replica to become ready; 0: as
	// long as the release's phase lasts.
	Startup time.Duration `json:"startup,omitempty"`

	// Notes are what others do to the target meanwhile that does not hinder
	// the release but that people should know: "scaled from 3 to 5 by the
	// HorizontalPodAutoscaler". Each is told once.
	Notes []string `json:"notes,omitempty"`
}

// ReplicaState is where a replica is in its life.
type ReplicaState string

// The states of a replica.
const (
	Starting ReplicaState = "starting" // not ready yet
	Ready    ReplicaState = "ready"    // loaded, golden predictions right
	Draining ReplicaState = "draining" // finishing what is in flight
	Failed   ReplicaState = "failed"   // exited or will not become ready; Problem says why
)

// Replica is one process or pod of a target.
type Replica struct {
	Name     string       `json:"name"`
	Release  ReleaseID    `json:"release"`
	Image    Digest       `json:"image"`
	Model    ModelVersion `json:"model"`
	State    ReplicaState `json:"state"`
	Serving  bool         `json:"serving"`           // receives requests from clients
	URL      string       `json:"url,omitempty"`     // where a verifier reaches this replica by itself
	Since    time.Time    `json:"since"`             // when it was started
	Restarts int          `json:"restarts"`          // how often it was started again
	Problem  *Problem     `json:"problem,omitempty"` // why it failed or waits
}

// Problem is why something does not go on, for the state machine (Heals) and
// for people (all else).
type Problem struct {
	Kind     string    `json:"kind"`               // a short name to count and to test by: "golden-differs", "crashed", "never-ready", "port-taken"
	Message  string    `json:"message"`            // one sentence
	Evidence string    `json:"evidence,omitempty"` // the event or log line that shows it, bounded
	Hint     string    `json:"hint,omitempty"`     // the command that mends it
	Heals    bool      `json:"heals,omitempty"`    // may go away by itself until HealBy
	HealBy   time.Time `json:"healBy,omitzero"`
}

// Settled reports whether every replica runs the image, is ready and receives
// requests, their number is the one asked for, and nothing else receives any.
func (o Observation) Settled(image Digest) bool {
	ready := 0
	for _, r := range o.Replicas {
		switch {
		case r.Image == image && r.State == Ready && r.Serving:
			ready++
		case r.Serving:
			return false
		}
	}
	return o.Desired == image && ready > 0 && ready >= o.Want
}
