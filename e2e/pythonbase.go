package e2e

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// pythonBaseRecipe changes when what PythonBase makes does.
const pythonBaseRecipe = "1"

// PythonBase pushes a base image with Python, for this machine's processor, to
// an image registry on loopback and returns its reference, like
// 127.0.0.1:5000/python:3.11-slim, and the version, like 3.11. It stands for
// the python:X.Y-slim of Docker's library, which machines of tests may not
// reach: it is made of the packages of this machine's Debian, unpacked without
// running anything, so like that one it has no compiled standard library.
func PythonBase(t testing.TB, registry string) (ref, version string) {
	t.Helper()
	b := pythonBase(t)
	repository := "http://" + registry + "/v2/python"
	config := b.config(t)
	pushBlob(t, repository, digestOf(config), bytes.NewReader(config), int64(len(config)))
	f, err := os.Open(b.file)
	if err != nil {
		t.Fatalf("opening the base's layer: %v", err)
	}
	defer f.Close()
	pushBlob(t, repository, b.Digest, f, b.Size)
	tag := b.Version + "-slim"
	request(t, http.MethodPut, repository+"/manifests/"+tag, ociManifest, bytes.NewReader(b.manifest(t, config)), -1, http.StatusCreated)
	return registry + "/python:" + tag, b.Version
}

// baseLayer is the one layer of the base, in the Cache.
type baseLayer struct {
	Version string // of Python: "3.11"
	Digest  string
	DiffID  string
	Size    int64
	file    string
}

func pythonBase(t testing.TB) baseLayer {
	t.Helper()
	for _, tool := range []string{"apt-get", "dpkg-deb", "tar"} {
		if _, err := exec.LookPath(tool); err != nil {
			NotRun(t, "a base image with Python is made of Debian's packages, and here is no "+tool)
		}
	}
	release, err := os.ReadFile("/etc/os-release")
	if err != nil {
		t.Fatalf("reading the Debian release: %v", err)
	}
	dir := filepath.Join(Cache(t), "pythonbase-"+fingerprint(pythonBaseRecipe, []string{runtime.GOARCH, string(release)}))
	about := filepath.Join(dir, "layer.json")
	once(t, dir, func() { makePythonBase(t, dir, about) })
	data, err := os.ReadFile(about)
	if err != nil {
		t.Fatalf("reading the base's layer: %v", err)
	}
	b := baseLayer{file: filepath.Join(dir, "layer.tar.gz")}
	if err := json.Unmarshal(data, &b); err != nil {
		t.Fatalf("reading %s: %v", about, err)
	}
	return b
}

func makePythonBase(t testing.TB, dir, about string) {
	root := filepath.Join(dir, "root")
	for _, d := range []string{root, filepath.Join(dir, "state", "lists", "partial"), filepath.Join(dir, "cache", "archives", "partial")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatalf("making %s: %v", d, err)
		}
	}
	b := baseLayer{Version: downloadPython(t, dir), file: filepath.Join(dir, "layer.tar.gz")}
	archives, err := filepath.Glob(filepath.Join(dir, "cache", "archives", "*.deb"))
	if err != nil || len(archives) == 0 {
		t.Fatalf("no packages were downloaded: %v", err)
	}
	command(t, "dpkg-deb", "-x", only(t, archives, "base-files_"), root) // first, for it has the links of a merged /usr
	for _, a := range archives {
		command(t, "dpkg-deb", "-x", a, root)
	}
	finishRoot(t, root, b.Version)
	packRoot(t, root, &b)
	for _, d := range []string{"root", "state", "cache"} {
		if err := os.RemoveAll(filepath.Join(dir, d)); err != nil {
			t.Fatalf("clearing away %s: %v", d, err)
		}
	}
	data, err := json.Marshal(b)
	if err == nil {
		err = os.WriteFile(about, data, 0o644)
	}
	if err != nil {
		t.Fatalf("writing %s: %v", about, err)
	}
}

var pythonPackage = regexp.MustCompile(`(?m)^\s*\|?Depends: python(3\.\d+)$`)

// downloadPython fetches Python and what it needs, with lists of packages of
// our own and as if nothing was installed, and returns its version.
func downloadPython(t testing.TB, dir string) string {
	t.Helper()
	status := filepath.Join(dir, "status")
	if err := os.WriteFile(status, nil, 0o644); err != nil {
		t.Fatalf("writing %s: %v", status, err)
	}
	options := []string{"-q", "-o", "Dir::State=" + filepath.Join(dir, "state"), "-o", "Dir::State::status=" + status,
		"-o", "Dir::Cache=" + filepath.Join(dir, "cache"), "-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User="}
	command(t, "apt-get", append(options, "update")...)
	out, err := exec.CommandContext(t.Context(), "apt-cache", append(options, "depends", "python3")...).Output()
	found := pythonPackage.FindSubmatch(out)
	if err != nil || found == nil {
		t.Fatalf("finding the version of Debian's Python: %v\n%s", err, out)
	}
	version := string(found[1])
	command(t, "apt-get", append(options, "install", "-y", "--download-only", "--no-install-recommends",
		"base-files", "python"+version, "libstdc++6", "libgomp1")...)
	return version
}

func only(t testing.TB, archives []string, prefix string) string {
	t.Helper()
	for _, a := range archives {
		if strings.HasPrefix(filepath.Base(a), prefix) {
			return a
		}
	}
	t.Fatalf("no package %s… among %q", prefix, archives)
	return ""
}

// finishRoot does what the packages' own scripts would, as far as it is needed.
func finishRoot(t testing.TB, root, version string) {
	t.Helper()
	for _, d := range []string{"usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/lintian"} {
		if err := os.RemoveAll(filepath.Join(root, d)); err != nil {
			t.Fatalf("making the base smaller: %v", err)
		}
	}
	for d, mode := range map[string]os.FileMode{"tmp": 0o777 | os.ModeSticky, "var/tmp": 0o777 | os.ModeSticky, "home": 0o755, "root": 0o700, "etc": 0o755} {
		path := filepath.Join(root, d)
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatalf("making /%s of the base: %v", d, err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatalf("making /%s of the base: %v", d, err)
		}
	}
	for name, content := range map[string]string{
		"passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
		"group":  "root:x:0:\nnogroup:x:65534:\n",
	} {
		if err := os.WriteFile(filepath.Join(root, "etc", name), []byte(content), 0o644); err != nil {
			t.Fatalf("writing /etc/%s of the base: %v", name, err)
		}
	}
	for _, name := range []string{"python3", "python"} {
		if err := os.Symlink("python"+version, filepath.Join(root, "usr", "bin", name)); err != nil {
			t.Fatalf("linking %s in the base: %v", name, err)
		}
	}
}

// packRoot writes the layer and measures it.
func packRoot(t testing.TB, root string, b *baseLayer) {
	t.Helper()
	f, err := os.Create(b.file)
	if err != nil {
		t.Fatalf("writing the base's layer: %v", err)
	}
	defer f.Close()
	blob, diff := sha256.New(), sha256.New()
	zip := gzip.NewWriter(io.MultiWriter(f, blob))
	cmd := exec.CommandContext(t.Context(), "tar", "-C", root, "--owner=0", "--group=0", "--numeric-owner", "--sort=name", "--mtime=@0", "-cf", "-", ".")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.MultiWriter(zip, diff), &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("packing the base: %v\n%s", err, &said)
	}
	if err := zip.Close(); err != nil {
		t.Fatalf("packing the base: %v", err)
	}
	if b.Size, err = f.Seek(0, io.SeekCurrent); err != nil {
		t.Fatalf("packing the base: %v", err)
	}
	b.Digest, b.DiffID = "sha256:"+hex.EncodeToString(blob.Sum(nil)), "sha256:"+hex.EncodeToString(diff.Sum(nil))
}
