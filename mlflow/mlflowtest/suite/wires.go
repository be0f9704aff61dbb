package suite

import (
	"encoding/json"
	"fmt"
	"net/http"
)

const (
	api   = "/api/2.0/mlflow/"
	proxy = "/api/2.0/mlflow-artifacts/"
)

// wires are about what goes over the wire, which other clients see too.
var wires = []kase{
	{"an empty result is {}", func(b *bench) {
		b.send("GET", api+"model-versions/search?filter=name%3D%27nope%27", "").same(b, 200, `{}`)
		b.send("GET", proxy+"artifacts?path=0/models/m-nope", "").same(b, 200, `{}`)
	}},
	{"a version's fields", func(b *bench) {
		b.pointed(1)
		r := b.send("GET", api+"model-versions/get?name="+string(b.name)+"&version=1", "")
		r.is(b, 200, "application/json", `"version": "1"`)
		var out struct {
			Version map[string]any `json:"model_version"`
		}
		b.ok(json.Unmarshal(r.body, &out))
		for _, absent := range []string{"aliases", "tags", "model_id", "status_message"} {
			if v, ok := out.Version[absent]; ok {
				b.Fatalf("%s is there: %v", absent, v)
			}
		}
		for _, present := range []string{"creation_timestamp", "last_updated_timestamp"} {
			if _, ok := out.Version[present].(float64); !ok {
				b.Fatalf("%s is %v, want a number", present, out.Version[present])
			}
		}
	}},
	{"DELETE reads its body only", func(b *bench) {
		b.send("DELETE", api+"registered-models/alias?name=x&alias=y", "").is(b, 400, "application/json", "Missing value for required parameter 'name'")
	}},
	{"numbers are no strings", func(b *bench) {
		b.pointed(1)
		b.send("POST", api+"registered-models/alias", `{"name":"`+string(b.name)+`","alias":"a","version":1}`).is(b, 400, "application/json", "Value was of type 'int'")
	}},
	{"other content types", func(b *bench) {
		b.send("POST", api+"registered-models/alias", `{"name":"x","alias":"a","version":"1"}`, "Content-Type", "text/plain").is(b, 400, "application/json", "Content-Type must be one of")
	}},
	{"a malformed body counts as empty", func(b *bench) {
		b.send("POST", api+"registered-models/alias", `{bad`).is(b, 400, "application/json", "Missing value for required parameter 'name'")
	}},
	{"version numbers", func(b *bench) {
		b.pointed(1)
		b.send("GET", api+"model-versions/get?name="+string(b.name)+"&version=abc", "").is(b, 400, "application/json", "must be an integer")
	}},
	{"a missing alias is a 400", func(b *bench) {
		b.pointed(1)
		b.send("GET", api+"registered-models/alias?alias=nope&name="+string(b.name), "").is(b, 400, "application/json", "alias nope not found")
	}},
	{"unknown routes and methods are pages", func(b *bench) {
		b.send("GET", api+"nope", "").is(b, 404, "text/html", "<title>404 Not Found</title>")
		b.send("POST", api+"registered-models/get", `{"name":"x"}`).is(b, 405, "text/html", "Method Not Allowed")
	}},
	{"the host check spares the health check", func(b *bench) {
		b.send("GET", api+"registered-models/get?name=x", "", "Host", "mlflow.example.com").is(b, 403, "text/plain", "Invalid Host header")
		b.send("GET", "/health", "", "Host", "mlflow.example.com").is(b, 200, "text/plain", "OK")
		b.send("GET", api+"registered-models/get?name=nope-"+string(b.name), "", "Host", "10.1.2.3:5000").is(b, 404, "application/json", "not found")
	}},
	{"a foreign origin", func(b *bench) {
		b.send("POST", api+"registered-models/get-latest-versions", `{"name":"x"}`, "Origin", "https://evil.example").is(b, 403, "text/plain", "Cross-origin")
	}},
	{"listings", func(b *bench) {
		root := b.root()
		b.send("GET", proxy+"artifacts?path="+root+"/MLmodel", "").same(b, 200, `{}`)
		b.send("GET", proxy+"artifacts?path="+root+"/code/pkg", "").same(b, 200, `{"files":[{"path":"__init__.py","is_dir":false},{"path":"inner","is_dir":true}]}`)
		b.send("GET", proxy+"artifacts?path=..%2f", "").is(b, 400, "application/json", "Invalid path")
	}},
	{"a logged model's listing is relative to the model", func(b *bench) {
		v := b.registered(1)[0]
		want := fmt.Sprintf(`{"root_uri":"mlflow-artifacts:/0/models/%s/artifacts","files":[{"path":"code/pkg","is_dir":true}]}`, v.ModelID)
		b.send("GET", api+"logged-models/"+v.ModelID+"/artifacts/directories?artifact_directory_path=code", "").same(b, 200, want)
	}},
	{"getting a folder, nothing, and elsewhere", func(b *bench) {
		root := b.root()
		b.send("GET", proxy+"artifacts/"+root, "").is(b, 400, "application/json", `"detail"`)
		b.send("GET", proxy+"artifacts/"+root+"/nope", "").is(b, 404, "application/json", "No such artifact")
		b.send("GET", proxy+"artifacts/1/..%2f..%2fetc/passwd", "").is(b, 400, "application/json", "Invalid path")
		b.send("GET", proxy+"artifacts/"+root+"/a%23b", "").is(b, 400, "application/json", "Invalid path")
	}},
	{"ranges, for the same file only", func(b *bench) {
		path := proxy + "artifacts/" + b.root() + "/requirements.txt"
		whole := b.send("GET", path, "")
		tag := whole.header.Get("ETag")
		part := b.send("GET", path, "", "Range", "bytes=5-", "If-Range", tag)
		if part.status != http.StatusPartialContent || string(part.body) != string(whole.body[5:]) || part.header.Get("ETag") != tag {
			b.Fatalf("got %d %q %q", part.status, part.header.Get("ETag"), part.body)
		}
		if other := b.send("GET", path, "", "Range", "bytes=5-", "If-Range", `"other"`); other.status != 200 || string(other.body) != string(whole.body) {
			b.Fatalf("another tag gave %d %q", other.status, other.body)
		}
		if same := b.send("GET", path, "", "If-None-Match", tag); same.status != 200 {
			b.Fatalf("If-None-Match gave %d", same.status)
		}
		if beyond := b.send("GET", path, "", "Range", "bytes=9999-"); beyond.status != http.StatusRequestedRangeNotSatisfiable {
			b.Fatalf("beyond the end gave %d", beyond.status)
		}
	}},
	{"no presigned URLs for local disk", func(b *bench) {
		b.send("GET", proxy+"presigned/"+b.root()+"/MLmodel", "").is(b, 501, "application/json", "NOT_IMPLEMENTED")
		var info map[string]any
		b.ok(json.Unmarshal(b.send("GET", "/api/3.0/mlflow/server-info", "").body, &info))
		if info["multipart_downloads_enabled"] != false {
			b.Fatalf("server-info says %v", info)
		}
	}},
	{"one file of a version", func(b *bench) {
		b.registered(1)
		route := "/model-versions/get-artifact?name=" + string(b.name)
		b.send("GET", route+"&version=1&path=requirements.txt", "").is(b, 200, "text/plain", "mlflow==")
		b.send("GET", route+"&version=1&path=nope", "").is(b, 404, "application/json", "No such artifact")
		b.send("GET", route+"&version=9&path=x", "").is(b, 404, "application/json", "version=9")
		b.send("GET", route+"&version=1", "").is(b, 400, "text/html", "400 Bad Request")
	}},
	{"a logged model's file has no /api route", func(b *bench) {
		v := b.registered(1)[0]
		route := "/2.0/mlflow/logged-models/" + v.ModelID + "/artifacts/files?artifact_file_path=requirements.txt"
		b.send("GET", "/ajax-api"+route, "").is(b, 200, "text/plain", "mlflow==")
		b.send("GET", "/api"+route, "").is(b, 404, "text/html", "404")
	}},
	{"a logged model's versions are in a tag", func(b *bench) {
		v := b.registered(1)[0]
		b.send("GET", api+"logged-models/"+v.ModelID, "").is(b, 200, "application/json", `mlflow.modelVersions`)
	}},
	{"the health check and the version", func(b *bench) {
		b.send("GET", "/health", "").is(b, 200, "text/plain", "OK")
		b.send("GET", "/version", "").is(b, 200, "text/html", "3.")
	}},
}

// root registers a version and returns its path in the proxy.
func (b *bench) root() string {
	b.Helper()
	return "0/models/" + b.registered(1)[0].ModelID + "/artifacts"
}

// same compares a JSON answer, whatever its spacing.
func (r reply) same(b *bench, status int, want string) {
	b.Helper()
	var got, wanted any
	b.ok(json.Unmarshal([]byte(want), &wanted))
	if err := json.Unmarshal(r.body, &got); err != nil || r.status != status || fmt.Sprint(got) != fmt.Sprint(wanted) {
		b.Fatalf("got %d %s; want %d %s", r.status, r.body, status, want)
	}
}
