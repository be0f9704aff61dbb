package local

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/slipway-dev/slipway"
)

// idleLimit is how long a supervisor without anything to serve waits for work.
const idleLimit = 5 * time.Second

// Supervise keeps the target of the folder until ctx ends, Stop is called or
// there has been nothing to serve for a while. It takes up what desired.json
// says. Where another supervisor does so already, it returns nil at once.
func Supervise(ctx context.Context, stateDir string, getenv func(string) string) error {
	dir := folder(stateDir)
	address, err := dir.address()
	if err != nil {
		return &slipway.Error{Op: "supervising " + stateDir, Code: slipway.Invalid, Err: err}
	}
	if err := dir.make(); err != nil {
		return err
	}
	held, err := tryFlock(dir.path("supervisor.lock"))
	if errors.Is(err, errHeld) {
		return nil
	}
	if err != nil {
		return fileError("supervising "+address, dir.path("supervisor.lock"), err)
	}
	defer held.Close()
	logFile, err := openRotating(dir.path("supervisor.log"))
	if err != nil {
		return fileError("supervising "+address, dir.path("supervisor.log"), err)
	}
	defer func() { _ = logFile.Close() }() // there is no log to say it in
	log := slog.New(slog.NewJSONHandler(logFile, nil)).With("pid", os.Getpid())
	return supervise(ctx, newSupervisor(dir, address, getenv, log))
}

func supervise(ctx context.Context, s *supervisor) error {
	if err := s.clearOrphans(); err != nil {
		return err
	}
	if err := s.restore(); err != nil {
		return err
	}
	socket, err := listenControl(s.dir)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           controlHandler(s),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(socket) }()
	s.log.Info("started", "address", s.address)
	select {
	case <-ctx.Done():
	case <-s.ended:
	case err = <-served:
	}
	s.log.Info("ending")
	s.end()
	// The rescue of requests in flight must not end with ctx.
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(err, server.Shutdown(closing))
}

// peerListener lets only this user's connections in.
type peerListener struct{ net.Listener }

func listenControl(dir folder) (net.Listener, error) {
	const op = "opening the control socket"
	if err := os.Remove(dir.path("control.sock")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fileError(op, dir.path("control.sock"), err)
	}
	path, done, err := socketPath(dir)
	if err != nil {
		return nil, &slipway.Error{Op: op, Code: slipway.Invalid, Err: err}
	}
	defer done()
	socket, err := net.Listen("unix", path)
	if err != nil {
		return nil, fileError(op, dir.path("control.sock"), err)
	}
	// The path goes through a descriptor that is about to be closed.
	socket.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := os.Chmod(dir.path("control.sock"), 0o600); err != nil {
		return nil, errors.Join(fileError(op, dir.path("control.sock"), err), socket.Close())
	}
	return peerListener{socket}, nil
}

func (l peerListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil || checkPeer(c) == nil {
			return c, err
		}
		_ = c.Close()
	}
}

// controlHandler answers the socket.
func controlHandler(s *supervisor) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+observePath, func(w http.ResponseWriter, _ *http.Request) {
		reply(w, s.status(), nil)
	})
	mux.HandleFunc("POST "+actPath, func(w http.ResponseWriter, r *http.Request) {
		var c command
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxStateSize)).Decode(&c)
		if err != nil {
			err = &slipway.Error{Op: "reading a command", Code: slipway.Invalid, Err: err}
		} else {
			err = s.act(c)
		}
		reply(w, struct{}{}, err)
	})
	mux.HandleFunc("POST "+stopPath, func(w http.ResponseWriter, _ *http.Request) {
		reply(w, struct{}{}, s.stop())
	})
	return mux
}

func reply(w http.ResponseWriter, value any, err error) {
	w.Header().Set("Content-Type", "application/json")
	switch {
	case errors.Is(err, errEnding):
		w.WriteHeader(http.StatusServiceUnavailable)
	case err != nil:
		w.WriteHeader(http.StatusUnprocessableEntity)
		value = refusalOf(err)
	}
	// A client that is gone asks again; nothing is lost.
	_ = json.NewEncoder(w).Encode(value)
}

// rotating is a log file of bounded size: path, and path.old before it.
type rotating struct {
	path string
	file *os.File
	size int64
}

// maxLog bounds each of the two files of a log, in bytes.
const maxLog = 4 << 20

func openRotating(path string) (*rotating, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &rotating{path: path, file: file, size: size}, nil
}

func (r *rotating) Write(p []byte) (int, error) {
	if r.size > maxLog {
		if err := r.rotate(); err != nil {
			return 0, err
		}
	}
	n, err := r.file.Write(p)
	r.size += int64(n)
	return n, err
}

func (r *rotating) rotate() error {
	if err := os.Rename(r.path, r.path+".old"); err != nil {
		return err
	}
	next, err := os.OpenFile(r.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	err = r.file.Close()
	r.file, r.size = next, 0
	return err
}

func (r *rotating) Close() error { return r.file.Close() }
