package mlflowtest

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	hookTries   = 4        // MLFLOW_WEBHOOK_REQUEST_MAX_RETRIES is 3
	maxHookBody = 64 << 10 // bytes of a receiver's answer
)

// examples are the data of MLflow's test events that a deployment would see
// (mlflow/webhooks/types.py).
var examples = map[wireEvent]string{
	{"MODEL_VERSION_ALIAS", "CREATED"}: `{"name": "example_model", "alias": "example_alias", "version": "1"}`,
	{"MODEL_VERSION_ALIAS", "DELETED"}: `{"name": "example_model", "alias": "example_alias"}`,
	{"MODEL_VERSION", "CREATED"}: `{"name": "example_model", "version": "1", "source": "models:/123", "run_id": "abcd1234abcd5678", ` +
		`"tags": {"example_key": "example_value"}, "description": "An example model version"}`,
}

// testWebhook sends a test event, without the state being locked meanwhile:
// the receiver may ask us something.
func (s *Server) testWebhook(w http.ResponseWriter, r *http.Request) {
	p, err := readParams(r)
	if err != nil {
		refuse(w, err)
		return
	}
	s.mu.Lock()
	h, err := s.state.webhook(r.PathValue("id"))
	var copied webhook
	if err == nil {
		copied = *h
	}
	s.mu.Unlock()
	if err != nil {
		refuse(w, err)
		return
	}
	event := copied.events[0]
	if raw, ok := p.body["event"]; ok && json.Unmarshal(raw, &event) != nil {
		brokenPage(w)
		return
	}
	respond(w, http.StatusOK, "application/json", string(ascii(encode(s.sendTest(r, copied, event), "  "))))
}

type wireTested struct {
	Result wireTest `json:"result"`
}

type wireTest struct {
	Success bool   `json:"success"`
	Status  int    `json:"response_status,omitempty"`
	Body    string `json:"response_body,omitempty"`
	Error   string `json:"error_message,omitempty"`
}

func (s *Server) sendTest(r *http.Request, h webhook, event wireEvent) wireTested {
	if err := s.checkHookURL(h.url); err != nil {
		return wireTested{wireTest{Error: fmt.Sprintf("Failed to test webhook: MlflowException(%q)", err)}}
	}
	body := fmt.Appendf(nil, `{"entity": "%s", "action": "%s", "timestamp": "%s", "data": %s}`, strings.ToLower(event.Entity), strings.ToLower(event.Action),
		s.config.Now().UTC().Format("2006-01-02T15:04:05.000000-07:00"), orEmpty(examples[event]))
	id, at := newUUID(), fmt.Sprint(s.config.Now().Unix())
	var last wireTest
	for range hookTries { // MLflow waits in between
		if last = send(r, h, id, at, body); !slices.Contains([]int{429, 500, 502, 503, 504}, last.Status) {
			break
		}
	}
	return wireTested{last}
}

func orEmpty(data string) string {
	if data == "" {
		return "{}"
	}
	return data
}

// send makes one delivery, as mlflow/webhooks/delivery.py does.
func send(r *http.Request, h webhook, id, at string, body []byte) wireTest {
	req, err := http.NewRequestWithContext(r.Context(), http.MethodPost, h.url, bytes.NewReader(body))
	if err != nil {
		return wireTest{Error: fmt.Sprintf("Failed to test webhook: %v", err)}
	}
	req.Header = http.Header{"Content-Type": {"application/json"}, "User-Agent": {"python-requests/2.34.2"},
		"X-Mlflow-Delivery-Id": {id}, "X-Mlflow-Timestamp": {at}}
	if h.secret != "" {
		req.Header.Set("X-Mlflow-Signature", Sign(h.secret, id, at, body))
	}
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return wireTest{Error: fmt.Sprintf("Failed to test webhook: ConnectionError(%q)", err)}
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxHookBody))
	if err != nil {
		return wireTest{Error: fmt.Sprintf("Failed to test webhook: ConnectionError(%q)", err)}
	}
	return wireTest{Success: res.StatusCode < 400, Status: res.StatusCode, Body: string(answer)}
}

// Sign is the value of X-MLflow-Signature: HMAC-SHA256 over delivery
// identifier, time and body, joined by dots, under the secret's own bytes.
func Sign(secret, id, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%s.%s.%s", id, timestamp, body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
