package notify

import (
	"context"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"

	"github.com/slipway-dev/slipway"
)

// GitHubConfig is a repository on GitHub.
type GitHubConfig struct {
	Token      string // with the right deployments: write
	Repository string // "OWNER/NAME"
	Ref        string // the commit or branch that deployments are of
	API        string // "https://api.github.com" by default
}

// GitHub makes a release a deployment of the repository, with its status
// (GitHub REST API 2022-11-28, "Deployments" and "Deployment statuses").
type GitHub struct{ config GitHubConfig }

const tellingGitHub = "telling github"

var repositoryPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}/[A-Za-z0-9._-]{1,100}$`)

// NewGitHub checks the settings. Code Invalid.
func NewGitHub(c GitHubConfig) (*GitHub, error) {
	if c.API == "" {
		c.API = "https://api.github.com"
	}
	const op = "reading the settings of github"
	switch {
	case c.Token == "":
		return nil, slipway.Errorf(slipway.Invalid, op, "there is no token").WithHint("set GITHUB_TOKEN; in a workflow: ${{ github.token }}, with permissions: deployments: write")
	case !repositoryPattern.MatchString(c.Repository) || strings.Contains(c.Repository, ".."):
		return nil, slipway.Errorf(slipway.Invalid, op, "there is no repository").WithHint("set GITHUB_REPOSITORY to OWNER/NAME")
	case c.Ref == "":
		return nil, slipway.Errorf(slipway.Invalid, op, "there is no commit that is deployed").WithHint("set GITHUB_SHA to a commit or branch of the repository")
	}
	api, err := parseAddress("GITHUB_API_URL", c.API)
	if err != nil {
		return nil, err
	}
	c.API = api.String()
	return &GitHub{config: c}, nil
}

// Name is part of Notifier.
func (g *GitHub) Name() string { return "github" }

// Tell is part of Notifier. The mark is the deployment's number.
func (g *GitHub) Tell(ctx context.Context, m Message, mark string) (string, error) {
	if _, err := strconv.ParseUint(mark, 10, 63); err != nil || mark == "" {
		if mark, err = g.create(ctx, m); err != nil {
			return "", err
		}
	}
	return mark, g.status(ctx, m, mark)
}

// deployment is the body of "Create a deployment". It waits for no check and
// merges nothing: what is deployed is a model, not the commit.
type deployment struct {
	Ref         string            `json:"ref"`
	Environment string            `json:"environment"`
	Description string            `json:"description"`
	AutoMerge   bool              `json:"auto_merge"`
	Contexts    []string          `json:"required_contexts"`
	Transient   bool              `json:"transient_environment"`
	Production  bool              `json:"production_environment"`
	Payload     map[string]string `json:"payload"`
}

type deploymentStatus struct {
	State          string `json:"state"`
	Description    string `json:"description"`
	Environment    string `json:"environment"`
	EnvironmentURL string `json:"environment_url,omitempty"`
	LogURL         string `json:"log_url,omitempty"`
	AutoInactive   bool   `json:"auto_inactive"`
}

// descriptionLimit is what GitHub takes, in characters.
const descriptionLimit = 140

func newDeployment(m Message, ref string) deployment {
	r := m.Release
	return deployment{
		Ref: ref, Environment: deployedTo(m), Description: line(m.Title, descriptionLimit), Contexts: []string{},
		Transient: m.Kind == Test, Production: deployedTo(m) == "production",
		Payload: map[string]string{
			"release": string(r.ID), "model": line(string(r.Model.Name), titleLimit), "version": string(r.Model.Version), "image": string(r.Image.Digest),
		},
	}
}

func newDeploymentStatus(m Message) deploymentStatus {
	s := deploymentStatus{
		State: deploymentState(m.Kind), Description: line(m.Title, descriptionLimit), Environment: deployedTo(m),
		LogURL: link(m.Release.RunURL), AutoInactive: m.Kind == Live,
	}
	if m.Kind == Live {
		s.EnvironmentURL = link(m.URL)
	}
	return s
}

// deployedTo is the environment's name. A test has one of its own.
func deployedTo(m Message) string {
	if m.Kind == Test {
		return "slipway-test"
	}
	return environmentID(m.Release)
}

func deploymentState(k Kind) string {
	switch k {
	case Begun:
		return "in_progress"
	case Live:
		return "success"
	case Superseded, Test:
		return "inactive"
	case NeedsPerson, Unfinished:
		return "error"
	}
	return "failure"
}

func (g *GitHub) create(ctx context.Context, m Message) (string, error) {
	a, err := g.post(ctx, "/deployments", newDeployment(m, g.config.Ref))
	if err != nil {
		return "", err
	}
	var made struct {
		ID uint64 `json:"id"`
	}
	if err := json.Unmarshal(a.body, &made); err != nil || made.ID == 0 {
		return "", slipway.Errorf(slipway.Invalid, tellingGitHub, "its answer names no deployment").WithHint("see what answers at GITHUB_API_URL")
	}
	return strconv.FormatUint(made.ID, 10), nil
}

func (g *GitHub) status(ctx context.Context, m Message, id string) error {
	_, err := g.post(ctx, "/deployments/"+id+"/statuses", newDeploymentStatus(m))
	return err
}

func (g *GitHub) post(ctx context.Context, below string, v any) (answer, error) {
	p, err := newPost(tellingGitHub, strings.TrimRight(g.config.API, "/")+"/repos/"+g.config.Repository+below, "", v)
	if err != nil {
		return answer{}, err
	}
	p.header.Set("Authorization", "Bearer "+g.config.Token)
	p.header.Set("Accept", "application/vnd.github+json")
	p.header.Set("X-GitHub-Api-Version", "2022-11-28")
	a, err := p.send(ctx)
	switch slipway.CodeOf(err) {
	case slipway.Unauthorized, slipway.NotFound:
		err = withHint(err, "give the token the right deployments: write in "+g.config.Repository)
	case slipway.Invalid, slipway.Conflict:
		err = withHint(err, "see that "+g.config.Repository+" has the commit GITHUB_SHA")
	}
	return a, err
}
