package mlflow

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/slipway-dev/slipway"
)

const (
	firstPause = 200 * time.Millisecond // before the first repetition; doubles
	maxPause   = 30 * time.Second       // the longest Retry-After that is waited for
)

// repeat calls f until it succeeds, fails for good, or has been repeated often
// enough. With once, only what the server certainly did not take in is sent again.
func (c *Client) repeat(ctx context.Context, once bool, f func() error) error {
	for n := 0; ; n++ {
		err := f()
		if err == nil || ctx.Err() != nil || n >= c.config.Retries || !worthRepeating(err, once) {
			return err
		}
		wait := pause(err, n)
		if wait > maxPause {
			return tooLong(err, wait)
		}
		if !sleep(ctx, wait) {
			return err
		}
	}
}

func worthRepeating(err error, once bool) bool {
	if !slipway.Retryable(err) {
		return false
	}
	var r *reply
	if errors.As(err, &r) {
		return !once || r.status == http.StatusTooManyRequests || r.status == http.StatusServiceUnavailable
	}
	var op *net.OpError
	return !once || (errors.As(err, &op) && op.Op == "dial")
}

// pause is what the server asked for, else doubling with jitter so that many
// clients do not come back together.
func pause(err error, n int) time.Duration {
	var r *reply
	if errors.As(err, &r) && r.retryAfter > 0 {
		return r.retryAfter
	}
	d := min(firstPause<<min(n, 10), maxPause/2)
	return d/2 + rand.N(d)
}

func tooLong(err error, wait time.Duration) error {
	var e *slipway.Error
	if !errors.As(err, &e) {
		return err
	}
	return e.WithHint("the server asks to come back in %s; run the command again then", wait.Round(time.Second))
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// parseRetryAfter reads the header's two forms, seconds and a date (RFC 9110,
// 10.2.3). Zero: absent, malformed or past.
func parseRetryAfter(s string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(s); err == nil {
		return time.Duration(min(max(seconds, 0), 1<<30)) * time.Second
	}
	if at, err := http.ParseTime(s); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}
