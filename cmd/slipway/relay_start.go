package main

import (
	"context"
	"net/url"
	"strings"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/azuredevops"
	"github.com/slipway-dev/slipway/github"
	"github.com/slipway-dev/slipway/relay"
)

// configRelay is what slipway relay starts for every model: github://OWNER/REPO,
// azuredevops://ORGANIZATION/PROJECT/PIPELINE_ID, or run.
type configRelay struct {
	Start string `yaml:"start"`
}

func (c *config) validateStart(path, start string) error {
	if start == "" {
		return nil
	}
	if _, err := parseStart(start); err != nil {
		return c.wrong(path, "%v", err)
	}
	return nil
}

// start is what is started: the workflow of a repository, a pipeline, or a
// release by this program.
type start struct {
	scheme string   // "github", "azuredevops" or "run"
	names  []string // OWNER, REPOSITORY; ORGANIZATION, PROJECT, PIPELINE_ID
}

// parseStart reads github://OWNER/REPOSITORY, azuredevops://ORGANIZATION/PROJECT/PIPELINE_ID
// or run.
func parseStart(s string) (start, error) {
	wrong := usagef("%q is nothing to start", s).WithHint("write github://OWNER/REPOSITORY, azuredevops://ORGANIZATION/PROJECT/PIPELINE_ID, or run")
	if s == "run" {
		return start{scheme: s}, nil
	}
	scheme, rest, ok := strings.Cut(s, "://")
	want := map[string]int{"github": 2, "azuredevops": 3}[scheme]
	names := strings.Split(rest, "/")
	if !ok || want != len(names) {
		return start{}, wrong
	}
	for i, name := range names {
		plain, err := url.PathUnescape(name) // projects of Azure DevOps have blanks in their names
		if err != nil || plain == "" {
			return start{}, wrong
		}
		names[i] = plain
	}
	return start{scheme, names}, nil
}

// starter returns what starts the model's releases.
func (b *relayBuilder) starter(path string, entry configModel, ref slipway.ModelRef) (relay.Starter, error) {
	text := orElse(entry.Start, b.file.Relay.Start)
	if b.cmd.Here {
		text = "run"
	}
	if text == "" {
		return nil, b.file.wrong(path, "nothing says what to start for %s: relay: {start: github://OWNER/REPOSITORY}, or run the relay with --run", ref)
	}
	if made, ok := b.made[text]; ok {
		return made, nil
	}
	what, err := parseStart(text)
	if err != nil {
		return nil, usageError{err}
	}
	made, err := b.make(what)
	if err != nil {
		return nil, usageOr(err)
	}
	b.made[text] = made
	return made, nil
}

func (b *relayBuilder) make(what start) (relay.Starter, error) {
	switch what.scheme {
	case "github":
		return b.p.workflows(strings.Join(what.names, "/"))
	case "azuredevops":
		return b.p.pipeline(what.names)
	}
	runs, err := newRunStarter(b.cmd, b.file.path, b.log)
	b.runs = runs
	return runs, err
}

// workflows signs in as a GitHub App where one is named, else with a token.
func (p *program) workflows(repository string) (relay.Starter, error) {
	api := p.getenv("GITHUB_API_URL")
	token := orElse(p.getenv("GH_TOKEN"), p.getenv("GITHUB_TOKEN"))
	var login github.Login = github.Token(token)
	if id := p.getenv("SLIPWAY_GITHUB_APP_ID"); id != "" {
		app, err := github.NewApp(id, p.getenv("SLIPWAY_GITHUB_APP_KEY"), repository, api, nil)
		if err != nil {
			return nil, err
		}
		login = app
	} else if token == "" {
		return nil, usagef("nothing to sign in with at GitHub, for %s", repository).
			WithHint("set GH_TOKEN, or SLIPWAY_GITHUB_APP_ID and SLIPWAY_GITHUB_APP_KEY: docs/relay.md")
	}
	w, err := github.NewWorkflows(repository, api, login, nil)
	if err != nil {
		return nil, err
	}
	return &workflowStarter{w}, nil
}

// workflowStarter starts a workflow of GitHub Actions.
type workflowStarter struct{ *github.Workflows }

// Start is part of relay.Starter.
func (s *workflowStarter) Start(ctx context.Context, what relay.Start) (string, error) {
	err := s.Dispatch(ctx, github.Dispatch{Model: what.Model.String(), Environment: what.Environment, Version: string(what.Version), Start: what.ID})
	return s.Page(), err
}

// Find is part of relay.Finder.
func (s *workflowStarter) Find(ctx context.Context, what relay.Start) (string, bool, error) {
	return s.Workflows.Find(ctx, what.ID, what.At)
}

// pipeline signs in with a personal access token where there is one, else as
// what we are in Azure.
func (p *program) pipeline(names []string) (relay.Starter, error) {
	account := p.azureAccount()
	pipeline, err := azuredevops.NewPipeline(azuredevops.PipelineConfig{
		Organization: names[0], Project: names[1], ID: names[2],
		Server: p.getenv("SLIPWAY_AZURE_DEVOPS_URL"), PAT: p.getenv("AZURE_DEVOPS_EXT_PAT"),
		Bearer: func(ctx context.Context) (string, error) { return account.Token(ctx, azuredevops.Scope) },
	})
	if err != nil {
		return nil, err
	}
	return &pipelineStarter{pipeline}, nil
}

// pipelineStarter starts a pipeline of Azure Pipelines.
type pipelineStarter struct{ *azuredevops.Pipeline }

// parameters are those of azure-pipelines.yml.
func parameters(what relay.Start) map[string]string {
	return map[string]string{"model": what.Model.String(), "environment": what.Environment}
}

// Start is part of relay.Starter.
func (s *pipelineStarter) Start(ctx context.Context, what relay.Start) (string, error) {
	return s.Run(ctx, parameters(what))
}

// Find is part of relay.Finder. A run with these parameters looks anew at what
// is promoted, so whoever started it, it is this one's.
func (s *pipelineStarter) Find(ctx context.Context, what relay.Start) (string, bool, error) {
	return s.Pipeline.Find(ctx, parameters(what), what.At)
}
