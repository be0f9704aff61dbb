package docker_test

import (
	"os"
	"os/exec"
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
	return docker.Config{Program: filepath.Join(dir, "docker"), Environ: []string{"PATH=" + os.Getenv("PATH")}}
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
	_, err := docker.New(t.Context(), docker.Config{})
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
	if got, _, _, _, err := docker.OpenLayers("docker", cache); got != nil || err != nil {
		t.Errorf("the engine's own: %v, %v", got, err)
	}
	all := filepath.Join(cache, "layers")
	dead := filepath.Join(all, "new-"+strconv.FormatInt(time.Now().Add(-time.Second).Unix(), 10)+"-aa")
	write(t, filepath.Join(dead, "blob"), "of a run that was killed", 0o644)
	for i, text := range []string{"first", "second"} {
		got, fresh, keep, end, err := docker.OpenLayers("docker-container", cache)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"--cache-to", "type=local,mode=max,ignore-error=true,dest=" + fresh}
		if i > 0 {
			want = append(want, "--cache-from", "type=local,src="+filepath.Join(all, "linux-amd64"))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v", text, got)
		}
		write(t, filepath.Join(fresh, "index.json"), text, 0o644)
		if err := keep(); err != nil {
			t.Error(err)
		}
		end()
		checkLayers(t, all, text)
	}
	_, fresh, keep, end, _ := docker.OpenLayers("docker-container", cache)
	write(t, filepath.Join(fresh, "blobs", "part"), "of a build that failed", 0o644)
	if err := keep(); err != nil {
		t.Error(err)
	}
	end()
	checkLayers(t, all, "second")
}

// While another build reads the layers they stay, and the last one renews them.
func TestLayersOfTwoBuilds(t *testing.T) {
	t.Parallel()
	cache := t.TempDir()
	all := filepath.Join(cache, "layers")
	write(t, filepath.Join(all, "linux-amd64", "index.json"), "old", 0o644)
	var keeps []func() error
	var ends []func()
	for _, text := range []string{"first", "second"} {
		_, fresh, keep, end, err := docker.OpenLayers("docker-container", cache)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(fresh, "index.json"), text, 0o644)
		keeps, ends = append(keeps, keep), append(ends, end)
	}
	for i, want := range []string{"old", "second"} {
		if err := keeps[i](); err != nil {
			t.Error(err)
		}
		if got, err := os.ReadFile(filepath.Join(all, "linux-amd64", "index.json")); err != nil || string(got) != want {
			t.Errorf("build %d: %q, %v", i+1, got, err)
		}
		ends[i]()
	}
	checkLayers(t, all, "second")
}

// checkLayers wants the layers of one build in the folder, and nothing else.
func checkLayers(t *testing.T, all, want string) {
	t.Helper()
	if got, err := os.ReadFile(filepath.Join(all, "linux-amd64", "index.json")); err != nil || string(got) != want {
		t.Errorf("%q, %v", got, err)
	}
	if left, err := os.ReadDir(all); err != nil || len(left) != 2 { // and the lock
		t.Errorf("%v, %v", left, err)
	}
}

// What is wrong with the layers' folder is told, and the build goes on.
func TestLayersThatCannotBeKept(t *testing.T) {
	t.Parallel()
	config := script(t, `case "$1 $2" in "buildx inspect") echo "Driver: docker-container";; "image inspect") echo sha256:aa;; esac`)
	config.CacheDir = filepath.Join(t.TempDir(), "file")
	write(t, config.CacheDir, "in the way", 0o644)
	client, err := docker.New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "Dockerfile")
	write(t, file, "FROM scratch", 0o644)
	var told error
	image, err := client.Build(t.Context(), docker.Build{Dockerfile: file, Platform: "linux/amd64", Warn: func(err error) { told = err }})
	if err != nil || image.ID != "sha256:aa" || told == nil || slipway.HintOf(told) == "" {
		t.Errorf("%+v, %v; told %v", image, err, told)
	}
}

// An engine that is gone has not an image without a model.
func TestAnEngineThatGoesAway(t *testing.T) {
	t.Parallel()
	client, err := docker.New(t.Context(), script(t, `case "$1 $2" in
"image inspect") echo '{"User": "65532", "Entrypoint": ["/slipway/modelserver"]}';;
cp*) echo "failed to connect to the docker API at unix:///x: dial unix /x: connect: no such file or directory" >&2; exit 1;;
esac`))
	if err != nil {
		t.Fatal(err)
	}
	want, err := parts(t).Write(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Inspect(t.Context(), docker.Image{Name: "x"}, want); slipway.CodeOf(err) != slipway.Unavailable {
		t.Errorf("%v", err)
	}
}

// Docker hands a container its variables through its own environment.
func TestVariablesThatDockerReads(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"PATH", "HOME", "DOCKER_HOST", "BUILDX_BUILDER", "BUILDKIT_PROGRESS", "LD_PRELOAD", "HTTPS_PROXY", "http_proxy", "NO_PROXY"} {
		if !docker.Own(name) {
			t.Errorf("a model sets %s for docker", name)
		}
	}
	for _, name := range []string{"BUILD_NUMBER", "BUILDER", "PATHS", "MY_HTTP_PROXY", "SLIPWAY_WORKERS", "LDAP"} {
		if docker.Own(name) {
			t.Errorf("a container does not get %s", name)
		}
	}
}

// What a model sets for a container is in no argument, and nothing of it is for
// docker itself.
func TestVariablesOfAContainer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := script(t, `case $1 in create|run) echo "$@" >"`+dir+`/arguments"; env >"`+dir+`/environment";; start) exit 1;; esac`)
	config.Environ = append(config.Environ, "DOCKER_HOST=unix:///ours")
	client, err := docker.New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	model := []string{"DOCKER_HOST=unix:///model", "HTTPS_PROXY=http://model", "BUILD_NUMBER=sesame"}
	command := exec.Command("python3.11", "-c", "pass")
	command.Env, command.ExtraFiles = model, []*os.File{nil}
	image := docker.Image{Name: "x"}
	for name, start := range map[string]func(){
		"checked": func() { _ = client.Try(t.Context(), image, 1, docker.Limits{Env: model}) },
		"asked": func() {
			wrapped, _ := client.Worker(t.Context(), image, command, docker.Limits{Env: []string{"SLIPWAY_WORKERS=1"}})
			wrapped.Stdin, wrapped.Stdout = nil, nil
			_ = wrapped.Run()
		},
	} {
		start()
		arguments, err := os.ReadFile(filepath.Join(dir, "arguments"))
		if err != nil {
			t.Fatal(err)
		}
		environment, err := os.ReadFile(filepath.Join(dir, "environment"))
		if got := string(arguments); err != nil || strings.Count(got, "--env ") != 1 || !strings.Contains(got, "--env BUILD_NUMBER ") || strings.Contains(got, "sesame") {
			t.Errorf("%s: %s, %v", name, got, err)
		}
		if got := string(environment); !strings.Contains(got, "BUILD_NUMBER=sesame\n") || !strings.Contains(got, "DOCKER_HOST=unix:///ours\n") || strings.Contains(got, "HTTPS_PROXY=") {
			t.Errorf("%s: %s", name, got)
		}
		if err := os.Remove(filepath.Join(dir, "environment")); err != nil {
			t.Fatal(err)
		}
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
