package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"time"
)

// answer is what a target said to one request.
type answer struct {
	version     string // X-Model-Version
	predictions json.RawMessage
}

// fresh opens a connection for every request.
var fresh = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}

// ask sends records to /invocations of the target.
func ask(client *http.Client, address string, records any) (answer, error) {
	body, err := json.Marshal(map[string]any{"dataframe_records": records})
	if err != nil {
		return answer{}, err
	}
	resp, err := client.Post("http://"+address+"/invocations", "application/json", bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return answer{}, fmt.Errorf("status %d: %s", resp.StatusCode, data)
	}
	var reply struct {
		Predictions json.RawMessage `json:"predictions"`
	}
	if err := json.Unmarshal(data, &reply); err != nil {
		return answer{}, err
	}
	return answer{resp.Header.Get("X-Model-Version"), reply.Predictions}, nil
}

// differs says where got is not want: numbers within 1e-9 relative, all else
// exactly. It is empty when they agree.
func differs(want, got any, at string) string {
	switch w := want.(type) {
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return fmt.Sprintf("%s: got %v, want %v", at, got, want)
		}
		for i := range w {
			if d := differs(w[i], g[i], fmt.Sprintf("%s[%d]", at, i)); d != "" {
				return d
			}
		}
		return ""
	case float64:
		g, ok := got.(float64)
		if !ok || math.Abs(g-w) > 1e-9*math.Max(math.Abs(w), 1e-300) {
			return fmt.Sprintf("%s: got %v, want %v", at, got, want)
		}
		return ""
	}
	if want != got {
		return fmt.Sprintf("%s: got %v, want %v", at, got, want)
	}
	return ""
}

func differsJSON(want, got json.RawMessage) string {
	var w, g any
	if err := json.Unmarshal(want, &w); err != nil {
		return err.Error()
	}
	if err := json.Unmarshal(got, &g); err != nil {
		return err.Error()
	}
	return differs(w, g, "answer")
}
