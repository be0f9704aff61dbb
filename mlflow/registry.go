package mlflow

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/slipway-dev/slipway"
)

// maxPages bounds how many pages a search follows: a server whose tokens never
// end is not followed for ever.
const maxPages = 1000

// Model is a registered model.
type Model struct {
	Name    slipway.ModelName
	Aliases []string                   // sorted as MLflow gives them
	Points  map[string]slipway.Version // from alias to version
	Tags    map[string]string
}

// Model returns the registered model. Code NotFound: there is none.
func (c *Client) Model(ctx context.Context, name slipway.ModelName) (Model, error) {
	var out struct {
		Model struct {
			Aliases []struct {
				Alias   string `json:"alias"`
				Version text   `json:"version"`
			} `json:"aliases"`
			Tags []tag `json:"tags"`
		} `json:"registered_model"`
	}
	err := c.ask(ctx, call{op: "looking up model " + string(name), path: api + "registered-models/get",
		query: url.Values{"name": {string(name)}}}, &out)
	m := Model{Name: name, Points: map[string]slipway.Version{}, Tags: map[string]string{}}
	for _, a := range out.Model.Aliases {
		m.Aliases = append(m.Aliases, a.Alias)
		m.Points[a.Alias] = slipway.Version(a.Version)
	}
	for _, t := range out.Model.Tags {
		m.Tags[t.Key] = t.Value
	}
	return m, err
}

// models returns the names of the first few registered models.
func (c *Client) models(ctx context.Context, limit int) ([]string, error) {
	var out struct {
		Models []struct {
			Name string `json:"name"`
		} `json:"registered_models"`
	}
	err := c.ask(ctx, call{op: "listing models", path: api + "registered-models/search",
		query: url.Values{"max_results": {strconv.Itoa(limit)}}}, &out)
	var names []string
	for _, m := range out.Models {
		names = append(names, m.Name)
	}
	return names, err
}

// SearchVersions returns the versions that the filter selects, the newest of a
// model first, following all pages. The filter is MLflow's: comparisons of
// name, run_id, version_number, source_path and tags.KEY, joined by "and";
// empty selects all. MLflow pages by offset, so versions that appear meanwhile
// may push others over a page's edge: what comes twice is dropped. Code
// Invalid: MLflow does not know the filter; it knows none by alias or stage.
func (c *Client) SearchVersions(ctx context.Context, filter string) ([]Version, error) {
	const op = "searching versions"
	var found []Version
	seen := map[slipway.ModelVersion]bool{}
	query := url.Values{"max_results": {"1000"}, "order_by": {"name ASC", "version_number DESC"}}
	if filter != "" {
		query.Set("filter", filter)
	}
	for range maxPages {
		var page manyVersions
		if err := c.ask(ctx, call{op: op, path: api + "model-versions/search", query: query}, &page); err != nil {
			return nil, err
		}
		for _, w := range page.Versions {
			v, err := w.version(op)
			if err != nil {
				return nil, err
			}
			if key := (slipway.ModelVersion{Name: v.Name, Version: v.Version}); !seen[key] {
				seen[key] = true
				found = append(found, v)
			}
		}
		if page.Next == "" {
			return found, nil
		}
		query.Set("page_token", page.Next)
	}
	return nil, slipway.Errorf(slipway.Exhausted, op, "there are more than %d pages", maxPages).WithHint("narrow the filter")
}

// NameFilter returns the search filter for one model's versions.
func NameFilter(name slipway.ModelName) string {
	quote := "'" // MLflow knows no escapes, only the other quote
	if strings.Contains(string(name), quote) {
		quote = `"`
	}
	return "name = " + quote + string(name) + quote
}

// SetTag sets a version's tag; the value may be empty.
func (c *Client) SetTag(ctx context.Context, name slipway.ModelName, version slipway.Version, key, value string) error {
	return c.write(ctx, http.MethodPost, "tagging "+string(name)+" "+string(version), "model-versions/set-tag",
		map[string]string{"name": string(name), "version": string(version), "key": key, "value": value})
}

// DeleteTag removes a version's tag; that it was not there is no error.
func (c *Client) DeleteTag(ctx context.Context, name slipway.ModelName, version slipway.Version, key string) error {
	return c.write(ctx, http.MethodDelete, "untagging "+string(name)+" "+string(version), "model-versions/delete-tag",
		map[string]string{"name": string(name), "version": string(version), "key": key})
}

// SetAlias points the alias at the version, wherever it pointed before.
func (c *Client) SetAlias(ctx context.Context, name slipway.ModelName, alias string, version slipway.Version) error {
	return c.write(ctx, http.MethodPost, "pointing "+string(name)+"@"+alias+" at version "+string(version), "registered-models/alias",
		map[string]string{"name": string(name), "alias": alias, "version": string(version)})
}

// DeleteAlias removes the alias; that it was not there is no error.
func (c *Client) DeleteAlias(ctx context.Context, name slipway.ModelName, alias string) error {
	return c.write(ctx, http.MethodDelete, "removing "+string(name)+"@"+alias, "registered-models/alias",
		map[string]string{"name": string(name), "alias": alias})
}

// Transition moves the version to a stage: None, Staging, Production or
// Archived. Others in the stage stay there.
func (c *Client) Transition(ctx context.Context, name slipway.ModelName, version slipway.Version, stage string) error {
	return c.write(ctx, http.MethodPost, "moving "+string(name)+" "+string(version)+" to "+stage, "model-versions/transition-stage",
		map[string]any{"name": string(name), "version": string(version), "stage": stage, "archive_existing_versions": false})
}

// write sends one change that may be repeated without harm.
func (c *Client) write(ctx context.Context, method, op, route string, body any) error {
	return c.ask(ctx, call{op: op, method: method, path: api + route, body: body}, nil)
}
