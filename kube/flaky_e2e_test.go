//go:build e2e

package kube_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/rollout"
)

// TestE2EFlakyAPIServer sends releases over a connection on which every fifth
// call goes wrong: refused, hung, cut, or acted on and the answer lost. Each
// release ends as it would have ended without, and leaves all in order.
func TestE2EFlakyAPIServer(t *testing.T) {
	t.Parallel()
	cluster := e2e.Cluster(t)
	makeImages(t)
	for seed := range uint64(2) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			s, sky := newScene(t, cluster), &weather{rng: rand.New(rand.NewPCG(seed, 7))}
			s.target = newTarget(t, cluster, s.namespace, "iris", sky)
			for i, leg := range []struct {
				version int
				want    rollout.Kind
				serves  int
			}{
				{1, rollout.Live, 1},
				{2, rollout.Live, 2},
				{0, rollout.RolledBack, 2}, // does not give its golden predictions
				{1, rollout.Live, 1},
			} {
				sky.clouds(25)
				o := s.deploy(again(makeImages(t)[leg.version], slipway.ReleaseID(fmt.Sprint("01LEG", i))))
				if o.Kind != leg.want {
					t.Errorf("leg %d ended %s: %s", i, o.Kind, o.Message)
				}
				s.wantInOrder(leg.serves)
			}
			t.Logf("%v", sky.met)
			if len(sky.met) < 5 {
				t.Errorf("only %d kinds of faults were met", len(sky.met))
			}
		})
	}
}

// wantInOrder looks, over a connection of its own, that the version serves
// alone, the record says so, and nobody holds the target.
func (s *scene) wantInOrder(version int) {
	s.t.Helper()
	clear := newTarget(s.t, s.cluster, s.namespace, "iris", nil)
	rec, err := clear.Journal().Load(s.t.Context())
	must(s.t, err)
	image := makeImages(s.t)[version].Image.Digest
	if rec.Current != nil || rec.Live == nil || rec.Live.Image.Digest != image {
		s.t.Errorf("the record: current %+v, live %+v", rec.Current, rec.Live)
	}
	o, err := clear.Observe(s.t.Context())
	must(s.t, err)
	if !o.Settled(image) || rec.Live != nil && o.Release != rec.Live.ID {
		s.t.Errorf("the target: %+v", o)
	}
	waitForHolder(s.t, s.cluster, s.namespace, "iris", "")
}

// weather is what calls to the API server go through.
type weather struct {
	mu     sync.Mutex
	rng    *rand.Rand
	left   int // faults to come
	streak int // faults in a row
	met    map[string]int
}

func (w *weather) clouds(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left = n
}

// most is how many calls in a row go wrong: all things pass.
const most = 6

// fate draws what happens to a call; "": nothing.
func (w *weather) fate(req *http.Request) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.left == 0 || w.streak == most || w.rng.IntN(5) > 0 {
		w.streak = 0
		return ""
	}
	kinds := []string{"429", "429 with a time", "500", "503", "cut", "hung", "answer lost", "answered 504 after it was done"}
	if strings.Contains(req.URL.Path, "/proxy/") {
		kinds = []string{"503", "cut", "pod unreachable"}
	}
	kind := kinds[w.rng.IntN(len(kinds))]
	w.left--
	w.streak++
	if w.met == nil {
		w.met = map[string]int{}
	}
	w.met[kind]++
	return kind
}

func (w *weather) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTrip(func(req *http.Request) (*http.Response, error) {
		switch w.fate(req) {
		case "":
			return next.RoundTrip(req)
		case "429":
			return refusal(req, 429, "too many requests", nil), nil
		case "429 with a time":
			return refusal(req, 429, "too many requests", http.Header{"Retry-After": {"1"}}), nil
		case "500":
			return refusal(req, 500, "etcdserver: leader changed", nil), nil
		case "503":
			return refusal(req, 503, "apiserver is shutting down", nil), nil
		case "pod unreachable":
			return refusal(req, 503, "error trying to reach service: dial tcp 10.0.0.9:8000: connect: connection refused", nil), nil
		case "cut":
			return nil, syscall.ECONNRESET
		case "hung":
			return nil, hang(req.Context())
		case "answer lost":
			return nil, errors.Join(done(next, req), io.ErrUnexpectedEOF)
		}
		if err := done(next, req); err != nil {
			return nil, err
		}
		return refusal(req, 504, "Timeout: request did not complete within requested timeout", nil), nil
	})
}

// done has the API server act, and loses the answer.
func done(next http.RoundTripper, req *http.Request) error {
	resp, err := next.RoundTrip(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

func hang(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Second):
		return syscall.ETIMEDOUT
	}
}

func refusal(req *http.Request, code int, message string, header http.Header) *http.Response {
	if header == nil {
		header = http.Header{}
	}
	header.Set("Content-Type", "application/json")
	body := fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","message":%q,"code":%d}`, message, code)
	return &http.Response{
		Status: fmt.Sprint(code, " ", http.StatusText(code)), StatusCode: code, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Body: io.NopCloser(bytes.NewReader([]byte(body))), ContentLength: int64(len(body)), Request: req,
	}
}
