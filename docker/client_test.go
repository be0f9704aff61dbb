package docker_test

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/docker"
)

// script makes a docker that says what it is told to.
func script(t *testing.T, body string) docker.Config {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "docker"), "#!/bin/sh\n"+body, 0o755)
	return docker.Config{Environ: []string{"PATH=" + dir + ":" + os.Getenv("PATH")}}
}

func TestWhatDockerLacks(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		body string
		code slipway.Code
		hint string
	}{
		"nothing":   {"case \"$2\" in inspect) echo 'Name: default'; echo 'Driver: docker';; esac", "", ""},
		"an engine": {"echo 'Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?' >&2; exit 1", slipway.Unavailable, "systemctl start docker"},
		"buildx":    {"case \"$1\" in buildx) echo \"docker: 'buildx' is not a docker command.\" >&2; exit 1;; esac", slipway.NotFound, "docker-buildx"},
	} {
		_, err := docker.New(t.Context(), script(t, test.body))
		if slipway.CodeOf(err) != test.code || !strings.Contains(slipway.HintOf(err), test.hint) {
			t.Errorf("%s: %v; hint %q", name, err, slipway.HintOf(err))
		}
	}
	_, err := docker.New(t.Context(), docker.Config{Environ: []string{"PATH=" + t.TempDir()}})
	if slipway.CodeOf(err) != slipway.NotFound || !strings.Contains(slipway.HintOf(err), "install it") {
		t.Errorf("without docker: %v", err)
	}
}

// Nothing secret is among the arguments, and a secret that is not set is none.
func TestArguments(t *testing.T) {
	t.Parallel()
	b := docker.Build{Context: "/c", Dockerfile: "/c/Dockerfile", Target: "native", Platform: "linux/amd64", Args: map[string]string{"PYTHON": "3.11", "BASE": "b"},
		Labels: map[string]string{"dev.slipway.model.name": "iris"}, Secrets: []string{"PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"}}
	got := strings.Join(docker.Arguments(b, []string{"PIP_INDEX_URL=https://ada:sesame@pypi.example/simple", "PIP_EXTRA_INDEX_URL="}), " ")
	want := "buildx build --load --progress plain --tag NAME --platform linux/amd64 --file /c/Dockerfile --target native --build-arg BASE=b --build-arg PYTHON=3.11" +
		" --label dev.slipway.model.name=iris --secret id=PIP_INDEX_URL,env=PIP_INDEX_URL"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// The engine's own builder keeps its layers; others get a folder, which each
// build writes anew.
func TestLayersOfABuilder(t *testing.T) {
	t.Parallel()
	cache := t.TempDir()
	if got := docker.LayerArguments("docker", cache); got != nil {
		t.Errorf("the engine's own: %v", got)
	}
	fresh, keep := docker.KeepLayers("docker-container", cache)
	if got := docker.LayerArguments("docker-container", cache); !slices.Equal(got, []string{"--cache-to", "type=local,mode=max,dest=" + fresh}) {
		t.Errorf("at first: %v", got)
	}
	write(t, filepath.Join(fresh, "index.json"), "{}", 0o644)
	if err := keep(); err != nil {
		t.Fatal(err)
	}
	want := []string{"--cache-to", "type=local,mode=max,dest=" + fresh, "--cache-from", "type=local,src=" + filepath.Join(cache, "layers")}
	if got := docker.LayerArguments("docker-container", cache); !slices.Equal(got, want) {
		t.Errorf("then: %v", got)
	}
	if err := keep(); err != nil { // a builder that wrote nothing
		t.Error(err)
	}
}

func TestWhatIsSwept(t *testing.T) {
	t.Parallel()
	now := time.Now()
	old := "slipway-build:" + strconv.FormatInt(now.Add(-time.Second).Unix(), 10) + "-aa"
	names := strings.Join([]string{old, docker.NewName("slipway-build:", now.Add(time.Hour)), "slipway-build:latest", "slipway-build:12", "python:3.11-slim", "mine/slipway-build:1-a"}, "\n")
	if got := docker.Overdue(names, "slipway-build:", now); !slices.Equal(got, []string{old}) {
		t.Errorf("%v", got)
	}
	if got := docker.Overdue(docker.NewName("slipway-build:", now), "slipway-build:", now.Add(time.Hour)); len(got) != 1 {
		t.Error("a name never passes")
	}
}

// A model server says in its log when it is ready, and why it is not.
func TestTheLogOfAModelServer(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		log   string
		ready bool
		why   string
	}{
		"ready":                {`{"level":"INFO","msg":"ready","golden":5}` + "\n", true, ""},
		"asked itself nothing": {`{"level":"INFO","msg":"ready","golden":0}` + "\n", false, "0 golden predictions instead of 5"},
		"ended":                {"warning of something\n" + `{"level":"ERROR","msg":"the model server ends","error":"golden prediction 1 differs"}` + "\n", false, "golden prediction 1 differs"},
		"a model prints":       {`{"msg":"output","line":"ready"}` + "\n", false, ""},
	} {
		if ready, why := docker.Watch(5, test.log); ready != test.ready || !strings.Contains(why, test.why) || test.why == "" && why != "" {
			t.Errorf("%s: %v, %q", name, ready, why)
		}
	}
}
