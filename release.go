package slipway

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// ReleaseID names a release: a ULID, so that identifiers sort by time.
type ReleaseID string

const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// NewReleaseID makes an identifier of 26 characters from the time (48 bits of
// milliseconds) and 80 random bits (ULID specification, "Canonical String
// Representation").
func NewReleaseID(t time.Time, random io.Reader) (ReleaseID, error) {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(t.UnixMilli())<<16)
	if _, err := io.ReadFull(random, b[6:]); err != nil {
		return "", fmt.Errorf("making a release identifier: %w", err)
	}
	hi, lo := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	var id [26]byte
	for i := 25; i >= 0; i-- {
		id[i] = crockford[lo&31]
		lo, hi = lo>>5|hi<<59, hi>>5
	}
	return ReleaseID(id[:]), nil
}

// GoldenSource is where the expected answers of the golden predictions come from.
type GoldenSource string

// The golden sources.
const (
	Proved      GoldenSource = "proved"       // the user, or the library that made the model
	SelfChecked GoldenSource = "self-checked" // our own engine, when the image was built
	Unchecked   GoldenSource = "unchecked"    // there are none
)

// Step is one step of a strategy. A rolling update is one step of 100 %.
type Step struct {
	Weight int           `json:"weight"`         // percent of the requests that the new release receives
	Hold   time.Duration `json:"hold,omitempty"` // how long to stay before the next step, nanoseconds
	Checks []string      `json:"checks,omitempty"`
}

// Rolling is the default strategy.
func Rolling() []Step { return []Step{{Weight: 100}} }

// Release is one model version on its way to one target: the unit of work, of
// history and of rollback. It is handed from step to step as release.json and
// kept in the target's journal.
type Release struct {
	SchemaVersion int               `json:"schemaVersion"`
	ID            ReleaseID         `json:"id"`
	Asked         string            `json:"asked"` // the model reference as it was given
	Model         ModelVersion      `json:"model"`
	Environment   string            `json:"environment"`
	Target        string            `json:"target"`
	After         string            `json:"after,omitempty"` // the target that must have verified the version first
	Image         Image             `json:"image,omitzero"`
	Golden        GoldenSource      `json:"golden,omitempty"`
	GoldenBy      string            `json:"goldenBy,omitempty"` // who answered: "scikit-learn 1.5.2", "the file golden.json", "slipway's scikit-learn engine"
	Engine        string            `json:"engine,omitempty"`   // "sklearn"
	Strategy      []Step            `json:"strategy"`
	Replicas      int               `json:"replicas,omitempty"`
	Env           map[string]string `json:"env,omitempty"`           // for the model server; never secrets
	SecretEnv     []string          `json:"secretEnv,omitempty"`     // names only: NAME, or for a cluster NAME=SECRET/KEY
	Requests      Requests          `json:"requests,omitzero"`       // what a replica asks of a cluster
	Startup       time.Duration     `json:"startup,omitempty"`       // how long a replica may take to become ready, nanoseconds; 0: as the target has it
	WholeTemplate bool              `json:"wholeTemplate,omitempty"` // a rollback that also takes back what others changed in the pod template
	Actor         string            `json:"actor"`
	RunURL        string            `json:"runUrl,omitempty"`
	Reason        string            `json:"reason"`             // why it was started: "@champion points at it", "rollback by hand"
	Previous      *Release          `json:"previous,omitempty"` // the verified release it replaces, without its own Previous
	Undoes        ReleaseID         `json:"undoes,omitempty"`   // a rollback by hand: the release it takes back
	Found         Digest            `json:"found,omitempty"`    // what the target was set to before, where that was not Previous
	Fence         uint64            `json:"fence,omitempty"`    // of the lock it was rolled out under
	Phase         Phase             `json:"phase"`
	Deadline      time.Time         `json:"deadline,omitzero"` // of the phase
	Failure       *Failure          `json:"failure,omitempty"`
	BackFailure   *Failure          `json:"backFailure,omitempty"` // why the way back failed
	Verdict       *Verdict          `json:"verdict,omitempty"`
	Spans         []Span            `json:"spans,omitempty"` // how long each step took
	Told          map[string]string `json:"told,omitempty"`  // by channel, where its message of the release is; by CHANNEL/ended, that it knows the end
	Created       time.Time         `json:"created"`
	Ended         time.Time         `json:"ended,omitzero"`
}

// Requests is what a replica asks of a cluster, as Kubernetes writes
// quantities: "250m", "512Mi". An empty one stays as the target has it.
type Requests struct {
	CPU    string `json:"cpu,omitempty"`
	Memory string `json:"memory,omitempty"`
}

// Span is the time one step took.
type Span struct {
	Step     string        `json:"step"` // resolve, validate, build, push, rollout, verify, rollback
	Start    time.Time     `json:"start"`
	Duration time.Duration `json:"duration"` // nanoseconds
	Detail   string        `json:"detail,omitempty"`
}

// Failure is why a release did not become live.
type Failure struct {
	Step    string  `json:"step"`
	Code    Code    `json:"code"`
	Problem Problem `json:"problem"`
}

// Bare returns a copy without its own previous release, as Previous keeps it.
func (r Release) Bare() *Release {
	r.Previous = nil
	return &r
}

// DecodeRelease reads a release of at most limit bytes and refuses one that a
// newer program wrote. The error's code is Invalid.
func DecodeRelease(r io.Reader, limit int64) (Release, error) {
	const op = "reading the release"
	var rel Release
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return rel, &Error{Op: op, Code: Unavailable, Err: err}
	}
	if int64(len(data)) > limit {
		return rel, Errorf(Invalid, op, "larger than %d bytes", limit)
	}
	if err := CheckSchema(data); err != nil {
		return rel, err
	}
	if err := json.Unmarshal(data, &rel); err != nil {
		return rel, &Error{Op: op, Code: Invalid, Message: "not a release", Err: err}
	}
	return rel, nil
}

// CheckSchema refuses the JSON of a Release or Record that a newer program
// wrote, before anything else of it is understood.
func CheckSchema(data []byte) error {
	const op = "reading the release"
	var head struct {
		SchemaVersion int `json:"schemaVersion"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return &Error{Op: op, Code: Invalid, Message: "not JSON", Err: err}
	}
	if head.SchemaVersion > RecordSchema {
		return Errorf(Invalid, op, "written by a newer slipway (schema %d, this one knows %d)", head.SchemaVersion, RecordSchema).
			WithHint("use the newer slipway")
	}
	return nil
}
