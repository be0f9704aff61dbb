package mlflowtest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// logged is a logged model: MLflow 3's own record of a model's files.
type logged struct {
	id, name         string
	created, updated int64
	location         string
	status           string
	runID            string
	versions         []modelVersionTag
	tags             []keyValue
}

// modelVersionTag is an entry of the tag mlflow.modelVersions.
type modelVersionTag struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

type run struct {
	id, name string
	started  int64
	location string
	outputs  []output
}

type output struct {
	ModelID string `json:"model_id"`
	Step    int    `json:"step"`
}

type wireLogged struct {
	Model struct {
		Info loggedInfo `json:"info"`
		Data struct{}   `json:"data"`
	} `json:"model"`
}

type loggedInfo struct {
	ID         string     `json:"model_id"`
	Experiment string     `json:"experiment_id"`
	Name       string     `json:"name"`
	Created    int64      `json:"creation_timestamp_ms"`
	Updated    int64      `json:"last_updated_timestamp_ms"`
	Artifacts  string     `json:"artifact_uri"`
	Status     string     `json:"status"`
	Type       string     `json:"model_type"`
	RunID      string     `json:"source_run_id"`
	Tags       []keyValue `json:"tags,omitempty"`
}

func (l *logged) wire() wireLogged {
	var w wireLogged
	w.Model.Info = loggedInfo{ID: l.id, Experiment: "0", Name: l.name, Created: l.created, Updated: l.updated,
		Artifacts: l.location, Status: l.status, RunID: l.runID, Tags: slices.Clone(l.tags)}
	return w
}

// newLogged makes a pending logged model without files.
func (s *Server) newLogged(name, runID string) *logged {
	id := "m-" + newID()
	l := &logged{id: id, name: name, created: s.now(), updated: s.now(), status: "LOGGED_MODEL_PENDING", runID: runID,
		location: s.place("models/" + id + "/artifacts")}
	s.state.logged[id] = l
	return l
}

// place returns the address of something of the default experiment.
func (s *Server) place(path string) string {
	return s.config.ArtifactRoot + "/0/" + path
}

func (s *Server) createLogged(p params) (any, error) {
	in, err := p.texts("experiment_id")
	if err != nil {
		return nil, err
	}
	name, err := p.text("name")
	if err != nil {
		return nil, err
	}
	runID, err := p.text("source_run_id")
	if err != nil {
		return nil, err
	}
	switch {
	case in[0] != "0":
		return nil, missing("No Experiment with id=%s exists", in[0])
	case name == "" || strings.ContainsAny(name, `/:.%"'`):
		return nil, invalid(`Invalid model name ('%s') provided. Model name must be a non-empty string and cannot contain the following characters: ('/', ':', '.', '%%', '"', "'")`, name)
	}
	return s.newLogged(name, runID).wire(), nil
}

func (s *Server) getLogged(id string, _ params) (any, error) {
	l, err := s.state.loggedModel(id)
	if err != nil {
		return nil, err
	}
	return l.wire(), nil
}

func (s *state) loggedModel(id string) (*logged, error) {
	if l, ok := s.logged[id]; ok {
		return l, nil
	}
	return nil, missing("Logged model with ID '%s' not found.", id)
}

// loggedStatuses by number, as in service.proto.
var loggedStatuses = []string{"", "LOGGED_MODEL_PENDING", "LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED"}

func (s *Server) finalizeLogged(id string, p params) (any, error) {
	if _, err := p.texts("model_id"); err != nil {
		return nil, err
	}
	l, err := s.state.loggedModel(id)
	if err != nil {
		return nil, err
	}
	status := strings.Trim(string(p.body["status"]), `"`)
	if n, err := strconv.Atoi(status); err == nil && n > 0 && n < len(loggedStatuses) {
		status = loggedStatuses[n]
	}
	if status == "" || !slices.Contains(loggedStatuses, status) {
		return nil, invalid("Missing value for required parameter 'status'. See the API docs for more information about request parameters.")
	}
	l.status, l.updated = status, s.now()
	return l.wire(), nil
}

// tagLogged notes a registration in the logged model's tag, as the server does.
func (s *state) tagLogged(id, name string, number int) {
	l := s.logged[id]
	if l == nil {
		return
	}
	l.versions = append(l.versions, modelVersionTag{name, strconv.Itoa(number)})
	b, err := json.Marshal(l.versions)
	if err != nil { // strings only
		panic(err)
	}
	l.tags = set(l.tags, "mlflow.modelVersions", string(b))
}

func (s *Server) newRun() *run {
	id := newID()
	r := &run{id: id, name: "run-" + id[:6], started: s.now(), location: s.place(id + "/artifacts")}
	s.state.runs[id] = r
	return r
}

func (s *Server) createRun(params) (any, error) { return s.newRun().wire(), nil }

func (s *Server) getRun(p params) (any, error) {
	in, err := p.texts("run_id")
	if err != nil {
		return nil, err
	}
	r, err := s.state.run(in[0])
	if err != nil {
		return nil, err
	}
	return r.wire(), nil
}

func (s *state) run(id string) (*run, error) {
	if r, ok := s.runs[id]; ok {
		return r, nil
	}
	return nil, missing("Run with id=%s not found", id)
}

func (r *run) wire() any {
	info := map[string]any{"run_uuid": r.id, "run_id": r.id, "experiment_id": "0", "run_name": r.name, "user_id": "", "status": "RUNNING",
		"start_time": r.started, "artifact_uri": r.location, "lifecycle_stage": "active"}
	w := map[string]any{"info": info, "data": map[string]any{"tags": []keyValue{{"mlflow.runName", r.name}}}, "inputs": nothing{}}
	if len(r.outputs) > 0 {
		w["outputs"] = map[string]any{"model_outputs": slices.Clone(r.outputs)}
	}
	return map[string]any{"run": w}
}

func (s *Server) logOutputs(p params) (any, error) {
	in, err := p.texts("run_id")
	if err != nil {
		return nil, err
	}
	r, err := s.state.run(in[0])
	if err != nil {
		return nil, err
	}
	var outputs []output
	if err := json.Unmarshal(p.body["models"], &outputs); err != nil {
		return nil, invalid("Invalid value for parameter 'models' supplied: %s", fmt.Sprint(err))
	}
	r.outputs = append(r.outputs, outputs...)
	return nothing{}, nil
}
