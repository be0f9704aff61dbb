// Package local is the target of one machine: model servers as processes,
// behind a proxy that routes only to those whose golden predictions came out
// right.
//
// Two sides meet in a folder of the target. Target, the client, runs in the
// command-line tool; the supervisor (Supervise) is a detached process that
// keeps the replicas, is told over a Unix socket what to serve and is started
// again from what it had stored when it is gone. The package pulls no images
// and decides nothing about a release.
//
// The folder, below Config.StateDir and named after the address:
//
//	desired.json       what to serve: stored before anything is done about it
//	control.sock       the supervisor's socket
//	supervisor.lock    held by the supervisor
//	supervisor.log     what it did
//	images/HEX/        unpacked images by digest
//	replicas/NAME/     one running model server: address, log, last words
//	journal/           the target's slipway.Journal
package local

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	"github.com/slipway-dev/slipway"
)

var _ slipway.Target = (*Target)(nil)

// Images unpacks images. Its real implementation is oci.Client.
type Images interface {
	// Unpack puts /model and /slipway of the image for the platform
	// ("linux/amd64") below dir, all or nothing.
	Unpack(ctx context.Context, image slipway.Image, platform, dir string) error
}

// Config is what a Target needs to know. Ref, StateDir, Executable and Images
// are required.
type Config struct {
	Ref        slipway.TargetRef // local://HOST:PORT
	StateDir   string            // absolute; the folders of all local targets of a user
	Executable string            // absolute path of this program: `EXECUTABLE supervise --state DIR` must call Supervise
	Images     Images

	Server       string                   // model server for images of another platform; empty: those are refused
	Replicas     int                      // of a release that does not say how many; default 2
	StartupLimit time.Duration            // for a replica to become ready; default 150 s
	Getenv       func(name string) string // values of a release's SecretEnv; nil: none
}

const (
	defaultReplicas     = 2
	maxReplicas         = 64
	defaultStartupLimit = 150 * time.Second
)

// Target is one machine as a slipway.Target. It is safe for concurrent use.
type Target struct {
	cfg     Config
	dir     folder
	control *http.Client
}

// New returns the target of the configuration. It touches nothing. The
// error's code is Invalid.
func New(cfg Config) (*Target, error) {
	const op = "opening the local target"
	if cfg.Ref.Scheme != "local" || len(cfg.Ref.Query) > 0 {
		return nil, slipway.Errorf(slipway.Invalid, op, "%q is no local target", cfg.Ref).WithHint("use local://127.0.0.1:8000")
	}
	if _, port, err := net.SplitHostPort(cfg.Ref.Host); err != nil || !isPort(port) {
		return nil, slipway.Errorf(slipway.Invalid, op, "%q names no port", cfg.Ref).
			WithHint("use a number between 1 and 65535: local://127.0.0.1:8000")
	}
	switch {
	case !filepath.IsAbs(cfg.StateDir) || !filepath.IsAbs(cfg.Executable) || cfg.Images == nil:
		return nil, slipway.Errorf(slipway.Invalid, op, "StateDir %q and Executable %q must be absolute paths, and Images is required", cfg.StateDir, cfg.Executable)
	case cfg.Replicas < 0 || cfg.Replicas > maxReplicas:
		return nil, slipway.Errorf(slipway.Invalid, op, "%d replicas: use 1 to %d", cfg.Replicas, maxReplicas)
	}
	if cfg.Server != "" {
		server, err := filepath.Abs(cfg.Server) // the supervisor works elsewhere
		if err != nil {
			return nil, &slipway.Error{Op: op, Code: slipway.Invalid, Err: err}
		}
		cfg.Server = server
	}
	if cfg.Replicas == 0 {
		cfg.Replicas = defaultReplicas
	}
	if cfg.StartupLimit == 0 {
		cfg.StartupLimit = defaultStartupLimit
	}
	if cfg.Getenv == nil {
		cfg.Getenv = func(string) string { return "" }
	}
	dir := folderOf(cfg.StateDir, cfg.Ref.Host)
	return &Target{cfg: cfg, dir: dir, control: controlClient(dir)}, nil
}

// Front returns the URL clients use: http://HOST:PORT.
func (t *Target) Front() string { return "http://" + t.cfg.Ref.Host }

// Log returns the file in which the supervisor says what it did.
func (t *Target) Log() string { return t.dir.path("supervisor.log") }

// File returns a file of an image from the target's unpacked copy of it. Code
// NotFound: there is no copy.
func (t *Target) File(image slipway.Digest, path string, limit int64) ([]byte, error) {
	const op = "reading the target's copy of the image"
	if _, err := slipway.ParseDigest(string(image)); err != nil {
		return nil, err
	}
	data, err := readFile(filepath.Join(t.dir.image(image), path), limit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &slipway.Error{Op: op, Code: slipway.NotFound, Err: err}
	}
	if err != nil {
		return nil, fileError(op, path, err)
	}
	return data, nil
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}
