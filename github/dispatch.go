package github

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-dev/slipway"
)

// eventType is what deploy-on-model-promotion.yml listens to.
const eventType = "model-promoted"

// Login gives tokens for the API. Drop is told which one GitHub did not accept.
type Login interface {
	Token(context.Context) (string, error)
	Drop(token string)
}

// Token is a token that somebody made: fine-grained, with Contents: write and
// Actions: read on the repository.
type Token string

// Token returns it.
func (t Token) Token(context.Context) (string, error) { return string(t), nil }

// Drop does nothing: there is no other.
func (t Token) Drop(string) {}

// String hides it.
func (t Token) String() string { return "a token" }

// Workflows starts the workflow of a repository.
type Workflows struct {
	rest
	repository string
	login      Login
}

// Dispatch is one call for a release.
type Dispatch struct {
	Model       string `json:"model"` // as it is asked for: models:/iris@champion
	Environment string `json:"environment,omitempty"`
	Version     string `json:"version,omitempty"` // for people: the run looks again what is promoted
	Start       string `json:"start,omitempty"`   // by which the run is found again: the workflow puts it into the run's name
}

var repositoryPattern = regexp.MustCompile(`^[A-Za-z0-9-]{1,39}/[A-Za-z0-9._-]{1,100}$`)

// NewWorkflows returns those of OWNER/REPOSITORY. api is "" for github.com;
// transport is nil for one that honours proxies. Code Invalid: the names are
// impossible.
func NewWorkflows(repository, api string, login Login, transport http.RoundTripper) (*Workflows, error) {
	if err := checkRepository(repository); err != nil {
		return nil, err
	}
	r, err := newREST(api, transport)
	return &Workflows{r, repository, login}, err
}

func checkRepository(s string) error {
	_, name, _ := strings.Cut(s, "/")
	if !repositoryPattern.MatchString(s) || name == "." || name == ".." {
		return slipway.Errorf(slipway.Invalid, "", "%q is no repository", s).WithHint("write github://OWNER/REPOSITORY")
	}
	return nil
}

// Dispatch calls the workflow (GitHub REST API, "Create a repository dispatch
// event"), which answers nothing about the run. The codes: Unauthorized;
// NotFound; Invalid; Unavailable, where it may have been taken all the same.
func (w *Workflows) Dispatch(ctx context.Context, d Dispatch) error {
	body := map[string]any{"event_type": eventType, "client_payload": d}
	return w.ask(ctx, "starting the workflow of "+w.repository, http.MethodPost, "/dispatches", body, nil)
}

// Page is where the runs can be looked at; "" where only the API's address is
// known.
func (w *Workflows) Page() string {
	if w.base != publicAPI {
		return ""
	}
	return "https://github.com/" + w.repository + "/actions"
}

// early is how far a run's time may be before ours: clocks differ.
const early = 2 * time.Minute

const (
	aPage    = 100 // runs; GitHub gives no more at a time
	maxPages = 10  // GitHub lists no more than 1,000 runs of a search
)

// run is GitHub's JSON of a workflow run.
type run struct {
	Title string `json:"display_title"`
	URL   string `json:"html_url"`
}

// Find looks for the run that was called under this start since then. Code
// Exhausted: there are more runs than GitHub lists, and it is not among those.
func (w *Workflows) Find(ctx context.Context, start string, since time.Time) (page string, found bool, err error) {
	for number := 1; number <= maxPages; number++ {
		runs, err := w.runs(ctx, since, number)
		if err != nil {
			return "", false, err
		}
		for _, run := range runs {
			if start != "" && strings.Contains(run.Title, start) {
				return run.URL, true, nil
			}
		}
		if len(runs) < aPage {
			return "", false, nil
		}
	}
	return "", false, slipway.Errorf(slipway.Exhausted, "looking for a run in "+w.repository, "there are more than %d of them", maxPages*aPage).
		WithHint("look for it at %s", cmp.Or(w.Page(), "the repository's Actions"))
}

// runs returns a page of those since then (GitHub REST API, "List workflow runs
// for a repository").
func (w *Workflows) runs(ctx context.Context, since time.Time, page int) ([]run, error) {
	var out struct {
		Runs []run `json:"workflow_runs"`
	}
	query := url.Values{"event": {"repository_dispatch"}, "per_page": {strconv.Itoa(aPage)}, "page": {strconv.Itoa(page)}, "created": {">=" + since.Add(-early).UTC().Format(time.RFC3339)}}
	err := w.ask(ctx, "looking for a run in "+w.repository, http.MethodGet, "/actions/runs?"+query.Encode(), nil, &out)
	return out.Runs, err
}

func (w *Workflows) ask(ctx context.Context, op, method, path string, body, out any) error {
	token, err := w.login.Token(ctx)
	if err != nil {
		return err
	}
	err = w.call(ctx, op, method, "/repos/"+w.repository+path, token, body, out)
	if slipway.CodeOf(err) == slipway.Unauthorized {
		w.login.Drop(token)
	}
	return err
}
