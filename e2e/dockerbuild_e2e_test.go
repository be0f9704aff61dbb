//go:build e2e

package e2e_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
)

// dockerWorld is a world with a Docker engine: Debian's, with buildx.
type dockerWorld struct {
	*world
	engine *e2e.DockerEngine
	uvDir  string
	bin    string
}

// TestE2EDockerBuild builds images with docker, by Slipway's own Dockerfile and
// by users', and pushes, deploys and refuses them. There is one engine, so one
// thing is done after the other.
func TestE2EDockerBuild(t *testing.T) {
	engine := e2e.Docker(t)
	bin := engine.Buildx(t)
	engine.ImportPython(t, "python:3.11-slim")
	t.Logf("Docker %s", engine.Version)
	for _, sub := range []struct {
		name string
		test func(*dockerWorld)
	}{
		{"native", (*dockerWorld).native},
		{"python", (*dockerWorld).python},
		{"apt", (*dockerWorld).apt},
		{"without uv", (*dockerWorld).withoutUV},
		{"secret", (*dockerWorld).secret},
		{"steps", (*dockerWorld).steps},
		{"another builder", (*dockerWorld).anotherBuilder},
		{"refused", (*dockerWorld).refusals},
		{"interrupted", (*dockerWorld).interrupted},
	} {
		t.Run(sub.name, func(t *testing.T) {
			w := newWorld(t, e2e.ImageRegistry(t), "")
			w.usePython()
			d := &dockerWorld{w, engine, filepath.Dir(e2e.UV(t)), bin}
			w.env = append(w.env, "SLIPWAY_BASE=", "SLIPWAY_BUILDER=docker", "PATH="+bin+":"+d.uvDir+":"+os.Getenv("PATH"), "SLIPWAY_REPLICAS=1", "TMPDIR="+d.temporary())
			if err := os.Mkdir(d.temporary(), 0o700); err != nil {
				t.Fatal(err)
			}
			sub.test(d)
			d.clean()
		})
	}
}

// clean wants nothing of Slipway's left in the engine and on the disk.
func (d *dockerWorld) clean() {
	d.t.Helper()
	if left := d.engine.Run(d.t, "container", "ls", "--all", "--format", "{{.Names}}"); left != "" {
		d.t.Errorf("containers are left: %s", left)
	}
	if left := d.engine.Run(d.t, "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "slipway-build"); left != "" {
		d.t.Errorf("images are left: %s", left)
	}
	if left, err := os.ReadDir(d.temporary()); err != nil || len(left) > 0 {
		d.t.Errorf("temporary files are left: %v, %v", left, err)
	}
}

// dockerfile writes a Dockerfile into a folder of its own: the project's, with
// a text of it replaced.
func (d *dockerWorld) dockerfile(replace, by string) string {
	d.t.Helper()
	own, err := os.ReadFile("../examples/docker/Dockerfile")
	if err != nil {
		d.t.Fatal(err)
	}
	if strings.Count(string(own), replace) < 1 {
		d.t.Fatalf("the Dockerfile has no %q", replace)
	}
	i := strings.LastIndex(string(own), replace)
	file := filepath.Join(d.t.TempDir(), "Dockerfile")
	if err := os.WriteFile(file, []byte(string(own)[:i]+by+string(own)[i+len(replace):]), 0o644); err != nil {
		d.t.Fatal(err)
	}
	return file
}

// A native model is what it is with Slipway's own builder: served, labelled,
// and of the next version only what differs is uploaded.
func (d *dockerWorld) native() {
	d.env = append(d.env, "SLIPWAY_PROVE=off")
	got := d.outcome(0, "deploy", demoModel(d.t, 1), "--name", "iris")
	if got.Kind != "live" || got.Release.Engine != "sklearn" || got.Release.Image.Size > 25<<20 {
		d.t.Fatalf("%+v", got)
	}
	answer, err := ask(fresh, d.address, []map[string]any{{"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2, "habitat": "meadow"}})
	if err != nil {
		d.t.Error(err)
	}
	d.t.Logf("it answers %s", answer.predictions)
	d.described(got.Release, map[string]string{"dev.slipway.model.name": "iris", "dev.slipway.model.engine": "sklearn", "dev.slipway.golden": "self-checked"})
	d.want(0, []string{"is live", "1 of 3 layers"}, "deploy", demoModel(d.t, 1), "--name", "flower", "--image", d.image)
	release := d.extracted(demoModel(d.t, 1))
	d.want(0, nil, "build", "--release", release, "--base", "python:3.11-slim")
	if size := d.read(release).Image.Size; size < 25<<20 {
		d.t.Errorf("--base is not in the image: %d bytes", size)
	}
}

// described compares the image's annotations and labels.
func (d *dockerWorld) described(r slipway.Release, want map[string]string) {
	d.t.Helper()
	path := strings.TrimPrefix(r.Image.Repository, d.images)
	var manifest struct {
		Annotations map[string]string
		Config      struct{ Digest string }
	}
	d.fetch(path+"/manifests/"+string(r.Image.Digest), &manifest)
	var config struct {
		Config struct {
			User   string
			Labels map[string]string
		}
	}
	d.fetch(path+"/blobs/"+manifest.Config.Digest, &config)
	if config.Config.User != "65532:65532" {
		d.t.Errorf("it runs as %q", config.Config.User)
	}
	for name, value := range want {
		if manifest.Annotations[name] != value || config.Config.Labels[name] != value {
			d.t.Errorf("%s: annotation %q, label %q, want %q", name, manifest.Annotations[name], config.Config.Labels[name], value)
		}
	}
	if !maps.Equal(manifest.Annotations, config.Config.Labels) {
		d.t.Errorf("annotations %v\nlabels %v", manifest.Annotations, config.Config.Labels)
	}
}

func (d *dockerWorld) fetch(path string, v any) {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), http.MethodGet, "http://"+d.images+"/v2"+path, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err == nil {
		err = json.Unmarshal(raw, v)
	}
	if err != nil || resp.StatusCode != http.StatusOK {
		d.t.Fatalf("%s: %s, %v: %s", path, resp.Status, err, raw)
	}
}

// A Python model's packages are those of its lock, and the answers of the
// library here are those of the image. The next version has all layers but its
// own in the cache and in the image registry.
func (d *dockerWorld) python() {
	got := d.outcome(0, "deploy", written(d.t, doubling(`return model_input["x"].to_numpy() * 2`)), "--name", "planets")
	if got.Kind != "live" || got.Release.Engine != "python" || got.Release.Golden != slipway.Proved {
		d.t.Fatalf("%+v", got)
	}
	d.described(got.Release, map[string]string{"dev.slipway.model.engine": "python", "dev.slipway.golden": "proved"})
	if text := d.post(`{"dataframe_split": {"columns": ["x"], "data": [[4.5]]}}`); !strings.Contains(text, "[9.0]") {
		d.t.Errorf("it answers %s", text)
	}
	next := d.want(0, []string{"is live", "2 of "}, "deploy", written(d.t, doubling(`return model_input["x"].to_numpy() * 3`)), "--name", "planets")
	d.t.Logf("the next version: %s", next.took.Round(time.Second/10))
}

// greeting is a model that needs a program of Debian's, which this machine does
// not have.
var greeting = "import subprocess\nLENGTH = len(subprocess.run(['hello'], check=True, capture_output=True).stdout)\n" +
	doubling(`return model_input["x"].to_numpy() * LENGTH`)

const runtimePackages = "COPY --from=packages /slipway/site-packages"

// What a model needs of the distribution comes with a Dockerfile of the user's;
// the model is asked inside the image, because here it does not load.
func (d *dockerWorld) apt() {
	file := d.dockerfile(runtimePackages, "RUN apt-get update && apt-get install -y --no-install-recommends hello && rm -rf /var/lib/apt/lists/*\n"+runtimePackages)
	d.env = append(d.env, "SLIPWAY_BUILDER=auto")
	dir := written(d.t, greeting)
	d.refused(1, []string{"hello"}, "build", "--release", d.extracted(dir))
	release := d.extracted(dir)
	got := d.want(0, []string{"the model is loaded inside the image", "proved by the model's own code", " in the image"}, "build", "--release", release, "--dockerfile", file)
	d.t.Log(got)
	d.want(0, []string{"Pushed to"}, "push", "--release", release)
	if left := os.RemoveAll(release + ".d"); left != nil {
		d.t.Error(left)
	}
}

func (d *dockerWorld) extracted(dir string) (release string) {
	d.t.Helper()
	release = filepath.Join(d.t.TempDir(), "release.json")
	d.want(0, nil, "extract", dir, "--name", "x", "--release", release)
	return release
}

// A machine without uv locks nothing and loads nothing: docker does both.
func (d *dockerWorld) withoutUV() {
	d.env = append(d.env, "PATH="+d.bin+":"+os.Getenv("PATH"))
	got := d.outcome(0, "deploy", written(d.t, doubling(`return model_input["x"].to_numpy() * 5`)), "--name", "planets")
	if got.Kind != "live" || got.Release.Golden != slipway.Proved || got.Release.GoldenBy != "the model's own code in the image" {
		d.t.Errorf("%+v", got)
	}
}

// The password of a company's package index reaches pip in the build, and is
// nowhere afterwards.
func (d *dockerWorld) secret() {
	const password = "hunter3-of-the-index"
	x := newCompanyIndex(d.t, "ada:"+password)
	index := strings.Replace(x.server.URL, "://", "://ada:"+password+"@", 1) + "/simple"
	d.env = append(d.env, "XDG_CACHE_HOME="+filepath.Join(d.home, "cache"), "PIP_EXTRA_INDEX_URL="+index)
	dir := written(d.t, "import company_secrets\n"+doubling(`return model_input["x"].to_numpy() * company_secrets.FACTOR`))
	requirements := filepath.Join(dir, "requirements.txt")
	text, err := os.ReadFile(requirements)
	if err == nil {
		err = os.WriteFile(requirements, append(text, "\ncompany-secrets==1.0\n"...), 0o644)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	seen := spy(d.t, password)
	release := d.extracted(dir)
	var said []ran
	for _, step := range []string{"build", "push"} {
		said = append(said, d.want(0, nil, step, "--release", release))
	}
	if x.sold() < 2 {
		d.t.Errorf("the package was fetched %d times, want by uv and by pip", x.sold())
	}
	if got := seen(); len(got) > 0 {
		d.t.Errorf("the password was an argument of %q", got)
	}
	d.nowhere(password, said...)
	d.notInTheRegistry(password)
	layers := d.engine.Run(d.t, "buildx", "du", "--verbose")
	if !strings.Contains(layers, "pip install") {
		d.t.Errorf("docker does not tell what made its layers:\n%s", layers)
	}
	if strings.Contains(layers, password) {
		d.t.Error("the password is among what docker tells of its layers")
	}
}

// In steps the image that build left is pushed, and no other is made.
func (d *dockerWorld) steps() {
	d.env = append(d.env, "SLIPWAY_PROVE=off")
	release := d.extracted(demoModel(d.t, 1))
	for _, step := range []string{"validate", "build"} {
		d.want(0, nil, step, "--release", release)
	}
	built := d.read(release).Image.Digest
	d.want(0, nil, "push", "--release", release)
	if pushed := d.read(release).Image; pushed.Digest != built || built == "" {
		d.t.Errorf("built %s, pushed %s", built, pushed.Digest)
	}
	if err := os.RemoveAll(filepath.Join(release+".d", "build")); err != nil {
		d.t.Fatal(err)
	}
	d.refused(1, []string{"push where build ran"}, "push", "--release", release)
}

func (d *dockerWorld) read(file string) slipway.Release {
	d.t.Helper()
	f, err := os.Open(file)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	r, err := slipway.DecodeRelease(f, 1<<20)
	if err != nil {
		d.t.Fatal(err)
	}
	return r
}

// Builders that come and go, as on CI machines, find their layers in a folder.
func (d *dockerWorld) anotherBuilder() {
	told := filepath.Join(d.home, "told")
	d.env = append(d.env, "SLIPWAY_PROVE=off", "XDG_CACHE_HOME="+filepath.Join(d.home, "cache"), "DOCKER_TOLD="+told)
	for i, want := range []string{"exporting cache to client directory", "CACHED"} {
		d.env = append(d.env, "BUILDX_BUILDER="+d.engine.BuildKit(d.t))
		d.want(0, []string{"is live"}, "deploy", demoModel(d.t, i+1), "--name", "iris")
		text, err := os.ReadFile(told)
		if err != nil || !strings.Contains(string(text), want) {
			d.t.Errorf("the builder does not say %q: %v\n%s", want, err, text)
		}
	}
	if entries, err := os.ReadDir(filepath.Join(d.home, "cache", "slipway", "docker")); err != nil || len(entries) != 1 {
		d.t.Errorf("%v, %v", entries, err)
	}
}

// Whatever a Dockerfile does wrong is said with what mends it, and nothing is
// pushed.
func (d *dockerWorld) refusals() {
	iris, other := demoModel(d.t, 1), written(d.t, doubling(`import os
return model_input["x"].to_numpy() * (8 if os.path.exists("/slipway/modelserver") else 7)`))
	const last = "\nUSER 65532:65532"
	for _, test := range []struct {
		model, replace, by string
		said               []string
	}{
		{iris, last, "\nRUNN true" + last, []string{"of the Dockerfile: unknown instruction: RUNN"}},
		{iris, runtimePackages, "RUN echo such bread; exit 3\n" + runtimePackages, []string{"of the Dockerfile: echo such bread; exit 3: exit code 3", "such bread"}},
		{iris, runtimePackages, "COPY bread /bread\n" + runtimePackages, []string{"of the Dockerfile copies /bread"}},
		{iris, "FROM ${BASE:-python:${PYTHON}-slim}\n", "FROM " + d.images + "/no/bread:1\n", []string{"base image", "after FROM"}},
		{iris, last, "", []string{"runs as user", "USER 65532:65532 at the end"}},
		{iris, "COPY slipway/release /model/.slipway\n", "", []string{"COPY slipway/release /model/.slipway"}},
		{iris, "COPY slipway/model /model\n", "COPY slipway/model/MLmodel /model/\n", []string{"no file", "COPY slipway/model /model"}},
		{other, last, last, []string{"golden prediction 1 differs"}},
	} {
		prove := "--prove=off"
		if test.model == other {
			prove = "--prove=auto"
		}
		got := d.refused(1, test.said, "deploy", test.model, "--name", "x", prove, "--dockerfile", d.dockerfile(test.replace, test.by))
		d.t.Log(got.stderr)
	}
	resp, err := http.Get("http://" + d.images + "/v2" + strings.TrimPrefix(d.image, d.images) + "/tags/list")
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		d.t.Errorf("something was pushed: %s", resp.Status)
	}
}

// A run that is interrupted, while docker builds and while the image is checked,
// ends soon and leaves no container and no image.
func (d *dockerWorld) interrupted() {
	mark := newMark()
	building := d.dockerfile(runtimePackages, "RUN sleep "+mark+"\n"+runtimePackages)
	stuck := written(d.t, doubling(`import os
return model_input["x"].to_numpy() * 2`)+"\nimport os, time\nif os.path.exists('/slipway/modelserver'):\n    __import__('subprocess').run(['sleep', '"+mark+"'])\n")
	for _, args := range [][]string{
		{"deploy", demoModel(d.t, 1), "--name", "x", "--prove=off", "--dockerfile", building},
		{"deploy", stuck, "--name", "x"},
	} {
		s := d.start(args...)
		if !eventually(5*time.Minute, func() bool { return len(marked(d.t, mark)) > 0 || len(marked(d.t, "sleep "+mark)) > 0 }) {
			d.t.Fatalf("it does not get so far\n%s", s.text())
		}
		if err := s.cmd.Process.Signal(syscall.SIGINT); err != nil {
			d.t.Fatal(err)
		}
		sent := time.Now()
		s.ends(130)
		if took := time.Since(sent); took > 15*time.Second {
			d.t.Errorf("it ended after %s", took)
		}
		d.clean()
		d.noProcess(mark)
	}
}
