package serving

import (
	"fmt"
	"net/http"
	"strings"
)

// help says what this is.
func (s *Server) help(w http.ResponseWriter, r *http.Request) {
	s.text(w, http.StatusOK, fmt.Sprintf(`%s %s

POST /predict       predictions; GET /predict answers a request to copy
POST /invocations   the same in MLflow's scoring protocol
GET  /health        200 while the process is worth keeping
GET  /ready         200 once the model answers its golden predictions
GET  /metrics       for Prometheus
`, s.who.name, s.who.version))
}

// example answers a request to copy, made of the model's example.
func (s *Server) example(w http.ResponseWriter, r *http.Request) {
	m := s.state.Load()
	if m == nil {
		s.refuse(w, r, busy("The model is being loaded; try again in a second."))
		return
	}
	requests, err := m.about.Requests(1)
	if err != nil || len(requests) == 0 {
		s.text(w, http.StatusOK, "The model has no example and no signature to make one of.\n")
		return
	}
	body := string(requests[0])
	s.text(w, http.StatusOK, fmt.Sprintf("curl -s http://%s/predict -H 'Content-Type: application/json' -d '%s'\n\n%s\n",
		hostOf(r), strings.ReplaceAll(body, "'", `'\''`), body))
}

// hostOf returns the address the client used, if it is safe to paste into a shell.
func hostOf(r *http.Request) string {
	for _, c := range r.Host {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune(".:-[]", c)) {
			return "HOST"
		}
	}
	return r.Host
}
