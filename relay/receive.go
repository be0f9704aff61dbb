package relay

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/slipway-dev/slipway"
)

const (
	maxBody    = 1 << 20  // bytes of a delivery; MLflow's largest, a tag, is well below
	smallBody  = 32 << 10 // bytes that each may send; what is larger takes turns
	maxLarge   = 8
	retryAfter = "10" // seconds; MLflow honours it, three times
)

// ServeHTTP answers webhooks (POST), the probes, Prometheus, and people.
func (r *Relay) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	switch route := req.Method + " " + req.URL.Path; route {
	case "POST /", "POST /webhook":
		r.receive(w, req)
	case "GET /health", "HEAD /health":
		reply(w, http.StatusOK, "ok")
	case "GET /ready", "HEAD /ready":
		r.answerReady(w, req)
	case "GET /metrics":
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_, _ = io.WriteString(w, r.metrics()) // a scraper that is gone needs no answer
	case "GET /", "HEAD /":
		r.page(w)
	case "GET /webhook":
		w.Header().Set("Allow", "POST")
		reply(w, http.StatusMethodNotAllowed, "MLflow posts webhooks here")
	default:
		reply(w, http.StatusNotFound, "there are /webhook, /health, /ready, /metrics and /")
	}
}

func reply(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n") // a client that is gone needs no answer
}

func (r *Relay) answerReady(w http.ResponseWriter, req *http.Request) {
	switch {
	case r.draining.Load():
		reply(w, http.StatusServiceUnavailable, "draining")
	case !r.store.healthy(req.Context()):
		reply(w, http.StatusServiceUnavailable, "nothing can be stored")
	default:
		reply(w, http.StatusOK, "ready")
	}
}

// receive answers one delivery. A 2xx says that it is stored, or needs no
// storing; a 503 has MLflow send it again.
func (r *Relay) receive(w http.ResponseWriter, req *http.Request) {
	result, err := r.take(w, req)
	if err != nil {
		r.refuse(w, req, err)
		return
	}
	r.stats.deliveries.add(result)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{"result": result}) // it is stored, whether MLflow hears of it or not
}

// take checks the delivery, stores it and has the keepers look.
func (r *Relay) take(w http.ResponseWriter, req *http.Request) (result string, err error) {
	now := time.Now()
	if err := r.checkHeaders(req.Header, now); err != nil {
		return "", err
	}
	body, err := r.read(w, req)
	if err != nil {
		return "", err
	}
	if err := r.checkSignature(req.Header, body); err != nil {
		return "", err
	}
	event, err := ParseEvent(body)
	if err != nil {
		return "", err
	}
	d := delivery{ID: req.Header.Get(deliveryHeader), Received: now, Event: event, Result: "ignored"}
	if all := r.concerned(event); len(all) > 0 {
		fresh, err := r.store.addDelivery(req.Context(), d)
		if err != nil {
			return "", err
		}
		d.Result = "duplicate"
		if fresh {
			d.Result = "accepted"
			for _, k := range all {
				k.hint()
			}
		}
	}
	r.seen.add(d)
	return d.Result, nil
}

// read reads the body. Larger ones are read a few at a time, so that many of
// them together do not fill the memory.
func (r *Relay) read(w http.ResponseWriter, req *http.Request) ([]byte, error) {
	if req.ContentLength > maxBody {
		return nil, tooLarge()
	}
	var body bytes.Buffer
	src := http.MaxBytesReader(w, req.Body, maxBody)
	n, err := io.Copy(&body, io.LimitReader(src, smallBody))
	if err == nil && n == smallBody {
		select {
		case r.large <- struct{}{}:
			defer func() { <-r.large }()
		default:
			return nil, slipway.Errorf(slipway.Unavailable, "receiving a webhook", "too many large ones at once")
		}
		_, err = io.Copy(&body, src)
	}
	var limit *http.MaxBytesError
	switch {
	case errors.As(err, &limit):
		return nil, tooLarge()
	case err != nil:
		return nil, &slipway.Error{Op: "receiving a webhook", Code: slipway.Invalid, Message: "its body ends too early", Err: err}
	}
	return body.Bytes(), nil
}

func tooLarge() error {
	return slipway.Errorf(slipway.Exhausted, "receiving a webhook", "it is larger than %d bytes", maxBody)
}

// refuse answers an error. Only Unavailable is worth MLflow's asking again.
func (r *Relay) refuse(w http.ResponseWriter, req *http.Request, err error) {
	status, result := http.StatusBadRequest, "refused"
	switch slipway.CodeOf(err) {
	case slipway.Unauthorized:
		status = http.StatusUnauthorized
	case slipway.Exhausted:
		status = http.StatusRequestEntityTooLarge
	case slipway.Invalid:
	default:
		status, result = http.StatusServiceUnavailable, "unavailable"
		w.Header().Set("Retry-After", retryAfter)
	}
	r.stats.deliveries.add(result)
	r.config.Log.Warn("webhook refused", "status", status, "from", req.RemoteAddr, "error", err.Error(), "fix", slipway.HintOf(err))
	text := "the delivery is refused: " + http.StatusText(status)
	if status == http.StatusServiceUnavailable {
		text = "cannot be stored now, send it again"
	}
	reply(w, status, text)
}
