package mlflowtest

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

func (s *Server) createVersion(p params) (any, error) {
	in, err := p.texts("name", "source")
	if err != nil {
		return nil, err
	}
	v := &version{source: in[1], stage: "None", status: "READY", tags: p.tags("tags"), created: s.now(), updated: s.now()}
	var modelID string
	for key, to := range map[string]*string{"run_id": &v.runID, "model_id": &modelID, "description": &v.description} {
		if *to, err = p.text(key); err != nil {
			return nil, err
		}
	}
	if !isPrompt(v) {
		if err := s.state.placeVersion(v, modelID); err != nil {
			return nil, err
		}
	}
	m, err := s.state.model(in[0])
	if err != nil {
		return nil, err
	}
	m.add(v)
	s.state.tagLogged(modelID, m.name, v.number)
	return oneVersion{m.wireVersion(v, false)}, nil
}

func (m *model) add(v *version) {
	m.last++
	v.number = m.last
	m.versions = append(m.versions, v)
	m.updated = v.created
}

func isPrompt(v *version) bool {
	return slices.Contains(v.tags, keyValue{"mlflow.prompt.is_prompt", "true"})
}

// hostSchemes name a host that the server would have to connect to.
var hostSchemes = []string{"abfss", "hdfs", "viewfs", "http", "https", "ftp", "sftp", "r2", "b2"}

// placeVersion checks the source as MLflow does and finds where its files are.
func (s *state) placeVersion(v *version, modelID string) error {
	scheme, rest, _ := strings.Cut(v.source, ":")
	hosted := slices.Contains(hostSchemes, scheme) || (scheme == "mlflow-artifacts" && strings.HasPrefix(rest, "//"))
	v.location = v.source
	switch {
	case hosted:
		return invalid("'source' cannot use the '%s' scheme: the '%s' scheme addresses a host other than the tracking server's configured artifact storage, "+
			"so the server would connect to the host named in the URI. Set the MLFLOW_ALLOWED_HOST_ADDRESSED_ARTIFACT_SCHEMES environment variable on the server to allow it.", scheme, scheme)
	case slices.Contains(strings.Split(rest, "/"), ".."):
		return invalid("Invalid model version source: '%s'. If supplying a source as an http, https, local file path, ftp, objectstore, or mlflow-artifacts uri, "+
			"an absolute path must be provided without relative path references present. Please provide an absolute path.", v.source)
	case scheme == "models":
		return s.placeModel(v, strings.TrimLeft(rest, "/"), modelID)
	case scheme == "runs":
		if v.runID == "" || strings.Split(strings.TrimLeft(rest, "/"), "/")[0] != v.runID {
			return unidentified(v.source, "run_id")
		}
	case scheme == "mlflow-artifacts", scheme == v.source, scheme == "file":
		return s.placeContained(v, modelID, scheme)
	}
	return nil
}

func unidentified(source, by string) error {
	return invalid("Invalid model version source: '%s'. The %s request parameter must identify the resource that contains the source.", source, by)
}

func (s *state) placeModel(v *version, rest, modelID string) error {
	if strings.HasPrefix(rest, "m-") {
		l := s.logged[rest]
		switch {
		case modelID != rest:
			return unidentified(v.source, "model_id")
		case l == nil:
			return missing("Logged model with ID '%s' not found.", rest)
		}
		v.location = l.location
		if v.runID == "" {
			v.runID = l.runID
		}
		return nil
	}
	name, number, _ := strings.Cut(rest, "/")
	_, from, err := s.version(name, number)
	if err != nil {
		return err
	}
	v.location, v.runID = from.location, from.runID
	return nil
}

// placeContained is for addresses inside a run or a logged model only.
func (s *state) placeContained(v *version, modelID, scheme string) error {
	by := "run_id"
	var root string
	if l := s.logged[modelID]; l != nil {
		root, by = l.location, "model_id"
		if v.runID == "" {
			v.runID = l.runID
		}
	} else if r := s.runs[v.runID]; r != nil {
		root = r.location
	}
	if root != "" && (v.source == root || strings.HasPrefix(v.source, root+"/")) {
		return nil
	}
	if scheme == "mlflow-artifacts" {
		return unidentified(v.source, by)
	}
	return invalid("Invalid model version source: '%s'. To use a local path as a model version source, the %s request parameter has to be specified "+
		"and the local path has to be contained within the artifact directory of the run specified by the %s.", v.source, by, by)
}

// versionOf finds the version that a request names.
func (s *Server) versionOf(p params) (*model, *version, error) {
	in, err := p.texts("name", "version")
	if err != nil {
		return nil, nil, err
	}
	return s.state.version(in[0], in[1])
}

func (s *Server) getVersion(p params) (any, error) {
	m, v, err := s.versionOf(p)
	if err != nil {
		return nil, err
	}
	return oneVersion{m.wireVersion(v, true)}, nil
}

func (s *Server) downloadURI(p params) (any, error) {
	_, v, err := s.versionOf(p)
	if err != nil {
		return nil, err
	}
	return struct {
		URI string `json:"artifact_uri"`
	}{v.location}, nil
}

func (s *Server) updateVersion(p params) (any, error) {
	m, v, err := s.versionOf(p)
	if err != nil {
		return nil, err
	}
	if v.description, err = p.text("description"); err != nil {
		return nil, err
	}
	v.updated = s.now()
	return oneVersion{m.wireVersion(v, true)}, nil
}

func (s *Server) deleteVersion(p params) (any, error) {
	m, v, err := s.versionOf(p)
	if err != nil {
		return nil, err
	}
	m.versions = slices.DeleteFunc(m.versions, func(o *version) bool { return o == v })
	for alias, number := range m.aliases {
		if number == v.number {
			delete(m.aliases, alias)
		}
	}
	m.updated = s.now()
	return nothing{}, nil
}

func (s *Server) transition(p params) (any, error) {
	in, err := p.texts("name", "version", "stage")
	if err != nil {
		return nil, err
	}
	archive := p.bool("archive_existing_versions")
	stage, err := canonicalStage(in[2])
	if err != nil {
		return nil, err
	}
	if archive && stage != "Staging" && stage != "Production" {
		return nil, &failure{http.StatusInternalServerError, "INTERNAL_ERROR", fmt.Sprintf("Model version transition cannot archive existing model versions because '%s' "+
			"is not an Active stage. Valid stages are ['Staging', 'Production']", in[2])}
	}
	m, v, err := s.state.version(in[0], in[1])
	if err != nil {
		return nil, err
	}
	at := s.now()
	for _, o := range m.versions {
		if archive && o != v && o.stage == stage {
			o.stage, o.updated = "Archived", at
		}
	}
	v.stage, v.updated, m.updated = stage, at, at
	return oneVersion{m.wireVersion(v, true)}, nil
}

func (s *Server) setTag(p params) (any, error) {
	in, err := p.texts("name", "version", "key")
	if err != nil {
		return nil, err
	}
	value, err := p.text("value")
	if err != nil {
		return nil, err
	}
	_, v, err := s.state.version(in[0], in[1])
	if err != nil {
		return nil, err
	}
	if len(in[2]) > 250 || len(value) > 100_000 {
		return nil, invalid("'%s' exceeds the maximum length", strconv.Quote(in[2][:min(len(in[2]), 20)]))
	}
	v.tags = set(v.tags, in[2], value)
	return nothing{}, nil
}

func (s *Server) deleteTag(p params) (any, error) {
	in, err := p.texts("name", "version", "key")
	if err != nil {
		return nil, err
	}
	_, v, err := s.state.version(in[0], in[1])
	if err != nil {
		return nil, err
	}
	v.tags = slices.DeleteFunc(v.tags, func(t keyValue) bool { return t.Key == in[2] })
	return nothing{}, nil
}
