package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	maxConns    = 1000 // more are closed at once
	maxHeader   = 16 << 10
	drainWithin = 5 * time.Second // for what is being answered when the relay is to stop
)

// Serve answers on the listener, and runs, until ctx ends. Then it is not ready,
// finishes what is being handed over and answered, and closes the database. A
// delivery that still comes is stored for the next relay, which looks at once.
func (r *Relay) Serve(ctx context.Context, l net.Listener) error {
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	h := r.httpServer()
	served := make(chan error, 1)
	go func() {
		err := h.Serve(l)
		if !errors.Is(err, http.ErrServerClosed) {
			err = fmt.Errorf("serving: %w", err)
			stop(err) // nothing can be received any more
			served <- err
			return
		}
		served <- nil
	}()
	context.AfterFunc(running, func() { r.draining.Store(true) })
	r.Run(running)
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainWithin)
	defer cancel()
	shut := h.Shutdown(limited)
	if shut != nil {
		shut = h.Close() // whoever is still sending sends it again
	}
	return errors.Join(<-served, shut, r.Close())
}

func (r *Relay) httpServer() *http.Server {
	var open atomic.Int64
	return &http.Server{
		Handler:           r,
		ReadHeaderTimeout: min(5*time.Second, r.body),
		ReadTimeout:       r.body,
		WriteTimeout:      r.body + 10*time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(r.config.Log.Handler(), slog.LevelDebug),
		ConnState: func(c net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				if open.Add(1) > maxConns {
					_ = c.Close() // its client learns as much
				}
			case http.StateClosed, http.StateHijacked:
				open.Add(-1)
			}
		},
	}
}
