package mlflow

import (
	"context"
	"net/url"
	"regexp"
	"strings"

	"github.com/slipway-dev/slipway"
)

// maxHops bounds how often one address of files may name another.
const maxHops = 8

// place is where a version's files are and how to get at them.
type place struct {
	uri     string // for people and for the key of a partial download; holds no credentials
	modelID string // the logged model the files must be of; empty when unknown
	store   store
}

// locate asks the server where the version's files are, and follows addresses
// that only name another: models:/NAME/VERSION, models:/m-…, runs:/….
func (c *Client) locate(ctx context.Context, op string, v Version) (place, error) {
	var out struct {
		URI string `json:"artifact_uri"`
	}
	err := c.ask(ctx, call{op: op, path: api + "model-versions/get-download-uri",
		query: url.Values{"name": {string(v.Name)}, "version": {string(v.Version)}}}, &out)
	if err != nil {
		return place{}, err
	}
	l := locator{client: c, op: op, version: v, modelID: v.ModelID}
	return l.follow(ctx, out.URI, maxHops)
}

// locator follows addresses until one holds files, noting on the way which
// logged model or run they belong to.
type locator struct {
	client  *Client
	op      string
	version Version
	modelID string
	runID   string // set when the files are a run's own artifacts
}

var inLoggedModel = regexp.MustCompile(`/models/(m-[0-9a-f]{32})/artifacts/?$`)

func (l *locator) follow(ctx context.Context, uri string, hops int) (place, error) {
	if hops == 0 {
		return place{}, slipway.Errorf(slipway.Invalid, l.op, "its source leads in a circle")
	}
	scheme, rest, _ := strings.Cut(uri, ":")
	if m := inLoggedModel.FindStringSubmatch(uri); m != nil && l.modelID == "" {
		l.modelID = m[1]
	}
	switch {
	case uri == "" || unprintable(uri):
		return place{}, slipway.Errorf(slipway.Corrupt, l.op, "the server says %.80q when asked where the files are", uri)
	case scheme == "models":
		return l.followModel(ctx, strings.TrimLeft(rest, "/"), hops)
	case scheme == "runs":
		return l.followRun(ctx, strings.TrimLeft(rest, "/"), hops)
	case scheme == "mlflow-artifacts":
		return l.proxied(uri)
	case strings.HasPrefix(uri, "/") || strings.HasPrefix(uri, "./") || scheme == "file" || scheme == uri || len(scheme) == 1:
		return place{}, l.serversDisk(uri)
	}
	return l.direct(ctx, uri)
}

func (l *locator) followModel(ctx context.Context, rest string, hops int) (place, error) {
	if modelIDPattern.MatchString(rest) {
		m, err := l.client.loggedModel(ctx, l.op, rest)
		if err != nil {
			return place{}, err
		}
		l.modelID = rest
		return l.follow(ctx, m.Info.ArtifactURI, hops-1)
	}
	name, number, ok := strings.Cut(rest, "/")
	if !ok || !versionPattern.MatchString(number) {
		return place{}, slipway.Errorf(slipway.Invalid, l.op, "its source models:/%.80s names no version", rest)
	}
	v, err := l.client.version(ctx, l.op, slipway.ModelName(name), slipway.Version(number))
	if err != nil {
		return place{}, err
	}
	if l.modelID == "" {
		l.modelID = v.ModelID
	}
	return l.follow(ctx, v.Source, hops-1)
}

// followRun resolves runs:/RUN/PATH. MLflow 3 keeps a run's models apart from
// its artifacts and refers to them as outputs; before, they were artifacts.
func (l *locator) followRun(ctx context.Context, rest string, hops int) (place, error) {
	runID, path, _ := strings.Cut(rest, "/")
	path = strings.Trim(path, "/")
	if !runIDPattern.MatchString(runID) {
		return place{}, slipway.Errorf(slipway.Invalid, l.op, "its source runs:/%.80s names no run", rest)
	}
	r, err := l.client.run(ctx, l.op, runID)
	if err != nil {
		return place{}, err
	}
	name, below, _ := strings.Cut(path, "/")
	for _, output := range r.Outputs.Models {
		if !modelIDPattern.MatchString(output.ModelID) {
			continue
		}
		m, err := l.client.loggedModel(ctx, l.op, output.ModelID)
		if err != nil {
			return place{}, err
		}
		if m.Info.Name == name && below == "" {
			l.modelID = output.ModelID
			return l.follow(ctx, m.Info.ArtifactURI, hops-1)
		}
	}
	l.runID = runID
	return l.follow(ctx, strings.TrimRight(r.Info.ArtifactURI, "/")+"/"+path, hops-1)
}

// proxied is for files that the MLflow server hands out itself. An address
// with a host means another server, which gets to see no credentials of ours.
func (l *locator) proxied(uri string) (place, error) {
	u, err := url.Parse(uri)
	if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" { // not quoted: there may be a password in it
		return place{}, slipway.Errorf(slipway.Invalid, l.op, "its mlflow-artifacts address is malformed, or has a user or a query")
	}
	root := strings.Trim(u.Path, "/")
	if err := checkPath(root); err != nil {
		return place{}, slipway.Errorf(slipway.Invalid, l.op, "its address %.120q is not allowed: %s", uri, err)
	}
	server := ""
	if u.Host != "" && u.Host != l.client.base.Host {
		server = l.client.base.Scheme + "://" + u.Host
	}
	return place{uri: uri, modelID: l.modelID, store: &proxyStore{client: l.client, op: l.op, server: server, root: root}}, nil
}

// direct is for files in an object store: with keys of our own, else with
// those of the server.
func (l *locator) direct(ctx context.Context, uri string) (place, error) {
	own, why := l.own(ctx, uri)
	if own != nil {
		return place{uri: uri, modelID: l.modelID, store: own}, nil
	}
	d := &directStore{client: l.client, op: l.op, version: l.version, modelID: l.modelID, uri: withoutUser(uri), notOurs: why}
	switch {
	case l.modelID != "":
	case l.runID != "":
		d.runID = l.runID
	case l.version.RunID != "":
		d.runID = l.version.RunID
	}
	return place{uri: d.uri, modelID: l.modelID, store: d}, nil
}

func (l *locator) serversDisk(uri string) error {
	return slipway.Errorf(slipway.Invalid, l.op, "its files are at %.200s on the MLflow server's own disk, which it does not hand out", uri).
		WithHint("start the server with --serve-artifacts and --artifacts-destination and log the model again; or run slipway on that machine with the directory itself: %s", uri)
}

func withoutUser(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.User == nil || u.Scheme == "wasbs" || u.Scheme == "wasb" || u.Scheme == "abfss" || u.Scheme == "abfs" {
		return uri // Azure writes the container where others write the user
	}
	u.User = nil
	return u.String()
}
