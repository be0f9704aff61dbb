package mlflowtest

import (
	"net/http"
	"strings"
)

// methods are the handlers of one path.
type methods map[string]func(params) (any, error)

// route fills the table of the API. Every path exists twice.
func (s *Server) route() {
	table := map[string]methods{
		"registered-models/create":              {"POST": s.createModel},
		"registered-models/get":                 {"GET": s.getModel},
		"registered-models/delete":              {"DELETE": s.deleteModel},
		"registered-models/search":              {"GET": s.searchModels},
		"registered-models/get-latest-versions": {"GET": s.getLatest, "POST": s.getLatest},
		"registered-models/alias":               {"GET": s.getAlias, "POST": s.setAlias, "DELETE": s.deleteAlias},
		"model-versions/create":                 {"POST": s.createVersion},
		"model-versions/get":                    {"GET": s.getVersion},
		"model-versions/update":                 {"PATCH": s.updateVersion},
		"model-versions/delete":                 {"DELETE": s.deleteVersion},
		"model-versions/search":                 {"GET": s.searchVersions},
		"model-versions/get-download-uri":       {"GET": s.downloadURI},
		"model-versions/transition-stage":       {"POST": s.transition},
		"model-versions/set-tag":                {"POST": s.setTag},
		"model-versions/delete-tag":             {"DELETE": s.deleteTag},
		"logged-models":                         {"POST": s.createLogged},
		"runs/create":                           {"POST": s.createRun},
		"runs/get":                              {"GET": s.getRun},
		"runs/outputs":                          {"POST": s.logOutputs},
		"artifacts/list":                        {"GET": s.listRun},
		"webhooks":                              {"GET": s.listWebhooks, "POST": s.createWebhook},
	}
	for _, prefix := range []string{"/api/2.0/mlflow/", "/ajax-api/2.0/mlflow/"} {
		for path, m := range table {
			s.mux.HandleFunc(prefix+path, s.handle(m))
		}
		s.mux.HandleFunc(prefix+"logged-models/{id}", s.handleOne(map[string]func(string, params) (any, error){"GET": s.getLogged, "PATCH": s.finalizeLogged}))
		s.mux.HandleFunc(prefix+"webhooks/{id}", s.handleOne(map[string]func(string, params) (any, error){"GET": s.getWebhook, "PATCH": s.updateWebhook, "DELETE": s.deleteWebhook}))
		s.mux.HandleFunc("POST "+prefix+"webhooks/{id}/test", s.testWebhook)
		s.mux.HandleFunc(prefix+"logged-models/{id}/artifacts/directories", s.handleOne(map[string]func(string, params) (any, error){"GET": s.listLogged}))
	}
	s.mux.HandleFunc("GET /ajax-api/2.0/mlflow/logged-models/{id}/artifacts/files", s.loggedFile)
	s.mux.HandleFunc("GET /model-versions/get-artifact", s.versionFile)
	s.mux.HandleFunc("GET /api/3.0/mlflow/server-info", s.serverInfo)
	s.mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) {
		respond(w, http.StatusOK, "text/html; charset=utf-8", Version)
	})
	s.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { notFoundPage(w) })
}

func (s *Server) handleOne(by map[string]func(string, params) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		m := methods{}
		for method, f := range by {
			m[method] = func(p params) (any, error) { return f(r.PathValue("id"), p) }
		}
		s.handle(m)(w, r)
	}
}

// handle runs a handler with the state locked, and encodes its answer there:
// answers share parts of the state.
func (s *Server) handle(m methods) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		f, ok := m[r.Method]
		if !ok {
			w.Header().Set("Allow", allowed(m))
			page(w, http.StatusMethodNotAllowed, "The method is not allowed for the requested URL.")
			return
		}
		p, err := readParams(r)
		var body []byte
		if err == nil {
			body, err = s.locked(f, p)
		}
		if err != nil {
			refuse(w, err)
			return
		}
		respond(w, http.StatusOK, "application/json", string(body))
	}
}

func (s *Server) locked(f func(params) (any, error), p params) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out, err := f(p)
	if err != nil {
		return nil, err
	}
	return ascii(encode(out, "  ")), nil
}

func allowed(m methods) string {
	names := []string{"OPTIONS"}
	for _, name := range []string{"GET", "POST", "PATCH", "DELETE"} {
		if _, ok := m[name]; ok {
			names = append(names, name)
		}
	}
	if _, ok := m["GET"]; ok {
		names = append(names, "HEAD")
	}
	return strings.Join(names, ", ")
}

func (s *Server) serverInfo(w http.ResponseWriter, _ *http.Request) {
	signs := s.config.Storage == S3Presigned && !s.config.NoServeArtifacts
	info := struct {
		Store      string `json:"store_type"`
		Workspaces bool   `json:"workspaces_enabled"`
		Uploads    bool   `json:"multipart_uploads_enabled"`
		Downloads  bool   `json:"multipart_downloads_enabled"`
		ByRun      bool   `json:"presigned_upload_run_id_supported"`
		ByModel    bool   `json:"presigned_upload_model_id_supported"`
	}{"SqlStore", false, signs, signs, true, true}
	respond(w, http.StatusOK, "application/json", string(encode(info, "")))
}
