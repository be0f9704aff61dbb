package suite

import (
	"fmt"
	"slices"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlflow"
)

// promotions are about how a reference becomes a version.
var promotions = []kase{
	{"a version by number", func(b *bench) {
		made := b.registered(1)[0]
		v, err := b.Resolve(b.ctx, b.ref("/1"))
		b.ok(err)
		want := slipway.ModelVersion{Name: b.name, Version: "1", ModelID: made.ModelID}
		if v.ModelVersion != want || v.ModelID == "" || v.Status != mlflow.ReadyStatus || v.Stage != "None" || v.Source != "models:/"+v.ModelID {
			b.Fatalf("got %+v, want %+v, READY, in no stage", v, want)
		}
		if age := time.Since(v.Created); age < -time.Hour || age > time.Hour {
			b.Fatalf("created %s", v.Created)
		}
	}},
	{"a version that does not exist", func(b *bench) {
		b.pointed(2)
		_, err := b.Resolve(b.ctx, b.ref("/99"))
		b.code(err, slipway.NotFound, "version=99")
		b.code(err, slipway.NotFound, "2, 1")
	}},
	{"a model that does not exist", func(b *bench) {
		for _, selector := range []string{"@champion", "/Production", "/1"} {
			_, err := b.Resolve(b.ctx, b.ref(selector))
			b.code(err, slipway.NotFound, "no model "+string(b.name))
		}
	}},
	{"an alias, moved and removed", func(b *bench) {
		b.pointed(2)
		for _, version := range []slipway.Version{"1", "2"} {
			b.ok(b.SetAlias(b.ctx, b.name, "champion", version))
			v, err := b.Resolve(b.ctx, b.ref("@champion"))
			b.ok(err)
			if v.Version != version || !slices.Equal(v.Aliases, []string{"champion"}) {
				b.Fatalf("@champion is %s with aliases %v, want %s", v.Version, v.Aliases, version)
			}
		}
		b.ok(b.DeleteAlias(b.ctx, b.name, "champion"))
		b.ok(b.DeleteAlias(b.ctx, b.name, "champion"))
		_, err := b.Resolve(b.ctx, b.ref("@champion"))
		b.code(err, slipway.NotFound, "nothing is promoted")
	}},
	{"a missing alias names the others", func(b *bench) {
		b.pointed(1)
		b.ok(b.SetAlias(b.ctx, b.name, "challenger", "1"))
		_, err := b.Resolve(b.ctx, b.ref("@champion"))
		b.code(err, slipway.NotFound, "challenger")
	}},
	{"aliases are case-sensitive", func(b *bench) {
		b.pointed(2)
		b.ok(b.SetAlias(b.ctx, b.name, "champion", "1"))
		b.ok(b.SetAlias(b.ctx, b.name, "Champion", "2"))
		lower, err := b.Resolve(b.ctx, b.ref("@champion"))
		b.ok(err)
		upper, err := b.Resolve(b.ctx, b.ref("@Champion"))
		b.ok(err)
		if lower.Version != "1" || upper.Version != "2" {
			b.Fatalf("champion is %s, Champion is %s", lower.Version, upper.Version)
		}
	}},
	{"reserved and malformed aliases", func(b *bench) {
		b.pointed(1)
		for _, alias := range []string{"latest", "LATEST", "v2", "a b"} {
			b.code(b.SetAlias(b.ctx, b.name, alias, "1"), slipway.Invalid, "alias")
		}
	}},
	{"an alias for a missing version", func(b *bench) {
		b.pointed(1)
		b.code(b.SetAlias(b.ctx, b.name, "champion", "99"), slipway.NotFound, "99")
	}},
	{"several aliases on a version", func(b *bench) {
		b.pointed(1)
		b.ok(b.SetAlias(b.ctx, b.name, "b", "1"))
		b.ok(b.SetAlias(b.ctx, b.name, "a", "1"))
		v, err := b.Resolve(b.ctx, b.ref("/1"))
		b.ok(err)
		m, err := b.Model(b.ctx, b.name)
		b.ok(err)
		if slices.Sort(v.Aliases); !slices.Equal(v.Aliases, []string{"a", "b"}) || m.Points["a"] != "1" || m.Points["b"] != "1" {
			b.Fatalf("aliases %v, model %+v", v.Aliases, m)
		}
	}},
	{"a stage", func(b *bench) {
		b.pointed(3)
		_, err := b.Resolve(b.ctx, b.ref("/Production"))
		b.code(err, slipway.NotFound, "no version is in Production")
		for _, version := range []slipway.Version{"2", "1"} {
			b.ok(b.Transition(b.ctx, b.name, version, "production"))
			v, err := b.Resolve(b.ctx, b.ref("/production"))
			b.ok(err)
			if v.Version != "2" || v.Stage != "Production" {
				b.Fatalf("Production is %s in %s, want the highest, 2", v.Version, v.Stage)
			}
		}
		b.ok(b.Transition(b.ctx, b.name, "2", "Archived"))
		v, err := b.Resolve(b.ctx, b.ref("/Production"))
		b.ok(err)
		if v.Version != "1" {
			b.Fatalf("after archiving 2, Production is %s", v.Version)
		}
	}},
	{"an unknown stage", func(b *bench) {
		b.pointed(1)
		b.code(b.Transition(b.ctx, b.name, "1", "Live"), slipway.Invalid, "Live")
		_, err := b.Resolve(b.ctx, slipway.ModelRef{Name: b.name, Stage: "Live"})
		b.code(err, slipway.Invalid, "Live")
	}},
	{"aliases and tags leave the timestamps alone", func(b *bench) {
		b.pointed(1)
		before, err := b.Resolve(b.ctx, b.ref("/1"))
		b.ok(err)
		b.ok(b.SetAlias(b.ctx, b.name, "champion", "1"))
		b.ok(b.SetTag(b.ctx, b.name, "1", "k", "v"))
		after, err := b.Resolve(b.ctx, b.ref("/1"))
		b.ok(err)
		if !after.Updated.Equal(before.Updated) {
			b.Fatalf("updated moved from %s to %s", before.Updated, after.Updated)
		}
		for deadline := time.Now().Add(10 * time.Second); !after.Updated.After(before.Updated); { // timestamps are milliseconds
			if time.Now().After(deadline) {
				b.Fatalf("transitions left updated at %s", after.Updated)
			}
			b.ok(b.Transition(b.ctx, b.name, "1", "Staging"))
			after, err = b.Resolve(b.ctx, b.ref("/1"))
			b.ok(err)
		}
	}},
	{"deleting a version takes its aliases and not its number", func(b *bench) {
		b.pointed(2)
		b.ok(b.SetAlias(b.ctx, b.name, "champion", "2"))
		b.api("DELETE", "model-versions/delete", map[string]string{"name": string(b.name), "version": "1"}, nil)
		v, err := b.Resolve(b.ctx, b.ref("@champion"))
		b.ok(err)
		b.api("DELETE", "model-versions/delete", map[string]string{"name": string(b.name), "version": string(v.Version)}, nil)
		_, err = b.Resolve(b.ctx, b.ref("@champion"))
		b.code(err, slipway.NotFound, "nothing is promoted")
	}},
	{"names that need escaping", func(b *bench) {
		b.name = slipway.ModelName(fmt.Sprintf("modèle d'été & co + 100%% %s", b.name))
		b.pointed(1)
		b.ok(b.SetAlias(b.ctx, b.name, "champion", "1"))
		v, err := b.Resolve(b.ctx, b.ref("@champion"))
		b.ok(err)
		if v.Name != b.name {
			b.Fatalf("the name came back as %q", v.Name)
		}
	}},
	{"a prompt is no model", func(b *bench) {
		tags := []map[string]string{{"key": "mlflow.prompt.is_prompt", "value": "true"}, {"key": "mlflow.prompt.text", "value": "Hi"}}
		b.api("POST", "registered-models/create", map[string]any{"name": b.name, "tags": tags[:1]}, nil)
		b.api("POST", "model-versions/create", map[string]any{"name": b.name, "source": "prompt-template", "tags": tags}, nil)
		_, err := b.Resolve(b.ctx, b.ref("/1"))
		b.code(err, slipway.Invalid, "prompt")
		found, err := b.SearchVersions(b.ctx, mlflow.NameFilter(b.name))
		b.ok(err)
		if len(found) != 0 {
			b.Fatalf("a search shows a prompt: %v", found)
		}
	}},
	{"waiting for a logged model", func(b *bench) {
		v := b.registered(1)[0]
		status := func(s string) {
			b.api("PATCH", "logged-models/"+v.ModelID, map[string]string{"model_id": v.ModelID, "status": s}, nil)
		}
		status("LOGGED_MODEL_PENDING")
		_, err := b.AwaitReady(b.ctx, v, 50*time.Millisecond)
		b.code(err, slipway.Unavailable, "LOGGED_MODEL_PENDING")
		status("LOGGED_MODEL_UPLOAD_FAILED")
		_, err = b.AwaitReady(b.ctx, v, time.Minute)
		b.code(err, slipway.Invalid, "upload")
		status("LOGGED_MODEL_READY")
		ready, err := b.AwaitReady(b.ctx, v, time.Minute)
		b.ok(err)
		if ready.Version != v.Version || ready.Status != mlflow.ReadyStatus {
			b.Fatalf("got %+v", ready)
		}
	}},
}

// searches are about lists of versions.
var searches = []kase{
	{"all versions of a model, newest first", func(b *bench) {
		b.pointed(5)
		b.ok(b.SetAlias(b.ctx, b.name, "champion", "3"))
		found, err := b.SearchVersions(b.ctx, mlflow.NameFilter(b.name))
		b.ok(err)
		var numbers []string
		for _, v := range found {
			numbers = append(numbers, string(v.Version))
			if v.Aliases != nil {
				b.Fatalf("a search result carries aliases: %+v", v)
			}
		}
		if want := []string{"5", "4", "3", "2", "1"}; !slices.Equal(numbers, want) {
			b.Fatalf("got %v, want %v", numbers, want)
		}
	}},
	{"pages by offset", func(b *bench) {
		b.pointed(3)
		var numbers []string
		token := ""
		for range 4 {
			var page struct {
				Versions []struct {
					Version string `json:"version"`
				} `json:"model_versions"`
				Next string `json:"next_page_token"`
			}
			b.api("GET", "model-versions/search?max_results=2&filter=name%3D%27"+string(b.name)+"%27&page_token="+token, nil, &page)
			for _, v := range page.Versions {
				numbers = append(numbers, v.Version)
			}
			if token = page.Next; token == "" {
				break
			}
			if token != "eyJvZmZzZXQiOiAyfQ==" {
				b.Fatalf("the token %q is no offset of 2", token)
			}
		}
		if want := []string{"3", "2", "1"}; !slices.Equal(numbers, want) {
			b.Fatalf("got %v, want %v", numbers, want)
		}
	}},
	{"by tag", func(b *bench) {
		b.pointed(2)
		b.ok(b.SetTag(b.ctx, b.name, "1", "slipway.status", "live"))
		found, err := b.SearchVersions(b.ctx, mlflow.NameFilter(b.name)+" and tags.`slipway.status` = 'live'")
		b.ok(err)
		if len(found) != 1 || found[0].Version != "1" || found[0].Tags["slipway.status"] != "live" {
			b.Fatalf("got %+v", found)
		}
	}},
	{"a name with a quote", func(b *bench) {
		b.name = "it's " + b.name
		b.pointed(1)
		found, err := b.SearchVersions(b.ctx, mlflow.NameFilter(b.name))
		b.ok(err)
		if len(found) != 1 {
			b.Fatalf("found %d versions", len(found))
		}
	}},
	{"nothing found", func(b *bench) {
		found, err := b.SearchVersions(b.ctx, mlflow.NameFilter(b.name))
		b.ok(err)
		if len(found) != 0 {
			b.Fatalf("found %+v", found)
		}
	}},
	{"filters MLflow does not know", func(b *bench) {
		for _, filter := range []string{"aliases = 'champion'", "current_stage = 'Production'", "name = iris or name = 'x'", "name = iris"} {
			_, err := b.SearchVersions(b.ctx, filter)
			b.code(err, slipway.Invalid, "MLflow refused")
		}
	}},
	{"a malformed token and too large a page", func(b *bench) {
		b.send("GET", "/api/2.0/mlflow/model-versions/search?page_token=zzz", "").is(b, 400, "application/json", "could not base64-decode")
		b.send("GET", "/api/2.0/mlflow/model-versions/search?max_results=200001", "").is(b, 400, "application/json", "max_results")
	}},
}

// writings are about changes.
var writings = []kase{
	{"tags", func(b *bench) {
		b.pointed(1)
		b.ok(b.SetTag(b.ctx, b.name, "1", "slipway.status", "live"))
		b.ok(b.SetTag(b.ctx, b.name, "1", "slipway.status", "gone – zurück"))
		b.ok(b.SetTag(b.ctx, b.name, "1", "empty", ""))
		b.ok(b.SetTag(b.ctx, b.name, "1", "other", "x"))
		b.ok(b.DeleteTag(b.ctx, b.name, "1", "other"))
		b.ok(b.DeleteTag(b.ctx, b.name, "1", "other"))
		v, err := b.Resolve(b.ctx, b.ref("/1"))
		b.ok(err)
		if _, there := v.Tags["empty"]; len(v.Tags) != 2 || v.Tags["slipway.status"] != "gone – zurück" || !there {
			b.Fatalf("tags %v", v.Tags)
		}
	}},
	{"a tag of a missing version", func(b *bench) {
		b.pointed(1)
		b.code(b.SetTag(b.ctx, b.name, "7", "k", "v"), slipway.NotFound, "version=7")
	}},
	{"a model that exists", func(b *bench) {
		b.pointed(0)
		b.code(b.CreateModel(b.ctx, b.name), slipway.Conflict, "already exists")
	}},
	{"a malformed model name", func(b *bench) {
		b.code(b.CreateModel(b.ctx, "a/b"), slipway.Invalid, "a/b")
	}},
	{"a version of a missing model", func(b *bench) {
		_, err := b.CreateVersion(b.ctx, b.name, mlflow.NewVersion{Source: "s3://b/p"})
		b.code(err, slipway.NotFound, string(b.name))
	}},
	{"a version with tags and a description", func(b *bench) {
		b.pointed(0)
		_, err := b.CreateVersion(b.ctx, b.name, mlflow.NewVersion{Source: "s3://b/p", Description: "naïve", Tags: map[string]string{"ticket": "OPS-1"}})
		b.ok(err)
		v, err := b.Resolve(b.ctx, b.ref("/1"))
		b.ok(err)
		if v.Description != "naïve" || v.Tags["ticket"] != "OPS-1" {
			b.Fatalf("got %+v", v)
		}
	}},
}
