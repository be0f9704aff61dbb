package mlflow

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

// CreateModel makes a registered model without versions. Code Conflict: there
// is one of that name.
func (c *Client) CreateModel(ctx context.Context, name slipway.ModelName) error {
	return c.ask(ctx, call{op: "creating model " + string(name), method: http.MethodPost, once: true,
		path: api + "registered-models/create", body: map[string]string{"name": string(name)}}, nil)
}

// NewVersion is a version to be created.
type NewVersion struct {
	Source      string // models:/m-…, models:/NAME/VERSION, runs:/RUN/PATH, mlflow-artifacts:/PATH, s3://…, …
	RunID       string // required by MLflow for runs:/ and for a run's mlflow-artifacts:/
	ModelID     string // required by MLflow for models:/m-… and for a logged model's mlflow-artifacts:/
	Description string
	Tags        map[string]string
}

// CreateVersion adds a version to a registered model. Code NotFound: no such
// model; Invalid: MLflow does not accept the source.
func (c *Client) CreateVersion(ctx context.Context, name slipway.ModelName, n NewVersion) (Version, error) {
	op := "creating a version of " + string(name)
	body := map[string]any{"name": string(name), "source": n.Source}
	for key, value := range map[string]string{"run_id": n.RunID, "model_id": n.ModelID, "description": n.Description} {
		if value != "" {
			body[key] = value
		}
	}
	var tags []tag
	for key, value := range n.Tags {
		tags = append(tags, tag{key, value})
	}
	if tags != nil {
		body["tags"] = tags
	}
	var out oneVersion
	err := c.ask(ctx, call{op: op, method: http.MethodPost, once: true, path: api + "model-versions/create", body: body}, &out)
	if err != nil {
		return Version{}, err
	}
	return out.Version.version(op)
}

// Register uploads the model directory and makes it the next version of the
// registered model, which is created where it is missing.
func (c *Client) Register(ctx context.Context, name slipway.ModelName, dir string) (Version, error) {
	if err := c.CreateModel(ctx, name); err != nil && slipway.CodeOf(err) != slipway.Conflict {
		return Version{}, err
	}
	id, err := c.Upload(ctx, dir)
	if err != nil {
		return Version{}, err
	}
	return c.CreateVersion(ctx, name, NewVersion{Source: "models:/" + id, ModelID: id})
}

// Upload stores the model directory in MLflow as a logged model of the default
// experiment and returns its identifier, m-…. It needs MLflow 3 and a server
// that serves artifacts. An identifier in the MLmodel file is replaced.
func (c *Client) Upload(ctx context.Context, dir string) (id string, err error) {
	op := "uploading " + dir
	files, err := mlmodel.Inventory(dir)
	if err != nil {
		return "", err
	}
	var out struct {
		Model loggedModel `json:"model"`
	}
	err = c.ask(ctx, call{op: op, method: http.MethodPost, once: true, path: api + "logged-models",
		body: map[string]string{"experiment_id": "0", "name": "model"}}, &out)
	if err != nil {
		return "", err
	}
	id = out.Model.Info.ModelID
	root, err := proxyRoot(op, id, out.Model.Info.ArtifactURI)
	if err != nil {
		return "", err
	}
	status := loggedReady
	if err = c.putAll(ctx, op, dir, root, id, files); err != nil {
		status = loggedFailed
	}
	if ended := c.finalize(context.WithoutCancel(ctx), op, id, status); err == nil {
		err = ended
	}
	return id, err
}

// proxyRoot is where the server wants the files of the logged model.
func proxyRoot(op, id, uri string) (string, error) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "mlflow-artifacts" || u.Host != "" || !modelIDPattern.MatchString(id) {
		return "", slipway.Errorf(slipway.Invalid, op, "the server keeps files at %.120q and takes no uploads for there", uri).
			WithHint("start the server with --serve-artifacts and --artifacts-destination")
	}
	return strings.Trim(u.Path, "/"), nil
}

func (c *Client) finalize(ctx context.Context, op, id, status string) error {
	return c.write(ctx, http.MethodPatch, op, "logged-models/"+url.PathEscape(id), map[string]string{"model_id": id, "status": status})
}

func (c *Client) putAll(ctx context.Context, op, dir, root, id string, files []mlmodel.File) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(c.config.Jobs)
	for _, f := range files {
		group.Go(func() error {
			err := c.repeat(ctx, false, func() error {
				return c.put(ctx, op, filepath.Join(dir, filepath.FromSlash(f.Path)), join(root, f.Path), f.Path, id)
			})
			return about(err, op, f.Path)
		})
	}
	return group.Wait()
}

func (c *Client) put(ctx context.Context, op, file, to, path, id string) error {
	f, err := os.Open(file)
	if err != nil {
		return onDisk(op, err)
	}
	defer f.Close()
	body, size, err := uploadBody(f, path, id)
	if err != nil {
		return onDisk(op, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, c.endpoint(artifacts+"artifacts/"+escapePath(to), nil), io.NopCloser(body))
	if err != nil {
		return &slipway.Error{Op: op, Code: slipway.Internal, Err: err}
	}
	req.ContentLength = size
	if size == 0 {
		req.Body = http.NoBody
	}
	req.Header.Set("User-Agent", c.config.UserAgent)
	req.Header.Set("Content-Type", "application/octet-stream")
	res, err := c.home.Do(req)
	if err != nil {
		return unreachable(ctx, op, req.URL.Host, err)
	}
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		return c.refused(op, res)
	}
	return nil
}

var modelIDLine = regexp.MustCompile(`(?m)^model_id:.*$`)

// uploadBody is the file's bytes, with the identifier replaced in MLmodel.
func uploadBody(f *os.File, path, id string) (io.Reader, int64, error) {
	info, err := f.Stat()
	if err != nil || path != "MLmodel" {
		return f, size(info), err
	}
	b, err := io.ReadAll(io.LimitReader(f, 16<<20))
	b = modelIDLine.ReplaceAllLiteral(b, []byte("model_id: "+id))
	return bytes.NewReader(b), int64(len(b)), err
}

func size(info os.FileInfo) int64 {
	if info == nil {
		return 0
	}
	return info.Size()
}
