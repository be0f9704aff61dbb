package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/mlflow/mlflowtest"
)

// TestRelayScripts runs testdata/relay: slipway relay as users run it, which
// goes on until it is stopped.
func TestRelayScripts(t *testing.T) {
	t.Parallel()
	server := buildServer(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/relay",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			address, err := e2e.Address()
			env.Setenv("RELAY", address)
			if err != nil {
				return err
			}
			return setUp(env, server)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"register": register, "promote": promote, "hastag": hasTag, "exits": exits, "await": await},
	})
}

// await asks an address until its answer has the texts: await URL TEXT…
func await(ts *testscript.TestScript, _ bool, args []string) {
	text := ""
	limit := time.After(2 * time.Minute)
	for {
		if res, err := http.Get(args[0]); err == nil {
			body, err := io.ReadAll(res.Body)
			res.Body.Close()
			ts.Check(err)
			if text = string(body); hasAll(text, args[1:]) {
				return
			}
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-limit:
			ts.Fatalf("%s never has %q:\n%s", args[0], args[1:], text)
		}
	}
}

func hasAll(text string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}

// dispatches is a GitHub that tells what it is asked to start.
func dispatches(t *testing.T) (api string, got chan map[string]string) {
	t.Helper()
	got = make(chan map[string]string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Payload map[string]string `json:"client_payload"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.URL.Path != "/repos/ada/models/dispatches" || r.Header.Get("Authorization") != "Bearer gh-token" {
			t.Errorf("%s %s %v", r.Method, r.URL, err)
		}
		got <- body.Payload
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(server.Close)
	return server.URL, got
}

// A webhook starts the workflow at once, once, and a relay that comes after it
// does not start it again.
func TestRelayStartsTheWorkflow(t *testing.T) {
	t.Parallel()
	w := threeVersions(t)
	api, got := dispatches(t)
	dir := t.TempDir()
	address, err := e2e.Address()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "slipway.yaml")
	text := "relay: {start: github://ada/models}\nmodels:\n  - {model: models:/iris@champion, image: " + w.vars["IMAGES"] + "/iris, target: \"local://" + w.vars["ADDRESS"] + "\"}\n  - {model: models:/iris/3, target: \"local://" + w.vars["ADDRESS2"] + "\"}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	w.vars["SLIPWAY_WEBHOOK_SECRET"], w.vars["GH_TOKEN"], w.vars["GITHUB_API_URL"] = "old-secret-0123456 new-secret-0123456", "gh-token", api
	run := func(meanwhile func()) {
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan string, 1)
		go func() {
			code, out := w.slipway(ctx, nil, "relay", "--config", file, "--listen", address, "--poll", "1h", "--database", filepath.Join(dir, "relay.db"))
			ended <- fmt.Sprint(code, " ", out)
		}()
		awaitReady(t, address)
		meanwhile()
		stop()
		if out := <-ended; !strings.HasPrefix(out, "0 ") || strings.Contains(out, "secret-0123456") || strings.Contains(out, "gh-token") {
			t.Errorf("it ended with %s", out)
		}
	}
	run(func() {
		expect(t, <-got, "1") // by the first look
		if err := w.client.SetAlias(t.Context(), "iris", "champion", "2"); err != nil {
			t.Fatal(err)
		}
		if deliver(t, address, "a-guess", "one") || !deliver(t, address, "new-secret-0123456", "one") {
			t.Error("the wrong webhook is taken")
		}
		expect(t, <-got, "2") // the next look is in an hour
	})
	run(func() {
		if !deliver(t, address, "old-secret-0123456", "two") {
			t.Error("a webhook is not taken")
		}
		awaitPage(t, "http://"+address+"/metrics", `looks_total{result="answered"} 2`) // so that the first has come to its end
	})
	if len(got) > 0 {
		t.Errorf("the relay after it starts %v", <-got)
	}
}

// expect is what the workflow is to be told.
func expect(t *testing.T, got map[string]string, version string) {
	t.Helper()
	if len(got["start"]) != 26 {
		t.Errorf("start %q", got["start"])
	}
	delete(got, "start")
	want := map[string]string{"model": "models:/iris@champion", "environment": "production", "version": version}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func awaitReady(t *testing.T, address string) {
	t.Helper()
	awaitPage(t, "http://"+address+"/ready")
}

// awaitPage asks until the answer has the texts.
func awaitPage(t *testing.T, page string, texts ...string) {
	t.Helper()
	limit := time.After(2 * time.Minute)
	for {
		if res, err := http.Get(page); err == nil {
			body, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err == nil && hasAll(string(body), texts) {
				return
			}
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-limit:
			t.Fatalf("%s never has %q", page, texts)
		}
	}
}

// deliver sends what MLflow sends when iris@champion moves, and reports whether
// it is taken.
func deliver(t *testing.T, address, secret, id string) bool {
	t.Helper()
	body, at := `{"entity": "model_version_alias", "action": "created", "data": {"name": "iris", "alias": "champion", "version": "1"}}`, fmt.Sprint(time.Now().Unix())
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/webhook", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-MLflow-Delivery-Id", id)
	req.Header.Set("X-MLflow-Timestamp", at)
	req.Header.Set("X-MLflow-Signature", mlflowtest.Sign(secret, id, at, []byte(body)))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	return res.StatusCode == http.StatusOK
}

func TestParseStart(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"run": "run []", "github://ada/models": "github [ada models]", "azuredevops://ada/My%20Models/12": "azuredevops [ada My Models 12]",
		"": "", "github://ada": "", "github://ada/models/x": "", "gitlab://a/b": "", "azuredevops://a/b": "", "github://ada/": "", "Run": "", "github:ada/models": "", "azuredevops://a/%zz/1": "",
	} {
		got, err := parseStart(text)
		if want == "" {
			if slipway.CodeOf(err) != slipway.Invalid || slipway.HintOf(err) == "" {
				t.Errorf("%q: %v, %v", text, got, err)
			}
			continue
		}
		if said := fmt.Sprint(got.scheme, " ", got.names); err != nil || said != want {
			t.Errorf("%q: %s, %v; want %s", text, said, err, want)
		}
	}
}

func TestWhatTheEndOfAReleaseMeans(t *testing.T) {
	t.Parallel()
	failed := func(code string) []byte {
		return []byte(`[{"kind": "failed", "release": {"schemaVersion": 1, "failure": {"step": "validate", "code": "` + code + `", "problem": {"message": "m", "hint": "mend it"}}}, "message": "m"}]`)
	}
	const good, again, never = "good", "tried again", "never again"
	for _, tt := range []struct {
		name   string
		exit   int
		result []byte
		means  string
		says   string
	}{
		{"live", exitLive, nil, good, ""},
		{"rolled back", exitRolledBack, nil, good, ""},
		{"a person is needed", exitNeedsPerson, nil, never, "a person is needed; slipway explain"},
		{"wrong usage", exitUsage, nil, again, "the configuration is wrong: see the log; slipway doctor"},
		{"the model is bad", exitFailed, failed("invalid"), never, "validate: m; mend it"},
		{"the image registry is away", exitFailed, failed("unavailable"), again, "validate: m; mend it"},
		{"the disk is full", exitFailed, failed("exhausted"), again, "validate: m; mend it"},
		{"a password has expired", exitFailed, failed("unauthorized"), again, "validate: m; mend it"},
		{"nobody knows why", exitFailed, []byte("{"), again, "see the log; run it again; what was reached already is not done twice"},
		{"killed", -1, nil, again, ""},
		{"interrupted by somebody", exitInterrupted, nil, again, ""},
	} {
		err := runError(nil, tt.exit, tt.result)
		var ran ranError
		means := map[bool]string{true: never, false: again}[errors.As(err, &ran)]
		if err == nil {
			means = good
		}
		if means != tt.means || err != nil && !strings.HasSuffix(onOneLine(err), tt.says) {
			t.Errorf("%s: %s, %s; want %s, %s", tt.name, means, onOneLine(err), tt.means, tt.says)
		}
	}
}
