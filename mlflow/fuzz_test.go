package mlflow_test

import (
	"encoding/json"
	"path"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/slipway-dev/slipway/mlflow"
)

// safe fails when a path could lead out of the folder it is put into.
func safe(t *testing.T, p string) {
	t.Helper()
	if p == "" || path.Clean(p) != p || path.IsAbs(p) || p == ".." || strings.HasPrefix(p, "../") || strings.ContainsAny(p, "\\\x00\n\r") || !utf8.ValidString(p) || len(p) > 2048 {
		t.Fatalf("the path %q passed", p)
	}
}

// A listing gives safe paths, all different, or an error.
func FuzzListing(f *testing.F) {
	for _, s := range []string{`{}`, `{"files":[{"path":"MLmodel","file_size":1232},{"path":"code","is_dir":true}]}`, `{"files":[{"path":"../x"}]}`,
		`{"files":[{"path":"a"},{"path":"A"}]}`, `{"files":[{"path":"/etc/passwd"}]}`, `{"files":[{"path":"a\\b"}]}`, `{"files":[{"path":"\u0000"}]}`,
		`{"files":[{"path":"x","file_size":9223372036854775807},{"path":"y","file_size":9223372036854775807}]}`, `{"files":[{"path":"d/code/mypkg","is_dir":true}]}`, `[`} {
		f.Add([]byte(s), "", "", true)
		f.Add([]byte(s), "code", "d", false)
	}
	f.Fuzz(func(t *testing.T, data []byte, dir, root string, names bool) {
		if mlflow.CheckPath(dir) != nil || mlflow.CheckPath(root) != nil {
			return // the client asks for folders it has checked
		}
		paths, err := mlflow.Listed(data, dir, root, names)
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, p := range paths {
			safe(t, p)
			if folded := strings.ToLower(p); seen[folded] {
				t.Fatalf("%q passed twice", p)
			} else {
				seen[folded] = true
			}
			if dir != "" && !strings.HasPrefix(p, dir+"/") {
				t.Fatalf("%q is not in %q", p, dir)
			}
		}
	})
}

// An error's body becomes one printable, bounded line.
func FuzzFailure(f *testing.F) {
	for _, s := range []string{"", "Permission denied", `{"error_code":"X","message":"y"}`, `{"detail":"a\u001b[31m"}`, `{"detail":{"a":1}}`, `null`, `[]`,
		"<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>", "<html><head><script>x</script></head><body>log <b>in</b>", "<title>" + strings.Repeat("<", 100), "\xff\xfe"} {
		f.Add([]byte(s), "text/html")
		f.Add([]byte(s), "application/json")
	}
	f.Fuzz(func(t *testing.T, body []byte, media string) {
		code, text := mlflow.FailureText(body, media)
		for _, s := range []string{code, text} {
			if len([]rune(s)) > 301 || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Fatalf("%q is not fit to print", s)
			}
		}
	})
}

// A version that passes can be put into paths, tags and commands.
func FuzzVersion(f *testing.F) {
	for _, s := range []string{`{"name":"iris","version":"1","source":"models:/m-8c9da87512554d74a341b14a517f4c9b","run_id":"af1a51320a0e415bb5d99933a38d60c1"}`,
		`{"name":"iris","version":1}`, `{"name":"../x","version":"1"}`, `{"name":"a","version":"1;x"}`, `{"name":"é","version":"1","run_id":"../../x"}`,
		`{"name":"a","version":"1","source":"models:/m-../x"}`, `{}`, `{"name":"a","version":null}`, `{"name":"a","version":"1","creation_timestamp":9223372036854775807}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := mlflow.VersionFrom(data)
		if err != nil {
			return
		}
		if strings.ContainsAny(string(v.Name), "/:\n\x00") || v.Name == "" || strings.Trim(string(v.Version), "0123456789") != "" || v.Version == "" ||
			strings.ContainsAny(v.RunID+v.ModelID, "/. \n\x00") {
			t.Fatalf("passed: %+v", v)
		}
		if _, err := json.Marshal(v); err != nil && !strings.Contains(err.Error(), "year") { // a time beyond year 9999 has no JSON
			t.Fatal(err)
		}
	})
}

// An address in the proxy gives a safe path, or an error.
func FuzzArtifactURI(f *testing.F) {
	for _, s := range []string{"mlflow-artifacts:/1/models/m-1/artifacts", "mlflow-artifacts://host:1/x", "mlflow-artifacts:/..", "mlflow-artifacts:/%2e%2e/x",
		"mlflow-artifacts:///x", "mlflow-artifacts://u:p@h/x", "mlflow-artifacts:/x?y#z", "mlflow-artifacts:x", "mlflow-artifacts://[::1]:1/x", "mlflow-artifacts:/a//b", "mlflow-artifacts:/..0"} {
		f.Add(s)
	}
	m := client(f, mlflow.Config{URI: "https://mlflow.example"})
	f.Fuzz(func(t *testing.T, uri string) {
		server, root, err := mlflow.Proxied(m, uri)
		if err != nil {
			return
		}
		if root != "" {
			safe(t, root)
		}
		if server != "" && (!strings.HasPrefix(server, "https://") || strings.ContainsAny(server, "@ \n")) {
			t.Fatalf("%q leads to %q", uri, server)
		}
	})
}

// A presigned URL that passes is encrypted and carries no user.
func FuzzPresignedURL(f *testing.F) {
	for _, s := range []string{"https://bucket.example/x?X-Amz-Signature=s", "http://bucket.example/x", "file:///etc/passwd", "https://u:p@h/", "https:///x", "//h/x", "https://h\n/x"} {
		f.Add(s)
	}
	m := client(f, mlflow.Config{URI: "https://mlflow.example"})
	f.Fuzz(func(t *testing.T, s string) {
		if mlflow.CheckSigned(m, s) == nil && !strings.HasPrefix(strings.ToLower(s), "https://") {
			t.Fatalf("%q passed", s)
		}
	})
}

func FuzzCredentials(f *testing.F) {
	for _, s := range []string{"[mlflow]\nmlflow_tracking_username = u\nmlflow_tracking_password = p\n", "", "[mlflow", "mlflow_tracking_username = u", "[mlflow]\nx", "\xff\xfe[\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		u, p, err := mlflow.ParseCredentials(data)
		if err == nil && strings.ContainsAny(u+p, "\r\n\x00") {
			t.Fatalf("%q and %q would break a header", u, p)
		}
	})
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"7", "-1", "Mon, 23 Nov 2026 12:00:30 GMT", "99999999999999999999", "1e9", "NaN"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d := mlflow.ParseRetryAfter(s, time.Unix(0, 0)); d < 0 {
			t.Fatalf("%q gives %s", s, d)
		}
	})
}

// A journal that something else wrote names safe paths only.
func FuzzJournal(f *testing.F) {
	for _, s := range []string{"", `{"path":"MLmodel","size":1,"sha256":"sha256:00"}` + "\n", `{"path":"../x","sha256":"sha256:00"}`, "{\"path\":\"a\"", "\x00\n\n{}", strings.Repeat("x", 100_000)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, journal string) {
		paths, err := mlflow.Replayed(journal)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range paths {
			safe(t, p)
		}
	})
}
