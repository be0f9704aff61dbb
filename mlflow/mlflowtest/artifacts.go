package mlflowtest

import (
	"bytes"
	"crypto/md5" //nolint:gosec // names a version of a file, as the server does; no secret depends on it
	"encoding/hex"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
)

const maxUpload = 4 << 30 // bytes of one file

// file is a stored artifact. Its bytes never change: a new one replaces it.
type file struct {
	data     []byte
	modified time.Time
}

// tag is the ETag: of time and size, as the server's.
func (f *file) tag() string {
	sum := md5.Sum(fmt.Appendf(nil, "%d-%d", f.modified.UnixNano(), len(f.data))) //nolint:gosec // as above
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

type listing struct {
	Root  string       `json:"root_uri,omitempty"`
	Files []listedFile `json:"files,omitempty"`
}

type listedFile struct {
	Path string `json:"path"`
	Dir  bool   `json:"is_dir"`
	Size int64  `json:"file_size,omitempty"`
}

// list returns what is directly in the folder. A folder that is not there, and
// a file, give an empty list. Paths begin at base.
func (s *state) list(dir, base string) []listedFile {
	inside := map[string]listedFile{}
	for address, f := range s.files {
		rest, ok := strings.CutPrefix(address, dir+"/")
		if !ok {
			continue
		}
		name, _, deeper := strings.Cut(rest, "/")
		entry := listedFile{Path: strings.TrimPrefix(path.Join(base, name), "/"), Dir: deeper}
		if !deeper {
			entry.Size = int64(len(f.data))
		}
		inside[name] = entry
	}
	var files []listedFile
	for _, f := range inside {
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b listedFile) int { return strings.Compare(a.Path, b.Path) })
	return files
}

func (s *Server) file(address string) (*file, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.state.files[address]
	return f, ok
}

func (s *Server) isDir(address string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.state.list(address, "")) > 0
}

// address is the key in files of what a location in the proxy, or elsewhere, names.
func address(location string) string {
	return strings.Trim(strings.TrimPrefix(location, "mlflow-artifacts:"), "/")
}

// safePath unquotes again and again, as the server does, and refuses what
// leads elsewhere.
func safePath(p string) (string, error) {
	for {
		plain, err := url.PathUnescape(p)
		if err != nil || plain == p {
			break
		}
		p = plain
	}
	if strings.ContainsAny(p, "#\x00") || strings.HasPrefix(p, "/") || slices.Contains(strings.Split(p, "/"), "..") {
		return "", invalid("Invalid path")
	}
	return p, nil
}

// artifacts is the proxy: rest is the path after mlflow-artifacts/.
func (s *Server) artifacts(w http.ResponseWriter, r *http.Request, rest string) {
	if rest == "artifacts" {
		s.listProxy(w, r)
		return
	}
	what, p, _ := strings.Cut(rest, "/")
	if what == "mpu" && !s.config.NoServeArtifacts {
		refuse(w, &failure{http.StatusNotImplemented, "NOT_IMPLEMENTED", "Multipart upload is not supported for the current artifact repository"})
		return
	}
	if s.config.NoServeArtifacts {
		respond(w, http.StatusServiceUnavailable, "application/json",
			`{"detail":"Artifact serving is disabled. Run `+"`mlflow server` with `--serve-artifacts`"+` to enable."}`)
		return
	}
	p, err := safePath(p)
	switch {
	case err != nil:
		refuse(w, err)
	case what == "artifacts" && r.Method == http.MethodGet:
		s.getProxy(w, r, p)
	case what == "artifacts" && r.Method == http.MethodPut:
		s.putProxy(w, r, p)
	case what == "presigned" && r.Method == http.MethodGet:
		s.presign(w, p)
	default:
		notFoundPage(w)
	}
}

func (s *Server) listProxy(w http.ResponseWriter, r *http.Request) {
	if s.config.NoServeArtifacts {
		respond(w, http.StatusServiceUnavailable, "text/html; charset=utf-8", "Endpoint: /api/2.0/mlflow-artifacts/artifacts disabled due to the mlflow server "+
			"running with `--no-serve-artifacts`. To enable artifacts server functionality, run `mlflow server` with `--serve-artifacts`")
		return
	}
	s.handle(methods{"GET": func(p params) (any, error) {
		dir, err := safePath(p.query.Get("path"))
		if err != nil {
			return nil, err
		}
		return listing{Files: s.state.list(strings.Trim(dir, "/"), "")}, nil
	}})(w, r)
}

func (s *Server) getProxy(w http.ResponseWriter, r *http.Request, p string) {
	f, ok := s.file(p)
	switch {
	case s.config.Storage != LocalDisk:
		s.streamS3(w, p, f)
	case ok:
		serveFile(w, r, p, f)
	case s.isDir(p):
		respond(w, http.StatusBadRequest, "application/json", fmt.Sprintf(`{"detail":"Artifact path refers to a directory, not a file: '%s'"}`, p))
	default:
		refuse(w, missing("No such artifact: '%s'", p))
	}
}

// serveFile is a file on the server's disk: with size, ETag and ranges.
func serveFile(w http.ResponseWriter, r *http.Request, name string, f *file) {
	r.Header.Del("If-None-Match") // the server does not look at these
	r.Header.Del("If-Modified-Since")
	h := w.Header()
	h.Set("Content-Type", mediaType(name))
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": path.Base(name)}))
	h.Set("ETag", f.tag())
	http.ServeContent(w, r, "", f.modified, bytes.NewReader(f.data))
}

// textSuffixes are shown as text by MLflow (mlflow.utils.mime_type_utils).
var textSuffixes = []string{".txt", ".log", ".yaml", ".yml", ".json", ".py", ".csv", ".md", ".rst", ".cfg", ".ini", ".toml", "MLmodel", "MLproject"}

func mediaType(name string) string {
	for _, suffix := range textSuffixes {
		if strings.HasSuffix(name, suffix) {
			return "text/plain"
		}
	}
	return "application/octet-stream"
}

// streamS3 is an object fetched from S3 by the server: chunked, whatever range
// is asked for; a missing one is a 500, a folder an empty answer.
func (s *Server) streamS3(w http.ResponseWriter, p string, f *file) {
	if f == nil && !s.isDir(p) {
		refuse(w, &failure{http.StatusInternalServerError, "INTERNAL_ERROR", fmt.Sprintf("The following failures occurred while downloading one or more artifacts from s3://bucket/mlflow:\n"+
			"##### File %s #####\nAn error occurred (404) when calling the HeadObject operation: Not Found", p)})
		return
	}
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": path.Base(p)}))
	w.Header().Set("Content-Type", mediaType(p))
	w.WriteHeader(http.StatusOK)
	http.NewResponseController(w).Flush() //nolint:errcheck // makes the answer chunked; a client that went away is its own affair
	if f != nil {
		w.Write(f.data) //nolint:errcheck // as above
	}
}

func (s *Server) putProxy(w http.ResponseWriter, r *http.Request, p string) {
	if p == "" || strings.HasSuffix(p, "/") {
		respond(w, http.StatusBadRequest, "application/json", `{"detail":"Artifact path must include a filename (cannot end with '/')."}`)
		return
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxUpload))
	if err != nil {
		brokenPage(w)
		return
	}
	s.SetFile(p, data)
	w.WriteHeader(http.StatusOK)
}

// listLogged lists a folder of a logged model; paths begin at the model.
func (s *Server) listLogged(id string, p params) (any, error) {
	l, err := s.state.loggedModel(id)
	if err != nil {
		return nil, err
	}
	dir, err := safePath(p.query.Get("artifact_directory_path"))
	if err != nil {
		return nil, err
	}
	return listing{Root: l.location, Files: s.state.list(strings.TrimSuffix(address(l.location)+"/"+dir, "/"), dir)}, nil
}

// listRun lists a folder of a run's artifacts; paths begin at the run.
func (s *Server) listRun(p params) (any, error) {
	in, err := p.texts("run_id")
	if err != nil {
		return nil, err
	}
	r, err := s.state.run(in[0])
	if err != nil {
		return nil, err
	}
	dir, err := safePath(p.query.Get("path"))
	if err != nil {
		return nil, err
	}
	return listing{Root: r.location, Files: s.state.list(strings.TrimSuffix(address(r.location)+"/"+dir, "/"), dir)}, nil
}

func (s *Server) loggedFile(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	l, err := s.state.loggedModel(r.PathValue("id"))
	s.mu.Unlock()
	if err != nil {
		refuse(w, err)
		return
	}
	s.sendFile(w, r, l.location, r.URL.Query().Get("artifact_file_path"))
}

// versionFile is the route of MLflow's own pages: the server reads the file
// with its own keys, wherever it is.
func (s *Server) versionFile(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if !q.Has("path") {
		page(w, http.StatusBadRequest, "The browser (or proxy) sent a request that this server could not understand.")
		return
	}
	location, err := s.versionLocation(q.Get("name"), q.Get("version"))
	if err != nil {
		refuse(w, err)
		return
	}
	s.sendFile(w, r, location, q.Get("path"))
}

func (s *Server) versionLocation(name, number string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, v, err := s.state.version(name, number)
	if err != nil {
		return "", err
	}
	return v.location, nil
}

func (s *Server) sendFile(w http.ResponseWriter, r *http.Request, location, p string) {
	p, err := safePath(p)
	if err != nil {
		refuse(w, err)
		return
	}
	full := address(location) + "/" + p
	f, ok := s.file(full)
	switch {
	case ok:
		w.Header().Set("Cache-Control", "no-cache")
		serveFile(w, r, p, f)
	case strings.Contains(location, "://"):
		brokenPage(w) // the server's library raised
	case s.isDir(full):
		refuse(w, invalid("Artifact path refers to a directory, not a file: '%s'", full))
	default:
		refuse(w, missing("No such artifact: '%s'", full))
	}
}
