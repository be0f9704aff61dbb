package oci_test

import (
	"net/http"
	"testing"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/oci"
)

// A probe opens an upload and cancels it; nothing comes of it.
func TestProbeLeavesNothing(t *testing.T) {
	t.Parallel()
	cancelled := &rule{method: http.MethodDelete, part: "/blobs/uploads/", do: answer(http.StatusNoContent, "")}
	f := newFront(t, newRegistry(), cancelled)
	got, err := quick(oci.Config{}).Probe(t.Context(), f.repository())
	if err != nil || !got.Removed || got.Time.IsZero() {
		t.Errorf("%+v, %v, want a probe that was removed, and a time", got, err)
	}
	if n := len(f.requests(http.MethodDelete, "/blobs/uploads/")); n != 1 {
		t.Errorf("%d uploads were cancelled, want 1", n)
	}
	for _, method := range []string{http.MethodPut, http.MethodPatch} {
		if sent := f.requests(method, "/v2/"); len(sent) > 0 {
			t.Errorf("something was stored: %+v", sent)
		}
	}
	tags, err := quick(oci.Config{}).Tags(t.Context(), f.repository())
	if err != nil || len(tags) > 0 {
		t.Errorf("tags %v, %v, want none", tags, err)
	}
}

// An image registry that knows no cancelling forgets an upload by itself.
func TestProbeThatCannotBeCancelled(t *testing.T) {
	t.Parallel()
	for name, status := range map[string]int{"unsupported": http.StatusMethodNotAllowed, "forgotten": http.StatusNotFound} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFront(t, newRegistry(), &rule{method: http.MethodDelete, part: "/uploads/", do: answer(status, "")})
			if got, err := quick(oci.Config{}).Probe(t.Context(), f.repository()); err != nil || got.Removed {
				t.Errorf("%+v, %v, want a probe that was not removed", got, err)
			}
		})
	}
}

// Who may push and not pull is told so; who may not list tags, or would have to
// read a thousand pages of them, need not.
func TestProbeAsksWhetherWeMayPull(t *testing.T) {
	t.Parallel()
	const denied = `{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}`
	tags := &rule{method: http.MethodGet, part: "/tags/list", do: answer(http.StatusForbidden, denied)}
	f := newFront(t, newRegistry(), tags)
	if _, err := quick(oci.Config{}).Probe(t.Context(), f.repository()); err != nil || len(f.requests(http.MethodGet, "/tags/list")) > 0 {
		t.Errorf("%v, want no list of the tags", err)
	}
	f = newFront(t, newRegistry(), &rule{method: http.MethodGet, part: "/manifests/", do: answer(http.StatusForbidden, denied)})
	_, err := quick(oci.Config{}).Probe(t.Context(), f.repository())
	wantCode(t, err, slipway.Unauthorized, "may not do this")
	if n := len(f.requests(http.MethodPost, "/blobs/uploads/")); n > 0 {
		t.Errorf("%d uploads were opened", n)
	}
}

func TestLoginServer(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{"r.azurecr.io": "r.azurecr.io", " https://R.azurecr.io/ ": "r.azurecr.io", "": "", "/": ""} {
		if got := oci.LoginServer(given); got != want {
			t.Errorf("%q: %q, want %q", given, got, want)
		}
	}
}

func TestProbeThatIsRefused(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status int
		body   string
		want   slipway.Code
		says   string
	}{
		"no credentials": {http.StatusUnauthorized, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, slipway.Unauthorized, "wants other credentials"},
		"read only":      {http.StatusForbidden, `{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}`, slipway.Unauthorized, "may not do this"},
		"no repository":  {http.StatusNotFound, `{"errors":[{"code":"NAME_UNKNOWN"}]}`, slipway.NotFound, "does not have it"},
		"not well":       {http.StatusInternalServerError, "", slipway.Unavailable, "has trouble"},
		"no upload":      {http.StatusOK, "<html>", slipway.Invalid, "refuses it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFront(t, newRegistry(), &rule{method: http.MethodPost, part: "/blobs/uploads/", do: answer(tt.status, tt.body)})
			_, err := quick(oci.Config{}).Probe(t.Context(), f.repository())
			wantCode(t, err, tt.want, tt.says)
		})
	}
}

func TestHost(t *testing.T) {
	t.Parallel()
	for repository, want := range map[string]string{
		"myregistry.azurecr.io/models/iris": "myregistry.azurecr.io",
		"127.0.0.1:5000/iris":               "127.0.0.1:5000",
		"team/iris":                         "index.docker.io",
		"HOST/Iris":                         "",
	} {
		if got, err := oci.Host(repository); got != want || (want == "") != (err != nil) {
			t.Errorf("host of %s: %q, %v, want %q", repository, got, err, want)
		}
	}
}
