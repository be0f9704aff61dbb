package mlflow

import (
	"context"
	"net/url"
)

const (
	loggedReady   = "LOGGED_MODEL_READY"
	loggedPending = "LOGGED_MODEL_PENDING"
	loggedFailed  = "LOGGED_MODEL_UPLOAD_FAILED"
)

// loggedModel is MLflow 3's record of a model's files (service.proto, LoggedModel).
type loggedModel struct {
	Info struct {
		ModelID     string `json:"model_id"`
		Name        string `json:"name"`
		ArtifactURI string `json:"artifact_uri"`
		Status      string `json:"status"`
	} `json:"info"`
}

func (c *Client) loggedModel(ctx context.Context, op, id string) (loggedModel, error) {
	var out struct {
		Model loggedModel `json:"model"`
	}
	err := c.ask(ctx, call{op: op, path: api + "logged-models/" + url.PathEscape(id)}, &out)
	return out.Model, err
}

// run is what we need of MLflow's record of a run (service.proto, Run).
type run struct {
	Info struct {
		ArtifactURI string `json:"artifact_uri"`
	} `json:"info"`
	Outputs struct {
		Models []struct {
			ModelID string `json:"model_id"`
		} `json:"model_outputs"`
	} `json:"outputs"`
}

func (c *Client) run(ctx context.Context, op, id string) (run, error) {
	var out struct {
		Run run `json:"run"`
	}
	err := c.ask(ctx, call{op: op, path: api + "runs/get", query: url.Values{"run_id": {id}}}, &out)
	return out.Run, err
}
