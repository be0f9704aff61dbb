package mlflowtest

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// state is what the server remembers. Everything in it is reached with
// Server.mu held.
type state struct {
	webhooks []*webhook // the newest first

	models map[string]*model
	logged map[string]*logged
	runs   map[string]*run
	files  map[string]*file // by address: in the proxy "1/models/m-…/artifacts/MLmodel", elsewhere "s3://bucket/key"
}

func newState() state {
	return state{models: map[string]*model{}, logged: map[string]*logged{}, runs: map[string]*run{}, files: map[string]*file{}}
}

type model struct {
	name             string
	created, updated int64 // milliseconds since 1970
	description      string
	tags             []keyValue
	aliases          map[string]int
	versions         []*version // ascending; deleted ones are gone
	last             int        // numbers are not used again
}

type version struct {
	number           int
	created, updated int64
	stage            string
	description      string
	source           string
	location         string // what get-download-uri says
	runID            string
	status           string
	statusMessage    string
	tags             []keyValue
}

// wireModel and wireVersion have the fields, their order and the omissions of
// MLflow's protobuf: what is unset or an empty list is left out.
type wireModel struct {
	Name        string         `json:"name"`
	Created     int64          `json:"creation_timestamp"`
	Updated     int64          `json:"last_updated_timestamp"`
	Description string         `json:"description,omitempty"`
	Latest      []*wireVersion `json:"latest_versions,omitempty"`
	Tags        []keyValue     `json:"tags,omitempty"`
	Aliases     []wireAlias    `json:"aliases,omitempty"`
}

type wireAlias struct {
	Alias   string `json:"alias"`
	Version string `json:"version"`
}

type wireVersion struct {
	Name          string     `json:"name"`
	Version       string     `json:"version"`
	Created       int64      `json:"creation_timestamp"`
	Updated       int64      `json:"last_updated_timestamp"`
	Stage         string     `json:"current_stage"`
	Description   string     `json:"description"`
	Source        string     `json:"source"`
	RunID         string     `json:"run_id"`
	Status        string     `json:"status"`
	StatusMessage string     `json:"status_message,omitempty"`
	Tags          []keyValue `json:"tags,omitempty"`
	RunLink       string     `json:"run_link"`
	Aliases       []string   `json:"aliases,omitempty"`
}

type oneModel struct {
	Model *wireModel `json:"registered_model"`
}

type oneVersion struct {
	Version *wireVersion `json:"model_version"`
}

type manyVersions struct {
	Versions []*wireVersion `json:"model_versions,omitempty"`
	Next     string         `json:"next_page_token,omitempty"`
}

// nothing is the answer {}.
type nothing struct{}

var stages = []string{"None", "Staging", "Production", "Archived"}

func (m *model) wire() *wireModel {
	w := &wireModel{Name: m.name, Created: m.created, Updated: m.updated, Description: m.description, Tags: m.tags, Latest: m.latest(stages, false)}
	for _, alias := range m.sortedAliases() {
		w.Aliases = append(w.Aliases, wireAlias{alias, strconv.Itoa(m.aliases[alias])})
	}
	return w
}

func (m *model) sortedAliases() []string {
	var names []string
	for a := range m.aliases {
		names = append(names, a)
	}
	slices.Sort(names)
	return names
}

// latest returns the highest version of each stage, in order of number.
func (m *model) latest(of []string, aliases bool) []*wireVersion {
	newest := map[string]*version{}
	for _, v := range m.versions {
		newest[v.stage] = v
	}
	var found []*wireVersion
	for _, v := range m.versions {
		if newest[v.stage] == v && slices.Contains(of, v.stage) {
			found = append(found, m.wireVersion(v, aliases))
		}
	}
	return found
}

func (m *model) wireVersion(v *version, aliases bool) *wireVersion {
	w := &wireVersion{Name: m.name, Version: strconv.Itoa(v.number), Created: v.created, Updated: v.updated, Stage: v.stage,
		Description: v.description, Source: v.source, RunID: v.runID, Status: v.status, StatusMessage: v.statusMessage, Tags: slices.Clone(v.tags)}
	for _, a := range m.sortedAliases() {
		if aliases && m.aliases[a] == v.number {
			w.Aliases = append(w.Aliases, a)
		}
	}
	return w
}

func (s *state) model(name string) (*model, error) {
	if m, ok := s.models[name]; ok {
		return m, nil
	}
	return nil, missing("Registered Model with name=%s not found", name)
}

func (s *state) version(name, number string) (*model, *version, error) {
	n, err := strconv.Atoi(number)
	if err != nil {
		return nil, nil, invalid("Parameter 'version' must be an integer, got '%s'.", number)
	}
	if m, ok := s.models[name]; ok {
		if i := slices.IndexFunc(m.versions, func(v *version) bool { return v.number == n }); i >= 0 {
			return m, m.versions[i], nil
		}
	}
	return nil, nil, missing("Model Version (name=%s, version=%s) not found", name, number)
}

func (s *Server) now() int64 { return s.config.Now().UnixMilli() }

func newID() string {
	var b [16]byte
	rand.Read(b[:]) //nolint:errcheck // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

func (s *Server) createModel(p params) (any, error) {
	in, err := p.texts("name")
	if err != nil {
		return nil, err
	}
	name := in[0]
	if strings.ContainsAny(name, "/:") {
		return nil, invalid("Invalid model name '%s'. Names cannot contain '/' or ':'.", name)
	}
	if _, ok := s.state.models[name]; ok {
		return nil, &failure{http.StatusBadRequest, "RESOURCE_ALREADY_EXISTS", fmt.Sprintf("Registered Model (name=%s) already exists.", name)}
	}
	description, err := p.text("description")
	if err != nil {
		return nil, err
	}
	m := &model{name: name, created: s.now(), updated: s.now(), description: description, tags: p.tags("tags"), aliases: map[string]int{}}
	s.state.models[name] = m
	return oneModel{m.wire()}, nil
}

func (s *Server) getModel(p params) (any, error) {
	in, err := p.texts("name")
	if err != nil {
		return nil, err
	}
	m, err := s.state.model(in[0])
	if err != nil {
		return nil, err
	}
	return oneModel{m.wire()}, nil
}

func (s *Server) deleteModel(p params) (any, error) {
	in, err := p.texts("name")
	if err != nil {
		return nil, err
	}
	if _, err := s.state.model(in[0]); err != nil {
		return nil, err
	}
	delete(s.state.models, in[0])
	return nothing{}, nil
}

func (s *Server) getLatest(p params) (any, error) {
	in, err := p.texts("name")
	if err != nil {
		return nil, err
	}
	m, err := s.state.model(in[0])
	if err != nil {
		return nil, err
	}
	of := stages
	if asked := p.list("stages"); len(asked) > 0 {
		of = nil
		for _, a := range asked {
			stage, err := canonicalStage(a)
			if err != nil {
				return nil, err
			}
			of = append(of, stage)
		}
	}
	return manyVersions{Versions: m.latest(of, true)}, nil
}

func canonicalStage(s string) (string, error) {
	for _, stage := range stages {
		if strings.EqualFold(s, stage) {
			return stage, nil
		}
	}
	return "", invalid("Invalid Model Version stage: %s. Value must be one of None, Staging, Production, Archived.", s)
}

var (
	aliasPattern    = regexp.MustCompile(`^[A-Za-z0-9_-]{1,255}$`)
	numberedPattern = regexp.MustCompile(`^[vV][0-9]+$`)
)

func checkAlias(alias string) error {
	switch {
	case !aliasPattern.MatchString(alias):
		return invalid("Invalid alias name: '%s'. Names may only contain alphanumerics, underscores (_), and dashes (-).", alias)
	case strings.EqualFold(alias, "latest"):
		return invalid("'latest' alias name (case insensitive) is reserved.")
	case numberedPattern.MatchString(alias):
		return invalid("Version alias name '%s' is reserved.", alias)
	}
	return nil
}

func (s *Server) setAlias(p params) (any, error) {
	in, err := p.texts("name", "alias", "version")
	if err != nil {
		return nil, err
	}
	if err := checkAlias(in[1]); err != nil {
		return nil, err
	}
	m, v, err := s.state.version(in[0], in[2])
	if err != nil {
		return nil, err
	}
	m.aliases[in[1]] = v.number
	return nothing{}, nil
}

func (s *Server) getAlias(p params) (any, error) {
	in, err := p.texts("name", "alias")
	if err != nil {
		return nil, err
	}
	m, err := s.state.model(in[0])
	if err != nil {
		return nil, err
	}
	number, ok := m.aliases[in[1]]
	if !ok {
		return nil, invalid("Registered model alias %s not found.", in[1])
	}
	_, v, err := s.state.version(in[0], strconv.Itoa(number))
	if err != nil {
		return nil, err
	}
	return oneVersion{m.wireVersion(v, true)}, nil
}

func (s *Server) deleteAlias(p params) (any, error) {
	in, err := p.texts("name", "alias")
	if err != nil {
		return nil, err
	}
	m, err := s.state.model(in[0])
	if err != nil {
		return nil, err
	}
	delete(m.aliases, in[1])
	return nothing{}, nil
}
