package mlflow

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/slipway-dev/slipway"
)

type oneVersion struct {
	Version wireVersion `json:"model_version"`
}

type manyVersions struct {
	Versions []wireVersion `json:"model_versions"`
	Next     string        `json:"next_page_token"`
}

// Resolve returns the version that the reference points at now. A stage that
// several versions share gives the highest. Code NotFound: no such model,
// alias or version, or nobody is in the stage; the hint says what there is.
func (c *Client) Resolve(ctx context.Context, ref slipway.ModelRef) (Version, error) {
	v, err := c.Promoted(ctx, ref)
	if err != nil {
		return Version{}, c.suggest(ctx, ref, err)
	}
	return v, nil
}

// Promoted is Resolve for who asks again and again: what it does not find costs
// one call, and has no hint.
func (c *Client) Promoted(ctx context.Context, ref slipway.ModelRef) (Version, error) {
	op := "resolving " + ref.String()
	var v Version
	var err error
	switch {
	case ref.Alias != "":
		v, err = c.byAlias(ctx, op, ref)
	case ref.Stage != "":
		v, err = c.byStage(ctx, op, ref)
	case ref.Version != "":
		v, err = c.version(ctx, op, ref.Name, ref.Version)
	default:
		return Version{}, slipway.Errorf(slipway.Invalid, op, "a model directory is not in the model registry")
	}
	if err != nil {
		return Version{}, err
	}
	if v.prompt() {
		return Version{}, slipway.Errorf(slipway.Invalid, op, "%s is a prompt, not a model", v)
	}
	return v, nil
}

func (c *Client) byAlias(ctx context.Context, op string, ref slipway.ModelRef) (Version, error) {
	var out oneVersion
	err := c.ask(ctx, call{op: op, path: api + "registered-models/alias",
		query: url.Values{"name": {string(ref.Name)}, "alias": {ref.Alias}}}, &out)
	if hasStatus(err, http.StatusBadRequest) && strings.Contains(err.Error(), "alias") { // MLflow does not say 404 here
		return Version{}, &slipway.Error{Op: op, Code: slipway.NotFound, Message: "nothing is promoted: the model has no such alias", Err: err}
	}
	if err != nil {
		return Version{}, err
	}
	return out.Version.version(op)
}

func (c *Client) byStage(ctx context.Context, op string, ref slipway.ModelRef) (Version, error) {
	var out manyVersions
	err := c.ask(ctx, call{op: op, path: api + "registered-models/get-latest-versions",
		query: url.Values{"name": {string(ref.Name)}, "stages": {ref.Stage}}}, &out)
	if err != nil {
		return Version{}, err
	}
	var best Version
	for _, w := range out.Versions {
		v, err := w.version(op)
		if err != nil {
			return Version{}, err
		}
		if strings.EqualFold(v.Stage, ref.Stage) && (best.Version == "" || v.newer(best)) {
			best = v
		}
	}
	if best.Version == "" {
		return Version{}, slipway.Errorf(slipway.NotFound, op, "nothing is promoted: no version is in %s", ref.Stage)
	}
	return best, nil
}

func (c *Client) version(ctx context.Context, op string, name slipway.ModelName, number slipway.Version) (Version, error) {
	var out oneVersion
	err := c.ask(ctx, call{op: op, path: api + "model-versions/get",
		query: url.Values{"name": {string(name)}, "version": {string(number)}}}, &out)
	if err != nil {
		return Version{}, err
	}
	return out.Version.version(op)
}

// suggest adds to a NotFound what there is instead. Where that cannot be
// learned, the error stays as it is: it is the one to hear about.
func (c *Client) suggest(ctx context.Context, ref slipway.ModelRef, err error) error {
	if slipway.CodeOf(err) != slipway.NotFound || ctx.Err() != nil {
		return err
	}
	var e *slipway.Error
	if !errors.As(err, &e) {
		return err
	}
	model, lookup := c.Model(ctx, ref.Name)
	switch {
	case slipway.CodeOf(lookup) == slipway.NotFound:
		e.Message = "the model registry has no model " + string(ref.Name)
		return e.WithHint("%s", c.modelNames(ctx))
	case lookup != nil:
		return e
	case ref.Version != "":
		e.Message = "there is no such version"
		return e.WithHint("the newest versions of %s: %s", ref.Name, c.newestVersions(ctx, ref.Name))
	case len(model.Aliases) > 0:
		return e.WithHint("the model's aliases: %s; set one with mlflow's set_registered_model_alias", listed(model.Aliases))
	}
	return e.WithHint("promote a version first: client.set_registered_model_alias(%q, \"champion\", \"1\"), then use models:/%s@champion", ref.Name, ref.Name)
}

func (c *Client) modelNames(ctx context.Context) string {
	names, err := c.models(ctx, 20)
	if err != nil || len(names) == 0 {
		return "register a model in " + c.URI() + " first, or check MLFLOW_TRACKING_URI"
	}
	return "models in " + c.URI() + ": " + listed(names)
}

// newestVersions is for a hint, so whatever goes wrong makes it vaguer only.
func (c *Client) newestVersions(ctx context.Context, name slipway.ModelName) string {
	var page manyVersions
	err := c.ask(ctx, call{op: "searching versions", path: api + "model-versions/search",
		query: url.Values{"filter": {NameFilter(name)}, "order_by": {"version_number DESC"}, "max_results": {"5"}}}, &page)
	var numbers []string
	for _, v := range page.Versions {
		numbers = append(numbers, string(v.Version))
	}
	if err != nil || len(numbers) == 0 {
		return "none"
	}
	return listed(numbers)
}

func listed(names []string) string {
	const shown = 10
	more := ""
	if len(names) > shown {
		names, more = names[:shown], ", …"
	}
	return oneLine(strings.Join(names, ", ")) + more
}

// AwaitReady waits until the version, and the logged model it was made of, are
// ready, and returns it as it is then. It asks at growing intervals, at most
// every 5 seconds. Code Invalid: the registration or the upload failed; code
// Unavailable: it is still pending after limit.
func (c *Client) AwaitReady(ctx context.Context, v Version, limit time.Duration) (Version, error) {
	op := "waiting for " + v.String()
	ends := time.Now().Add(limit)
	for wait := firstPause; ; wait = min(2*wait, 5*time.Second) {
		now, err := c.version(ctx, op, v.Name, v.Version)
		if err != nil {
			return Version{}, err
		}
		pending, err := c.pending(ctx, op, now)
		if err != nil || pending == "" {
			return now, err
		}
		if left := time.Until(ends); left < wait {
			return Version{}, slipway.Errorf(slipway.Unavailable, op, "it is still %s after %s", pending, limit).
				WithHint("wait until MLflow shows it as ready, then run the command again")
		}
		if !sleep(ctx, wait) {
			return Version{}, &slipway.Error{Op: op, Code: slipway.Unavailable, Message: "it is still " + pending, Err: context.Cause(ctx)}
		}
	}
}

// pending returns the status that is waited for to end, or "" when all is ready.
func (c *Client) pending(ctx context.Context, op string, v Version) (string, error) {
	switch v.Status {
	case ReadyStatus:
	case PendingStatus:
		return PendingStatus, nil
	case FailedStatus:
		return "", failedVersion(op, "its registration failed", v.StatusMessage)
	default:
		return "", failedVersion(op, fmt.Sprintf("its status is %.40q", v.Status), v.StatusMessage)
	}
	if v.ModelID == "" {
		return "", nil
	}
	m, err := c.loggedModel(ctx, op, v.ModelID)
	if err != nil {
		return "", err
	}
	switch m.Info.Status {
	case loggedReady, "": // older servers write none
		return "", nil
	case loggedPending:
		return loggedPending, nil
	}
	return "", failedVersion(op, "the upload of its files failed", oneLine(m.Info.Status))
}

func failedVersion(op, what, why string) error {
	if why != "" {
		what += ": " + why
	}
	return slipway.Errorf(slipway.Invalid, op, "%s", what).WithHint("log and register the model again")
}
