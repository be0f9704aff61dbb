package docker_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/docker"
)

// parts is a build context's, and the model in it.
func parts(t testing.TB) docker.Context {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "model", "MLmodel"), "flavors: {}", 0o600)
	write(t, filepath.Join(dir, "model", "code", "own.py"), "A = 1", 0o600)
	write(t, filepath.Join(dir, "model", "registered_model_meta"), "of the download", 0o600)
	write(t, filepath.Join(dir, "model", ".slipway", "golden.json"), "of somebody else", 0o600)
	write(t, filepath.Join(dir, "modelserver"), "#!program", 0o755)
	return docker.Context{ModelDir: filepath.Join(dir, "model"), Server: filepath.Join(dir, "modelserver"), Requirements: []byte("six==1.17.0\n"), Constraints: []byte("numpy<2\n"),
		Release: map[string][]byte{"release.json": []byte("{}"), "golden.json": []byte("[]")}}
}

func write(t testing.TB, file, content string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

// made makes the folder.
func made(t testing.TB, dir string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// listed are the files below dir, with their modes and content.
func listed(t testing.TB, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(file string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, file)
		info, err := d.Info()
		if err != nil {
			return err
		}
		content, err := os.ReadFile(file)
		list = append(list, info.Mode().String()+" "+name+" "+strings.ReplaceAll(string(content), "\n", "|"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestContext(t *testing.T) {
	t.Parallel()
	c := parts(t)
	c.Beside = t.TempDir()
	write(t, filepath.Join(c.Beside, "Dockerfile"), "FROM x", 0o644)
	write(t, filepath.Join(c.Beside, ".dockerignore"), "*", 0o644)
	write(t, filepath.Join(c.Beside, "certs", "own.pem"), "PEM", 0o640)
	write(t, filepath.Join(c.Beside, ".git", "config"), "secret", 0o600)
	dir := t.TempDir()
	if _, err := c.Write(dir); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"-rw-r--r-- .dockerignore *|!slipway|!slipway/**|",
		"-rw-r--r-- Dockerfile FROM x",
		"-rw-r----- certs/own.pem PEM",
		"-rw-r--r-- slipway/constraints.txt numpy<2|",
		"-rw-r--r-- slipway/model/MLmodel flavors: {}",
		"-rw-r--r-- slipway/model/code/own.py A = 1",
		"-rwxr-xr-x slipway/modelserver #!program",
		"-rw-r--r-- slipway/release/golden.json []",
		"-rw-r--r-- slipway/release/release.json {}",
		"-rw-r--r-- slipway/requirements.txt six==1.17.0|",
	}
	if got := listed(t, dir); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A release beside the Dockerfile has the context below the folder that is
// copied into it.
func TestContextInTheDockerfilesFolder(t *testing.T) {
	c := parts(t)
	here := t.TempDir()
	t.Chdir(here)
	write(t, "Dockerfile", "FROM x", 0o644)
	write(t, filepath.Join("release.json.d", "work.json"), "{}", 0o644)
	for _, beside := range []string{".", here, filepath.Join("..", filepath.Base(here))} {
		dir := filepath.Join(here, "release.json.d", "build", "context")
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		c.Beside = beside
		if _, err := c.Write(made(t, dir)); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 2 || entries[0].Name() != "Dockerfile" || entries[1].Name() != "slipway" {
			t.Errorf("%s: %v, %v", beside, entries, err)
		}
	}
}

// A .dockerignore may be a link to one that is shared, also one that leads
// nowhere from the copy, or not be writable; the user's stays as it is.
func TestTheUsersDockerignore(t *testing.T) {
	t.Parallel()
	c := parts(t)
	outside := t.TempDir()
	c.Beside = filepath.Join(outside, "beside")
	shared := filepath.Join(outside, "shared")
	write(t, shared, "*.csv", 0o444)
	write(t, filepath.Join(c.Beside, "Dockerfile.dockerignore"), "*.txt", 0o444)
	for name, to := range map[string]string{"": shared, "near": "../shared", "x": "nowhere"} {
		if err := os.Symlink(to, filepath.Join(c.Beside, name+".dockerignore")); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(t.TempDir(), "of[a")
	if _, err := c.Write(made(t, dir)); err != nil {
		t.Fatal(err)
	}
	const own = "\n!slipway\n!slipway/**\n"
	for file, want := range map[string]string{shared: "*.csv", filepath.Join(dir, ".dockerignore"): "*.csv" + own,
		filepath.Join(dir, "near.dockerignore"): "*.csv" + own, filepath.Join(dir, "Dockerfile.dockerignore"): "*.txt" + own} {
		if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", file, got, err)
		}
	}
}

// BuildKit takes a file of the same size and time for the same file; a layer has
// its time.
func TestTimesOfAContext(t *testing.T) {
	t.Parallel()
	c := parts(t)
	at := func() time.Time {
		dir := t.TempDir()
		if _, err := c.Write(dir); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(dir, "slipway", "model", "code", "own.py"))
		if err != nil {
			t.Fatal(err)
		}
		return info.ModTime()
	}
	first := at()
	if again := at(); !again.Equal(first) {
		t.Errorf("the same file is of %s and of %s", first, again)
	}
	write(t, filepath.Join(c.ModelDir, "code", "own.py"), "A = 2", 0o600)
	if other := at(); other.Equal(first) {
		t.Errorf("two files of the same size are both of %s", first)
	}
}

func TestContextRefuses(t *testing.T) {
	t.Parallel()
	c := parts(t)
	c.Beside = t.TempDir()
	write(t, filepath.Join(c.Beside, "slipway", "x"), "in the way", 0o644)
	if _, err := c.Write(t.TempDir()); slipway.CodeOf(err) != slipway.Invalid || slipway.HintOf(err) == "" {
		t.Errorf("a folder called slipway: %v", err)
	}
	c.Beside = filepath.Join(t.TempDir(), "nowhere")
	if _, err := c.Write(t.TempDir()); slipway.CodeOf(err) != slipway.NotFound || !strings.Contains(slipway.HintOf(err), "--dockerfile") {
		t.Errorf("no folder: %v", err)
	}
	c.Beside = t.TempDir()
	f, err := os.Create(filepath.Join(c.Beside, "data"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(1 << 30); err != nil { // it takes no disk
		t.Fatal(err)
	}
	if _, err := c.Write(t.TempDir()); slipway.CodeOf(err) != slipway.Invalid || !strings.Contains(slipway.HintOf(err), "folder of their own") {
		t.Errorf("a folder of a gigabyte: %v", err)
	}
	c.Beside, c.Server = "", filepath.Join(t.TempDir(), "nowhere")
	if _, err := c.Write(t.TempDir()); slipway.CodeOf(err) != slipway.NotFound || strings.Contains(slipway.HintOf(err), "disk") {
		t.Errorf("no model server: %v", err)
	}
}

// An image has to hold what the context held, and to be run as all are.
func TestContract(t *testing.T) {
	t.Parallel()
	c := parts(t)
	want, err := c.Write(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	good := []entry{{name: "model/"}, {name: "model/MLmodel", content: "flavors: {}"}, {name: "model/code/own.py", content: "A = 1"},
		{name: "model/.slipway/release.json", content: "{}"}, {name: "model/.slipway/golden.json", content: "[]"}}
	server := []entry{{name: "modelserver", content: "#!program"}}
	with := func(i int, e entry) []entry { l := slices.Clone(good); l[i] = e; return l }
	for name, test := range map[string]struct {
		model, server []entry
		want, hint    string
	}{
		"all is there":       {good, server, "", ""},
		"a file is missing":  {slices.Delete(slices.Clone(good), 2, 3), server, "no file code/own.py", "COPY slipway/model /model"},
		"a file is another":  {with(1, entry{name: "model/MLmodel", content: "other"}), server, "/model/MLmodel is another file", "COPY slipway/model /model"},
		"a file is a link":   {with(1, entry{name: "model/MLmodel", link: "/etc/passwd"}), server, "/model/MLmodel is another file", "COPY"},
		"a file too many":    {append(slices.Clone(good), entry{name: "model/notes.txt", content: "x"}), server, "/model/notes.txt is no file of the model", "somewhere else"},
		"no release":         {good[:3], server, "no /model/.slipway/golden.json", "COPY slipway/release /model/.slipway"},
		"of another release": {with(3, entry{name: "model/.slipway/release.json", content: "{ }"}), server, "not of this release", "COPY slipway/release /model/.slipway"},
		"nothing":            {nil, nil, "no file MLmodel", "COPY"},
		"no server":          {good, nil, "no model server at /slipway/modelserver", "COPY slipway/modelserver /slipway/modelserver"},
		"another server":     {good, []entry{{name: "modelserver", content: "#!other"}}, "another model server", "COPY slipway/modelserver"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := docker.CheckContent(want, bytes.NewReader(tarOf(t, test.model...)), bytes.NewReader(tarOf(t, test.server...)))
			checkWrong(t, err, test.want, test.hint)
		})
	}
}

func TestHowAnImageIsRun(t *testing.T) {
	t.Parallel()
	server := []string{"/slipway/modelserver"}
	for name, test := range map[string]struct {
		settings   docker.Settings
		want, hint string
	}{
		"as all are":         {docker.Settings{User: "65532:65532", Entrypoint: server, Env: []string{"PATH=/bin", "SLIPWAY_ADDR=:8000"}}, "", ""},
		"without a group":    {docker.Settings{User: "65532", Entrypoint: server}, "", ""},
		"as root":            {docker.Settings{Entrypoint: server}, `as user "root"`, "USER 65532:65532"},
		"as a name":          {docker.Settings{User: "ada", Entrypoint: server}, `as user "ada"`, "USER 65532:65532"},
		"in a shell":         {docker.Settings{User: "65532", Entrypoint: []string{"/bin/sh", "-c", "/slipway/modelserver"}}, "it starts", `ENTRYPOINT ["/slipway/modelserver"]`},
		"with arguments":     {docker.Settings{User: "65532", Entrypoint: server, Cmd: []string{"--schema", "mlflow"}}, "--schema mlflow", "CMD []"},
		"at another address": {docker.Settings{User: "65532", Entrypoint: server, Env: []string{"SLIPWAY_ADDR=:80"}}, "SLIPWAY_ADDR=:80", "leave the variable out"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			checkWrong(t, docker.CheckSettings(test.settings), test.want, test.hint)
		})
	}
}

func checkWrong(t *testing.T, err error, want, hint string) {
	t.Helper()
	if want == "" && err != nil {
		t.Errorf("refused: %v", err)
	}
	if want != "" && (slipway.CodeOf(err) != slipway.Invalid || !strings.Contains(err.Error(), want) || !strings.Contains(slipway.HintOf(err), hint)) {
		t.Errorf("%v; hint %q", err, slipway.HintOf(err))
	}
}
