package mlflow

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/slipway-dev/slipway"
)

// directStore reads files of an object store through the route that MLflow's
// own pages use, with the server's keys. The route gives one file of a version;
// listings come from the logged model, or from the run, the files belong to.
type directStore struct {
	client  *Client
	op      string
	version Version
	uri     string
	modelID string
	runID   string
	inRun   string // path of the model among the run's artifacts; found at the first listing
	notOurs error  // why our own credentials do not open the store; nil: there are none for it
}

func (s *directStore) list(ctx context.Context, dir string) ([]entry, error) {
	var out wireListing
	var err error
	switch {
	case s.modelID != "":
		err = s.listModel(ctx, dir, &out)
	case s.runID != "":
		err = s.listRun(ctx, dir, &out)
	default:
		err = s.unlisted(nil)
	}
	if err != nil {
		return nil, err
	}
	entries, err := out.under(dir, s.inRun, false)
	if err != nil {
		return nil, hostile(s.op, err)
	}
	return entries, nil
}

func (s *directStore) listModel(ctx context.Context, dir string, out *wireListing) error {
	q := call{op: s.op, path: api + "logged-models/" + url.PathEscape(s.modelID) + "/artifacts/directories", query: url.Values{}}
	if dir != "" {
		q.query.Set("artifact_directory_path", dir)
	}
	if err := s.client.ask(ctx, q, out); err != nil {
		return s.unlisted(err)
	}
	return nil
}

func (s *directStore) listRun(ctx context.Context, dir string, out *wireListing) error {
	if s.inRun == "" {
		r, err := s.client.run(ctx, s.op, s.runID)
		if err != nil {
			return s.unlisted(err)
		}
		below, ok := strings.CutPrefix(s.uri, strings.TrimRight(withoutUser(r.Info.ArtifactURI), "/")+"/")
		if !ok || checkPath(below) != nil {
			return s.unlisted(nil)
		}
		s.inRun = strings.Trim(below, "/")
	}
	err := s.client.ask(ctx, call{op: s.op, path: api + "artifacts/list",
		query: url.Values{"run_id": {s.runID}, "path": {join(s.inRun, dir)}}}, out)
	if err != nil {
		return s.unlisted(err)
	}
	return nil
}

// unlisted says that the files cannot be listed and what to do. Trouble that
// may pass stays as it is.
func (s *directStore) unlisted(err error) error {
	if code := slipway.CodeOf(err); code == slipway.Unauthorized || (code == slipway.Unavailable && !hasStatus(err, http.StatusInternalServerError)) {
		return because(err, s.notOurs)
	}
	e := &slipway.Error{Op: s.op, Code: slipway.Invalid, Err: err,
		Message: "its files are at " + s.uri + ", outside of what MLflow lists"}
	return because(e.WithHint("log the model with MLflow 3 and register it from there (source models:/m-…); or download it with the store's own tool, or mlflow artifacts download, and deploy the directory"), s.notOurs)
}

func (s *directStore) open(ctx context.Context, path string, from int64, tag string) (*body, error) {
	q := url.Values{"name": {string(s.version.Name)}, "version": {string(s.version.Version)}, "path": {path}}
	b, err := s.client.open(ctx, s.op, s.client.home, s.client.endpoint("model-versions/get-artifact", q), nil, from, tag)
	if hasStatus(err, http.StatusInternalServerError) {
		e := &slipway.Error{Op: s.op, Code: slipway.Unavailable, Message: "MLflow could not read " + path + " from " + s.uri, Err: err,
			Hint: "check that the server itself has access to that store; its log says more. Or download the model with the store's own tool and deploy the directory"}
		return nil, because(e, s.notOurs)
	}
	return b, err
}
