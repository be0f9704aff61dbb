package azuredevops_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/azuredevops"
)

const pat = "pat-secret"

func pipeline(t *testing.T, c azuredevops.PipelineConfig, answer http.HandlerFunc) *azuredevops.Pipeline {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	c.Organization, c.Project, c.ID, c.Server = "ada", "My Models", "12", server.URL
	p, err := azuredevops.NewPipeline(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var iris = map[string]string{"model": "models:/iris@champion", "environment": "production"}

func TestRun(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		config azuredevops.PipelineConfig
		want   string
	}{
		{"with a PAT", azuredevops.PipelineConfig{PAT: pat}, "Basic OnBhdC1zZWNyZXQ="},
		{"with Microsoft Entra", azuredevops.PipelineConfig{Bearer: func(context.Context) (string, error) { return "eyJ", nil }}, "Bearer eyJ"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got map[string]any
			p := pipeline(t, tt.config, func(rw http.ResponseWriter, r *http.Request) {
				if r.Method+" "+r.URL.EscapedPath() != "POST /ada/My%20Models/_apis/pipelines/12/runs" || r.URL.Query().Get("api-version") != "7.1" || r.Header.Get("Authorization") != tt.want {
					t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
				}
				if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
					t.Error(err)
				}
				fmt.Fprint(rw, `{"id": 7, "state": "inProgress", "_links": {"web": {"href": "https://dev.azure.com/ada/_build/results?buildId=7"}}}`)
			})
			page, err := p.Run(t.Context(), iris)
			if err != nil || !strings.HasSuffix(page, "buildId=7") {
				t.Errorf("%q, %v", page, err)
			}
			want := map[string]any{"templateParameters": map[string]any{"model": "models:/iris@champion", "environment": "production"}}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, later string
		status      int
		code        slipway.Code
		wait        time.Duration
	}{
		{"a page to sign in", "", 203, slipway.Unauthorized, 0},
		{"the way to one", "", 302, slipway.Unauthorized, 0},
		{"unknown parameters", "", 400, slipway.Invalid, 0},
		{"bad credentials", "", 401, slipway.Unauthorized, 0},
		{"not allowed", "", 403, slipway.Unauthorized, 0},
		{"no such pipeline", "", 404, slipway.NotFound, 0},
		{"not understood", "", 422, slipway.Invalid, 0},
		{"too many", "45", 429, slipway.Unavailable, 45 * time.Second},
		{"too many, until a date", time.Now().Add(5 * time.Minute).UTC().Format(http.TimeFormat), 429, slipway.Unavailable, 5 * time.Minute},
		{"failed", "", 500, slipway.Unavailable, 0},
		{"away", "10", 503, slipway.Unavailable, 10 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := pipeline(t, azuredevops.PipelineConfig{PAT: pat}, func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Retry-After", tt.later)
				rw.WriteHeader(tt.status)
				fmt.Fprint(rw, `{"message": "TF400\r\n813", "typeKey": "X"}`)
			})
			_, err := p.Run(t.Context(), iris)
			if slipway.CodeOf(err) != tt.code || !strings.Contains(err.Error(), "TF400 813") || strings.Contains(err.Error(), pat) {
				t.Errorf("%s: %v, want %s", slipway.CodeOf(err), err, tt.code)
			}
			var wants interface{ RetryAfter() time.Duration }
			if !errors.As(err, &wants) || wants.RetryAfter() > tt.wait || wants.RetryAfter() < tt.wait/2 {
				t.Errorf("later %v, want %v", wants.RetryAfter(), tt.wait)
			}
		})
	}
}

func TestAbsent(t *testing.T) {
	t.Parallel()
	p, err := azuredevops.NewPipeline(azuredevops.PipelineConfig{Organization: "ada", Project: "p", ID: "12", PAT: pat, Server: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	_, started := p.Run(t.Context(), iris)
	_, _, looked := p.Find(t.Context(), iris, time.Now())
	for _, err := range []error{started, looked} {
		if slipway.CodeOf(err) != slipway.Unavailable || !strings.Contains(slipway.HintOf(err), "127.0.0.1:1") || strings.Contains(err.Error(), "_apis") {
			t.Errorf("%v (%s)", err, slipway.HintOf(err))
		}
	}
}

func TestHanging(t *testing.T) {
	t.Parallel()
	p := pipeline(t, azuredevops.PipelineConfig{PAT: pat}, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := p.Run(ctx, iris); slipway.CodeOf(err) != slipway.Unavailable || strings.Contains(err.Error(), "_apis") {
		t.Errorf("%v", err)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	since := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	p := pipeline(t, azuredevops.PipelineConfig{PAT: pat}, func(rw http.ResponseWriter, r *http.Request) {
		_, id, _ := strings.Cut(r.URL.Path, "/runs")
		switch id {
		case "":
			fmt.Fprint(rw, `{"count": 3, "value": [{"id": 9, "createdDate": "2026-11-26T12:00:05.1234567Z"}, {"id": 8, "createdDate": "2026-11-26T12:00:01Z"}, {"id": 7, "createdDate": "2026-11-26T11:00:00Z"}]}`)
		case "/9":
			fmt.Fprint(rw, `{"id": 9, "templateParameters": {"model": "next", "environment": "production"}}`)
		case "/8":
			fmt.Fprint(rw, `{"id": 8, "templateParameters": {"model": "models:/iris@champion", "environment": "production", "retry": "False"}, "_links": {"web": {"href": "https://x/8"}}}`)
		default:
			t.Errorf("asked for run %s, which is too old", id)
		}
	})
	page, found, err := p.Find(t.Context(), iris, since)
	if err != nil || !found || page != "https://x/8" {
		t.Errorf("%q, %v, %v", page, found, err)
	}
	if _, found, err := p.Find(t.Context(), map[string]string{"model": "models:/wine@champion"}, since); err != nil || found {
		t.Errorf("another: %v, %v", found, err)
	}
	if _, found, err := p.Find(t.Context(), iris, since.Add(3*time.Second)); err != nil || found {
		t.Errorf("one that was there before: %v, %v", found, err)
	}
}

// Of many runs those that came first are looked at first, some at a time, each
// once; none is said to be missing while there are others.
func TestFindAmongMany(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		at, calls int // the run that is looked for, by age; the calls until it is told
		found     bool
	}{{0, 1, true}, {24, 1, true}, {25, 2, true}, {59, 3, true}, {-1, 3, false}} {
		t.Run(fmt.Sprint(tt.at), func(t *testing.T) {
			t.Parallel()
			since, asked := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC), map[string]int{}
			p := pipeline(t, azuredevops.PipelineConfig{PAT: pat}, func(rw http.ResponseWriter, r *http.Request) {
				_, id, _ := strings.Cut(r.URL.Path, "/runs")
				asked[id]++
				if id != "" {
					fmt.Fprintf(rw, `{"templateParameters": {"model": "%s", "environment": "production"}}`, map[bool]string{true: iris["model"]}[id == fmt.Sprintf("/%d", tt.at)])
					return
				}
				list := []string{}
				for i := 59; i >= -5; i-- { // the newest first
					list = append(list, fmt.Sprintf(`{"id": %d, "createdDate": %q}`, i, since.Add(time.Duration(i)*time.Second).Format(time.RFC3339)))
				}
				fmt.Fprintf(rw, `{"value": [%s]}`, strings.Join(list, ","))
			})
			for call := 1; call <= tt.calls; call++ {
				_, found, err := p.Find(t.Context(), iris, since)
				if last := call == tt.calls; found != (last && tt.found) || last != (err == nil) || !last && !slipway.Retryable(err) {
					t.Errorf("call %d: %v, %v", call, found, err)
				}
			}
			delete(asked, "")
			for id, n := range asked {
				if n != 1 {
					t.Errorf("run %s was asked for %d times", id, n)
				}
			}
		})
	}
}

func TestImpossiblePipelines(t *testing.T) {
	t.Parallel()
	for _, c := range []azuredevops.PipelineConfig{
		{Organization: "ada", Project: "p"}, {Organization: "ada", Project: "p", ID: "0"}, {Organization: "ada", Project: "p", ID: "1/2"},
		{Organization: "a/b", Project: "p", ID: "1"}, {Organization: "ada", Project: "", ID: "1"}, {Organization: "ada", Project: "p", ID: "1", Server: "dev.azure.com"},
	} {
		if _, err := azuredevops.NewPipeline(c); slipway.CodeOf(err) != slipway.Invalid || slipway.HintOf(err) == "" {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
