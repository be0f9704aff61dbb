package serving

import (
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// sampledLog writes every refusal and, so that logging costs nothing under
// load, at most one answered request a second, with how many it stands for.
type sampledLog struct {
	log   *slog.Logger
	last  atomic.Int64 // second of the last line
	since atomic.Int64 // requests answered since
}

func (l *sampledLog) answered(r *http.Request, took time.Duration) {
	n := l.since.Add(1)
	now := time.Now().Unix()
	last := l.last.Load()
	if now == last || !l.last.CompareAndSwap(last, now) {
		return
	}
	l.since.Add(-n)
	l.log.Info("answered", "requests", n, "path", r.URL.Path, "took", took.String(), "request", r.Header.Get("X-Request-Id"))
}

// refused logs a request that was not answered. What the client sent is not
// logged beyond the bounded message it was told.
func (l *sampledLog) refused(r *http.Request, id string, refused *refusal) {
	level := slog.LevelInfo
	if refused.status >= http.StatusInternalServerError {
		level = slog.LevelError
	}
	attrs := []any{"request", id, "method", short(r.Method, 20), "path", short(r.URL.Path, 100), "status", refused.status, "code", refused.code, "message", short(refused.message, 300)}
	if refused.err != nil {
		attrs = append(attrs, "error", refused.err.Error())
	}
	var crash *panicked
	if errors.As(refused.err, &crash) {
		attrs = append(attrs, "stack", crash.stack)
	}
	l.log.Log(r.Context(), level, "refused", attrs...)
}

// requestID is the client's, where it sends a plain one, else a new one.
func requestID(r *http.Request) string {
	id := r.Header.Get("X-Request-Id")
	if id == "" || len(id) > 100 {
		return rand.Text()
	}
	for _, c := range []byte(id) {
		if c <= ' ' || c > '~' {
			return rand.Text()
		}
	}
	return id
}

func stack() string { return short(string(debug.Stack()), 4000) }
