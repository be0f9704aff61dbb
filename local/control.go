package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/local/proxy"
)

// The protocol on the socket: JSON over HTTP/1.1. A change that an older side
// would misread gets a new prefix.
const (
	observePath = "/v1/observe" // GET → status
	actPath     = "/v1/act"     // POST command → {}
	stopPath    = "/v1/stop"    // POST → {}; the supervisor ends once everything has drained
)

// command is an action as the supervisor is told it.
type command struct {
	Kind    slipway.ActionKind `json:"kind"`
	Fence   uint64             `json:"fence"`
	Order   *order             `json:"order,omitempty"`   // Apply
	Secrets map[string]string  `json:"secrets,omitempty"` // values of SecretEnv; never stored
}

// order is a release and how this machine runs it.
type order struct {
	Release      slipway.Release `json:"release"`
	Server       string          `json:"server,omitempty"` // path of the model server; empty: the image's own
	Want         int             `json:"want"`             // replicas
	StartupLimit time.Duration   `json:"startupLimit"`     // nanoseconds
}

// status is what the supervisor says of itself.
type status struct {
	Observation slipway.Observation `json:"observation"`
	Stats       proxy.Stats         `json:"stats"`
	PID         int                 `json:"pid"`
}

// refusal is an error on the socket, with the HTTP status 422.
type refusal struct {
	Op      string       `json:"op"`
	Code    slipway.Code `json:"code"`
	Message string       `json:"message"`
	Hint    string       `json:"hint,omitempty"`
}

func refusalOf(err error) refusal {
	var e *slipway.Error
	if !errors.As(err, &e) {
		return refusal{Code: slipway.Internal, Message: err.Error()}
	}
	bare := *e
	bare.Op = ""
	return refusal{Op: e.Op, Code: e.Code, Message: bare.Error(), Hint: slipway.HintOf(err)}
}

func (r refusal) err() error {
	return &slipway.Error{Op: r.Op, Code: r.Code, Message: r.Message, Hint: r.Hint}
}

// errNobody says that no supervisor answers on the socket; errEnding that one
// does, but takes nothing in any more (HTTP status 503).
var (
	errNobody = errors.New("no supervisor answers")
	errEnding = errors.New("the supervisor is ending")
)

// controlClient returns a client whose every request goes to the folder's
// supervisor. Connections are not kept: a supervisor that ends must not be
// asked again by mistake.
func controlClient(dir folder) *http.Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		path, done, err := socketPath(dir)
		if err != nil {
			return nil, err
		}
		defer done()
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
}

// exchange asks the supervisor once. It gives errNobody when none answers.
func (t *Target) exchange(ctx context.Context, method, path string, in, out any) error {
	const op = "asking the local supervisor"
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	body, err := json.Marshal(in)
	if err != nil {
		return &slipway.Error{Op: op, Code: slipway.Internal, Err: err}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://supervisor"+path, bytes.NewReader(body))
	if err != nil {
		return &slipway.Error{Op: op, Code: slipway.Internal, Err: err}
	}
	resp, err := t.control.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return &slipway.Error{Op: op, Code: slipway.Unavailable, Err: context.Cause(ctx)}
		}
		return fmt.Errorf("%w: %w", errNobody, err)
	}
	defer resp.Body.Close()
	return t.decode(resp, out)
}

func (t *Target) decode(resp *http.Response, out any) error {
	const op = "asking the local supervisor"
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxStateSize))
	if err != nil {
		return fmt.Errorf("%w: %w", errNobody, err)
	}
	if resp.StatusCode == http.StatusUnprocessableEntity {
		var r refusal
		if err := json.Unmarshal(data, &r); err != nil {
			return &slipway.Error{Op: op, Code: slipway.Internal, Err: err}
		}
		return r.err()
	}
	if resp.StatusCode == http.StatusServiceUnavailable {
		return fmt.Errorf("%w: %w", errNobody, errEnding)
	}
	if resp.StatusCode != http.StatusOK {
		return slipway.Errorf(slipway.Invalid, op, "it answers %s: another slipway started it", resp.Status).
			WithHint("end it with that slipway's `slipway stop %s`", t.cfg.Ref)
	}
	if err := json.Unmarshal(data, out); err != nil {
		return &slipway.Error{Op: op, Code: slipway.Internal, Err: err}
	}
	return nil
}
