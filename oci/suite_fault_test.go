package oci_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/oci"
	"github.com/slipway-dev/slipway/pack"
)

// faultCases is what goes wrong on the way. In each, the push succeeds by
// itself or fails with the right code and leaves no tag.
func faultCases() []suiteCase {
	cases := []suiteCase{
		{"an upload resumes where it broke", func(t *testing.T, registry http.Handler) {
			const size, chunk = 1_000_000, 256 << 10
			f := newFront(t, registry, &rule{method: "PATCH", part: "/uploads/", times: 1, skip: 1, do: breakAfter(100_000)})
			files := map[string]string{"weights": noise(t, size)}
			c := quick(oci.Config{Chunk: chunk})
			p := push(t, c, f.repository(), image(t, files))
			for _, r := range f.requests("PATCH", "/uploads/") {
				if first := f.requests("PATCH", "/uploads/")[0]; r.path != first.path {
					t.Errorf("the upload %s goes on as %s: it began again", first.path, r.path)
				}
			}
			if len(f.requests("GET", "/uploads/")) == 0 {
				t.Error("the image registry was not asked how far the upload is")
			}
			wantUnpacked(t, c, p.Image, files)
		}},
		{"an upload that was forgotten begins again", func(t *testing.T, registry http.Handler) {
			f := newFront(t, registry, &rule{method: "PATCH", part: "/uploads/", times: 1, skip: 1, do: answer(404, `{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}`)})
			files := map[string]string{"weights": noise(t, 300_000)}
			c := quick(oci.Config{Chunk: 64 << 10})
			wantUnpacked(t, c, push(t, c, f.repository(), image(t, files)).Image, files)
		}},
		{"a token that expires in the middle", func(t *testing.T, registry http.Handler) {
			g := &guard{next: registry, life: 7}
			f := newFront(t, g)
			files := map[string]string{"weights": noise(t, 600_000)}
			c := quick(oci.Config{Chunk: 64 << 10, Jobs: 1, Keychain: fixed{"user", "secret"}})
			p := push(t, c, f.repository(), image(t, files))
			if g.minted < 3 || g.basic[0] != "user:secret" {
				t.Errorf("minted %d tokens for %q", g.minted, g.basic)
			}
			wantUnpacked(t, c, p.Image, files)
		}},
		{"a proxy that limits the size of requests", func(t *testing.T, registry http.Handler) {
			limit := func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				if r.ContentLength > 1<<20 {
					answer(http.StatusRequestEntityTooLarge, "<html>too large</html>")(w, r, next)
					return
				}
				next.ServeHTTP(w, r)
			}
			f := newFront(t, registry, &rule{method: "PATCH", part: "/uploads/", do: limit}, &rule{method: "PUT", part: "/uploads/", do: limit})
			push(t, quick(oci.Config{}), f.repository(), image(t, map[string]string{"weights": noise(t, 3<<20)}))
		}},
		{"it waits as long as it is asked to", func(t *testing.T, registry http.Handler) {
			f := newFront(t, registry, &rule{method: "POST", part: "/uploads/", times: 1, do: answer(429, "", "Retry-After", "1")})
			start := time.Now()
			push(t, quick(oci.Config{Jobs: 1}), f.repository(), image(t, map[string]string{"MLmodel": "x"}))
			if took := time.Since(start); took < time.Second {
				t.Errorf("took %s", took)
			}
		}},
		{"it does not wait for an hour", func(t *testing.T, registry http.Handler) {
			f := newFront(t, registry, &rule{method: "POST", part: "/uploads/", do: answer(429, "", "Retry-After", "3600")})
			_, err := quick(oci.Config{}).Push(t.Context(), f.repository(), image(t, map[string]string{"MLmodel": "x"}), nil, nil)
			wantCode(t, err, slipway.Unavailable, "it asks to wait 3600 s")
		}},
		{"a registry that stands still", func(t *testing.T, registry http.Handler) {
			hang := func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
				drain(r)
				<-r.Context().Done()
			}
			f := newFront(t, registry, &rule{method: "PUT", part: "/uploads/", do: hang})
			_, err := quick(oci.Config{Stall: 50 * time.Millisecond, Attempts: 2}).Push(t.Context(), f.repository(), image(t, map[string]string{"MLmodel": "x"}), nil, nil)
			wantCode(t, err, slipway.Unavailable, "nothing moved for 50ms")
		}},
		{"no credentials", func(t *testing.T, registry http.Handler) {
			f := newFront(t, &needsBasic{registry})
			_, err := quick(oci.Config{}).Push(t.Context(), f.repository(), image(t, map[string]string{"MLmodel": "x"}), nil, nil)
			wantCode(t, err, slipway.Unauthorized, "wants other credentials")
			if !strings.Contains(slipway.HintOf(err), "docker login "+f.host) {
				t.Errorf("hint %q", slipway.HintOf(err))
			}
		}},
		{"a push that is given up", func(t *testing.T, registry http.Handler) {
			ctx, cancel := context.WithCancel(t.Context())
			stop := func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
				drain(r)
				cancel()
				<-r.Context().Done()
			}
			f := newFront(t, registry, &rule{method: "PUT", part: "/uploads/", do: stop})
			_, err := quick(oci.Config{}).Push(ctx, f.repository(), image(t, map[string]string{"MLmodel": "x"}), []string{"3"}, nil)
			if err == nil || ctx.Err() == nil {
				t.Fatalf("got %v", err)
			}
		}},
		{"a location on another host gets no credentials", func(t *testing.T, registry http.Handler) {
			other := newFront(t, registry)
			away := change(func(rec *httptest.ResponseRecorder) {
				if _, path, ok := strings.Cut(rec.Header().Get("Location"), "/v2/"); ok {
					rec.Header().Set("Location", "http://"+other.host+"/v2/"+path)
				}
			})
			f := newFront(t, &needsBasic{registry}, &rule{method: "POST", part: "/uploads/", do: away})
			push(t, quick(oci.Config{Keychain: fixed{"user", "secret"}}), f.repository(), image(t, map[string]string{"MLmodel": "x"}))
			strangers := other.requests("PUT", "/uploads/")
			if len(strangers) == 0 {
				t.Fatal("nothing went to the other host")
			}
			for _, r := range strangers {
				if r.authorization != "" {
					t.Errorf("the other host was given %q", r.authorization)
				}
			}
		}},
	}
	cases = append(cases, strangerCases...)
	for _, c := range []struct{ what, method, part string }{
		{"looking", "HEAD", "/blobs/"}, {"beginning", "POST", "/uploads/"}, {"sending", "PATCH", "/uploads/"},
		{"ending", "PUT", "/uploads/"}, {"publishing", "PUT", "/manifests/"}, {"reading back", "GET", "/manifests/"},
	} {
		cases = append(cases, suiteCase{"a 503 while " + c.what, func(t *testing.T, registry http.Handler) {
			f := newFront(t, registry, &rule{method: c.method, part: c.part, times: 2, do: answer(503, "<html>\nbusy</html>")})
			files := map[string]string{"weights": noise(t, 200_000)}
			client := quick(oci.Config{Chunk: 64 << 10})
			wantUnpacked(t, client, push(t, client, f.repository(), image(t, files)).Image, files)
		}})
	}
	for _, c := range []struct {
		what string
		rule rule
		code slipway.Code
		says string
	}{
		{"no chunks", rule{method: "PATCH", part: "/uploads/", do: answer(405, "")}, "", ""},
		{"read-only", rule{method: "POST", part: "/uploads/", do: answer(405, `{"errors":[{"code":"UNSUPPORTED","message":"m"}]}`)}, slipway.Unauthorized, "read-only"},
		{"denied", rule{method: "POST", part: "/uploads/", do: answer(403, `{"errors":[{"code":"DENIED","message":"no"}]}`)}, slipway.Unauthorized, "may not"},
		{"always 500", rule{method: "PUT", part: "/uploads/", do: answer(500, "<html>\nboom</html>")}, slipway.Unavailable, "500"},
		{"a lie when a blob is stored", rule{method: "PUT", part: "/uploads/", do: setHeader("Docker-Content-Digest", "sha256:1234")}, slipway.Corrupt, "sha256:1234"},
	} {
		cases = append(cases, suiteCase{c.what, func(t *testing.T, registry http.Handler) {
			rule := c.rule
			f := newFront(t, registry, &rule)
			_, err := quick(oci.Config{Chunk: 64 << 10}).Push(t.Context(), f.repository(), image(t, map[string]string{"w": noise(t, 200_000)}), []string{"3"}, nil)
			if c.code == "" && err == nil {
				return
			}
			wantCode(t, err, c.code, c.says)
			tags, err := quick(oci.Config{}).Tags(t.Context(), newFront(t, registry).host+"/"+strings.SplitN(f.repository(), "/", 2)[1])
			if err != nil || len(tags) != 0 {
				t.Errorf("tags %v, %v: a failed push must leave none", tags, err)
			}
		}})
	}
	return cases
}

// needsBasic asks for Basic credentials.
type needsBasic struct{ next http.Handler }

func (n *needsBasic) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, _, ok := r.BasicAuth(); !ok {
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	n.next.ServeHTTP(w, r)
}

// fixed is a keychain of one account.
type fixed struct{ user, password string }

func (k fixed) Resolve(authn.Resource) (authn.Authenticator, error) {
	return &authn.Basic{Username: k.user, Password: k.password}, nil
}

// strangerCases is about other hosts and image registries that lack something.
var strangerCases = []suiteCase{
	{"a download from another host gets no credentials", func(t *testing.T, registry http.Handler) {
		other := newFront(t, registry)
		f := newFront(t, &needsBasic{registry})
		files := map[string]string{"MLmodel": "x"}
		c := quick(oci.Config{Keychain: fixed{"user", "secret"}})
		p := push(t, c, f.repository(), image(t, files))
		f.add(&rule{method: "GET", part: "/blobs/", do: func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			http.Redirect(w, r, "http://"+other.host+r.URL.Path, http.StatusTemporaryRedirect)
		}})
		wantUnpacked(t, c, p.Image, files)
		strangers := other.requests("GET", "/blobs/")
		if len(strangers) == 0 {
			t.Fatal("nothing came from the other host")
		}
		for _, r := range strangers {
			if r.authorization != "" {
				t.Errorf("the other host was given %q", r.authorization)
			}
		}
	}},
	{"an image registry that takes no referrers", func(t *testing.T, registry http.Handler) {
		f := newFront(t, registry, &rule{method: "PUT", part: "/manifests/", skip: 1, times: 1, do: answer(400, `{"errors":[{"code":"MANIFEST_INVALID"}]}`)})
		p, err := quick(oci.Config{}).Push(t.Context(), f.repository(), image(t, map[string]string{"MLmodel": "x"}), nil, nil)
		if err != nil || p.ReferrerProblem == nil || p.Referrer != "" {
			t.Errorf("%+v, %v", p, err)
		}
	}},
	{"an image registry that mounts nothing", func(t *testing.T, registry http.Handler) {
		f := newFront(t, registry)
		c := quick(oci.Config{})
		base, err := random.Image(1000, 1)
		if err != nil {
			t.Fatal(err)
		}
		push(t, c, f.repository()+"-base", withPlatform(t, base), "1")
		pulled, err := c.Base(t.Context(), f.repository()+"-base:1", "linux/amd64")
		if err != nil {
			t.Fatal(err)
		}
		asked := 0
		f.add(&rule{method: "HEAD", part: "/blobs/", times: 5, do: answer(404, "")},
			&rule{method: "POST", part: "/uploads/", do: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				if r.URL.Query().Get("mount") != "" {
					asked++ // one layer: one request
					answer(403, "")(w, r, next)
					return
				}
				next.ServeHTTP(w, r)
			}})
		p := push(t, c, f.repository(), image(t, map[string]string{"MLmodel": "x"}, func(c *pack.Config) { c.Base = pulled }))
		if p.UploadedLayers != 4 || asked != 1 {
			t.Errorf("uploaded %d layers, want 4; asked to mount %d times, want once", p.UploadedLayers, asked)
		}
	}},
	{"the manifest comes last", func(t *testing.T, registry http.Handler) {
		f := newFront(t, registry, &rule{method: "PUT", part: "/uploads/", do: answer(400, "")})
		_, err := quick(oci.Config{}).Push(t.Context(), f.repository(), image(t, map[string]string{"MLmodel": "x"}), []string{"3"}, nil)
		wantCode(t, err, slipway.Invalid, "400")
		if n := len(f.requests("PUT", "/manifests/")); n != 0 {
			t.Errorf("%d manifests were stored though blobs were refused", n)
		}
	}},
}
