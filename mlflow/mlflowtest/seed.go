package mlflowtest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
)

// AddVersion stores the model directory as a logged model and registers it as
// the next version of the model, which is made when it is missing. An
// identifier in the MLmodel file is replaced.
func (s *Server) AddVersion(name, dir string) (number string, err error) {
	files, err := readDir(dir)
	if err != nil {
		return "", fmt.Errorf("reading the model directory %s: %w", dir, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.newLogged("model", "")
	for path, data := range files {
		if path == "MLmodel" {
			data = modelIDLine.ReplaceAllLiteral(data, []byte("model_id: "+l.id))
		}
		s.state.files[address(l.location)+"/"+path] = &file{data: data, modified: s.config.Now()}
	}
	l.status = "LOGGED_MODEL_READY"
	m, ok := s.state.models[name]
	if !ok {
		m = &model{name: name, created: s.now(), updated: s.now(), aliases: map[string]int{}}
		s.state.models[name] = m
	}
	v := &version{source: "models:/" + l.id, location: l.location, runID: l.runID, stage: "None", status: "READY", created: s.now(), updated: s.now()}
	m.add(v)
	s.state.tagLogged(l.id, name, v.number)
	return strconv.Itoa(v.number), nil
}

var modelIDLine = regexp.MustCompile(`(?m)^model_id:.*$`)

func readDir(dir string) (map[string][]byte, error) {
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		files[filepath.ToSlash(rel)], err = os.ReadFile(path)
		return err
	})
	return files, err
}

// SetFile stores an artifact: at a path of the proxy ("0/RUN/artifacts/x") or
// at an address elsewhere that the server is to have the keys of ("s3://b/k").
func (s *Server) SetFile(address string, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.files[address] = &file{data: data, modified: s.config.Now()}
}

// RemoveFile removes an artifact.
func (s *Server) RemoveFile(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.state.files, address)
}

// Files returns the addresses of all artifacts.
func (s *Server) Files() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for a := range s.state.files {
		all = append(all, a)
	}
	return all
}

// SetStatus gives a version the status of a registration that is not done:
// PENDING_REGISTRATION, FAILED_REGISTRATION. MLflow itself always says READY;
// other model registries do not.
func (s *Server) SetStatus(name, version, status, message string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, v, err := s.state.version(name, version)
	if err == nil {
		v.status, v.statusMessage = status, message
	}
	return err
}

// SetLocation changes what get-download-uri says of a version.
func (s *Server) SetLocation(name, version, uri string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, v, err := s.state.version(name, version)
	if err == nil {
		v.location = uri
	}
	return err
}

// SetLoggedStatus changes a logged model's status: LOGGED_MODEL_PENDING.
func (s *Server) SetLoggedStatus(id, status string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := s.state.loggedModel(id)
	if err == nil {
		l.status = status
	}
	return err
}
