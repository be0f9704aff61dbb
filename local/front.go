package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-dev/slipway"
)

// openFront listens on the target's address.
func (s *supervisor) openFront() error {
	listener, err := net.Listen("tcp", s.address)
	if err != nil {
		return s.frontError(err)
	}
	s.front = &http.Server{
		Handler:           s.proxy,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		WriteTimeout:      5 * time.Minute,
		IdleTimeout:       5 * time.Minute,
		MaxHeaderBytes:    256 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	s.door, s.problem = listener, nil
	front := s.front
	s.work.Go(func() {
		err := front.Serve(listener)
		if !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			s.log.Error("the front door closed", "error", err)
		}
	})
	return nil
}

// closeFront takes no new connection and lets those there are finish.
func (s *supervisor) closeFront() {
	front := s.front
	if front == nil {
		return
	}
	s.front = nil
	// At once, so that the address is free when this returns.
	if err := s.door.Close(); err != nil {
		s.log.Warn("closing the front door", "error", err)
	}
	s.work.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), drainLimit)
		defer cancel()
		if err := front.Shutdown(ctx); err != nil && !errors.Is(err, net.ErrClosed) {
			s.log.Warn("closing the front door", "error", errors.Join(err, front.Close()))
		}
	})
}

// openFrontOrRetry opens the front door of a target that is being restored.
// Somebody else may have taken the address meanwhile, and may give it back.
func (s *supervisor) openFrontOrRetry() {
	err := s.openFront()
	if err == nil {
		return
	}
	e := err.(*slipway.Error) //nolint:errorlint // frontError returns nothing else
	s.problem = &slipway.Problem{Kind: "port-taken", Message: e.Message, Hint: e.Hint}
	s.log.Error("opening the front door", "error", err)
	time.AfterFunc(time.Second, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.front == nil && s.desired != nil && !s.closing {
			s.openFrontOrRetry()
		}
	})
}

func (s *supervisor) frontError(err error) *slipway.Error {
	e := &slipway.Error{Op: "opening the local target", Code: slipway.Invalid, Message: "nobody can listen on " + s.address, Err: err}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		e.Message = s.address + " is taken" + by(s.address)
		return e.WithHint("end what listens there, or use another port: --to local://HOST:PORT")
	case errors.Is(err, syscall.EACCES):
		return e.WithHint("ports below 1024 are for root: use a higher one")
	}
	return e.WithHint("use an address of this machine: local://127.0.0.1:8000")
}

// by names who listens on the address, where that can be known.
func by(address string) string {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	pid, name, ok := listenerOn(port)
	if !ok {
		return ""
	}
	return fmt.Sprintf(" by process %d (%s)", pid, printable(name, 60))
}

// keepImages is how many unpacked images stay beside those in use: the way
// back is then a matter of starting processes.
const keepImages = 3

// setImagesAside renames the unpacked images that nobody needs and returns
// where they are now, to be removed. Nobody can ask for one in between.
func (s *supervisor) setImagesAside() []string {
	entries, err := os.ReadDir(s.dir.path("images"))
	if err != nil {
		s.log.Warn("listing images", "error", err)
		return nil
	}
	var aside []string
	var spare []os.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		switch {
		case err != nil:
		case strings.HasPrefix(e.Name(), asidePrefix):
			aside = append(aside, s.dir.path("images", e.Name()))
		case isHex(e.Name()) && !s.needs(e.Name()), time.Since(info.ModTime()) > 24*time.Hour && !isHex(e.Name()):
			spare = append(spare, info)
		}
	}
	slices.SortFunc(spare, func(a, b os.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	kept := 0
	for _, info := range spare {
		if !s.suspects(info.Name()) && kept < keepImages {
			kept++
			continue
		}
		from, to := s.dir.path("images", info.Name()), s.dir.path("images", asidePrefix+info.Name())
		if err := os.Rename(from, to); err != nil {
			s.log.Warn("setting an old image aside", "error", err)
			continue
		}
		aside = append(aside, to)
	}
	s.suspect = nil
	return aside
}

// suspects reports whether replicas of the image failed. It may have been
// damaged on this disk, so it is not kept.
func (s *supervisor) suspects(hex string) bool {
	return slices.Contains(s.suspect, slipway.Digest("sha256:"+hex))
}

const asidePrefix = ".old-"

func isHex(name string) bool {
	_, err := slipway.ParseDigest("sha256:" + name)
	return err == nil
}

func (s *supervisor) needs(hex string) bool {
	for _, t := range []*set{s.desired, s.serving} {
		if t != nil && t.order.Release.Image.Digest == slipway.Digest("sha256:"+hex) {
			return true
		}
	}
	return false
}
