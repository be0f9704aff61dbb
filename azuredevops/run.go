package azuredevops

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipway-dev/slipway"
)

const (
	publicServer = "https://dev.azure.com"
	maxAnswer    = 16 << 20 // bytes; the list of a pipeline's runs has up to 10,000 of them
	callLimit    = 20 * time.Second
	maxLooked    = 25     // runs that are asked for their parameters at a time
	maxKnown     = 10_000 // runs whose parameters are known: as many as a list has
)

// Scope is what a token of Microsoft Entra for Azure DevOps is asked for.
const Scope = "499b84ac-1321-427f-aa17-267ca6975798/.default"

// PipelineConfig says which pipeline to run and who we are. Organization,
// Project and ID are required, and PAT or Bearer.
type PipelineConfig struct {
	Organization string
	Project      string
	ID           string                                // a number, in the pipeline's address: definitionId=12
	PAT          string                                // a personal access token with Build: read & execute
	Bearer       func(context.Context) (string, error) // a token of Microsoft Entra, where there is no PAT
	Server       string                                // default https://dev.azure.com
	Transport    http.RoundTripper                     // default: one that honours proxies
}

// Pipeline is one pipeline of Azure Pipelines.
type Pipeline struct {
	config PipelineConfig
	base   string // of the API of its runs
	client *http.Client

	mu    sync.Mutex
	known map[int64]run // with their parameters, which never change
}

var (
	namePattern = regexp.MustCompile(`^[^/\\?#%\x00-\x1f]{1,64}$`)
	idPattern   = regexp.MustCompile(`^[1-9][0-9]{0,9}$`)
)

// NewPipeline returns the pipeline. It sends nothing yet. Code Invalid: the
// names are impossible.
func NewPipeline(c PipelineConfig) (*Pipeline, error) {
	if c.Server == "" {
		c.Server = publicServer
	}
	u, err := url.Parse(c.Server)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" ||
		!namePattern.MatchString(c.Organization) || !namePattern.MatchString(c.Project) || !idPattern.MatchString(c.ID) {
		return nil, slipway.Errorf(slipway.Invalid, "", "%s/%s/%s is no pipeline", c.Organization, c.Project, c.ID).
			WithHint("write azuredevops://ORGANIZATION/PROJECT/PIPELINE_ID; the number is in the pipeline's address, definitionId=12")
	}
	base := strings.TrimRight(c.Server, "/") + "/" + url.PathEscape(c.Organization) + "/" + url.PathEscape(c.Project) + "/_apis/pipelines/" + c.ID + "/runs"
	refuse := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // it would lead to a page to sign in
	return &Pipeline{config: c, base: base, client: &http.Client{Transport: c.Transport, Timeout: callLimit, CheckRedirect: refuse}, known: map[int64]run{}}, nil
}

// run is Azure DevOps' JSON of a run (Pipelines REST API 7.1, "Run").
type run struct {
	ID         int64             `json:"id"`
	Created    time.Time         `json:"createdDate"`
	Parameters map[string]string `json:"templateParameters"`
	Links      struct {
		Web struct {
			Href string `json:"href"`
		} `json:"web"`
	} `json:"_links"`
}

// Run starts a run with the parameters and returns its page (Pipelines REST API
// 7.1, "Runs - Run Pipeline"). The codes: Unauthorized; NotFound; Invalid, it
// knows no such parameters; Unavailable, where it may have been taken all the same.
func (p *Pipeline) Run(ctx context.Context, parameters map[string]string) (page string, err error) {
	var r run
	err = p.call(ctx, "starting "+p.name(), http.MethodPost, "", map[string]any{"templateParameters": parameters}, &r)
	return r.Links.Web.Href, err
}

// Find looks for a run that was started with these parameters since then, and
// returns its page. The list does not have them, so each run is asked for. Code
// Unavailable: also when there are many, of which the next call asks for others.
//
// A run that is but a moment older counts for another's: it may have looked
// what is promoted before that changed.
func (p *Pipeline) Find(ctx context.Context, parameters map[string]string, since time.Time) (page string, found bool, err error) {
	var list struct {
		Runs []run `json:"value"`
	}
	op := "looking for a run of " + p.name()
	if err := p.call(ctx, op, http.MethodGet, "", nil, &list); err != nil {
		return "", false, err
	}
	left := maxLooked
	for _, r := range slices.Backward(list.Runs) { // the newest is first, and ours is among the first since then
		if r.Created.Before(since) {
			continue
		}
		whole, err := p.whole(ctx, op, r.ID, &left)
		if err != nil {
			return "", false, err
		}
		if includes(whole.Parameters, parameters) {
			return whole.Links.Web.Href, true, nil
		}
	}
	return "", false, nil
}

// whole returns a run with its parameters, and asks for it if any calls are left.
func (p *Pipeline) whole(ctx context.Context, op string, id int64, left *int) (r run, err error) {
	p.mu.Lock()
	r, ok := p.known[id]
	p.mu.Unlock()
	switch {
	case ok:
		return r, nil
	case *left == 0:
		return r, slipway.Errorf(slipway.Unavailable, op, "more than %d runs have to be looked at", maxLooked)
	}
	*left--
	if err := p.call(ctx, op, http.MethodGet, fmt.Sprintf("/%d", id), nil, &r); err != nil {
		return r, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.known) >= maxKnown {
		clear(p.known)
	}
	p.known[id] = r
	return r, nil
}

func includes(all, some map[string]string) bool {
	got := map[string]string{}
	for name := range some {
		if value, ok := all[name]; ok {
			got[name] = value
		}
	}
	return maps.Equal(got, some)
}

func (p *Pipeline) name() string {
	return "pipeline " + p.config.ID + " of " + p.config.Organization + "/" + p.config.Project
}

func (p *Pipeline) call(ctx context.Context, op, method, path string, body, out any) error {
	var sent io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return &slipway.Error{Op: op, Code: slipway.Internal, Err: err}
		}
		sent = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, p.base+path+"?api-version=7.1", sent)
	if err != nil {
		return &slipway.Error{Op: op, Code: slipway.Internal, Err: err}
	}
	if err := p.sign(ctx, req); err != nil {
		return err
	}
	res, err := p.client.Do(req)
	if err != nil {
		return unreachable(op, req.URL.Host, err)
	}
	defer res.Body.Close()
	return decode(op, res, out)
}

// sign adds who we are (Microsoft Learn, "Use personal access tokens"), and asks
// for a plain 401 instead of a way to a page to sign in.
func (p *Pipeline) sign(ctx context.Context, req *http.Request) error {
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "slipway")
	req.Header.Set("X-TFS-FedAuthRedirect", "Suppress")
	if p.config.PAT != "" {
		req.SetBasicAuth("", p.config.PAT)
		return nil
	}
	token, err := p.config.Bearer(ctx)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	return nil
}
