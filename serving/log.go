package serving

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// sampledLog writes every failure of ours and, so that neither load nor a
// hostile client can flood the log, at most one answered request a second,
// with how many it stands for, and ten refused ones.
type sampledLog struct {
	log      *slog.Logger
	answers  sample
	refusals sample
}

// sample lets a bounded number of lines a second through.
type sample struct {
	second atomic.Int64 // of the last line
	lines  atomic.Int64 // written in that second
	unsaid atomic.Int64 // since the last line
}

// next reports whether a line may be written, and how many occurrences it
// stands for.
func (s *sample) next(limit int64) (n int64, ok bool) {
	now := time.Now().Unix()
	if last := s.second.Load(); now != last && s.second.CompareAndSwap(last, now) {
		s.lines.Store(0)
	}
	unsaid := s.unsaid.Add(1)
	if s.lines.Load() >= limit || s.lines.Add(1) > limit {
		return 0, false
	}
	s.unsaid.Add(-unsaid)
	return unsaid, true
}

func (l *sampledLog) answered(r *http.Request, took time.Duration) {
	if n, ok := l.answers.next(1); ok {
		l.log.Info("answered", "requests", n, "path", r.URL.Path, "took", took.String(), "request", r.Header.Get("X-Request-Id"))
	}
}

// refused logs a request that was not answered. What the client sent is not
// logged beyond the bounded message it was told.
func (l *sampledLog) refused(r *http.Request, id string, refused *refusal) {
	level, n := slog.LevelError, int64(1)
	if refused.err == nil {
		var ok bool
		if n, ok = l.refusals.next(10); !ok {
			return
		}
		level = slog.LevelInfo
	}
	attrs := []any{"requests", n, "request", id, "method", short(r.Method, 20), "path", short(r.URL.Path, 100),
		"status", refused.status, "code", refused.code, "message", short(refused.message, 300)}
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
	if !isRequestID(id) {
		id = rand.Text()
		if r.Header == nil {
			r.Header = http.Header{}
		}
		r.Header.Set("X-Request-Id", id) // it keeps it
	}
	return id
}

func isRequestID(id string) bool {
	for _, c := range []byte(id) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return id != "" && len(id) <= 100
}

// requestKey is where a context keeps the request it belongs to.
type requestKey struct{}

// RequestID returns the id of the request that a Predictor answers, "" where
// there is none: the log names it, and so does the reply. To be called by the
// goroutine that called Predict.
func RequestID(ctx context.Context) string {
	if r, ok := ctx.Value(requestKey{}).(*http.Request); ok {
		return requestID(r)
	}
	return ""
}

func stack() string { return short(string(debug.Stack()), 4000) }
