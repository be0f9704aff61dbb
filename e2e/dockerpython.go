package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// ImportPython gives the engine an image under the tag that stands in for
// Docker Hub's python:X.Y-slim, which tests do not reach: a minimal Debian with
// Debian's Python, pip and a working apt. How packages are reached it has from
// this machine: pip's settings, apt's proxies and whom to trust. env are more
// variables of its own, KEY=VALUE.
func (d *DockerEngine) ImportPython(t testing.TB, tag string, env ...string) {
	t.Helper()
	const bare = "slipway-test/python"
	d.Run(t, "import", debianPython(t), bare)
	dir := t.TempDir()
	write := func(name string, content []byte) {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, content, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	write("Dockerfile", []byte("FROM "+bare+"\nCOPY etc /etc\n"+environmentLines(env)+"CMD [\"python3\"]\n"))
	write("etc/apt/apt.conf.d/90machine", aptAccess(t))
	for _, name := range []string{"/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt"} {
		if content, err := os.ReadFile(name); err == nil {
			write(strings.TrimPrefix(name, "/"), content)
		}
	}
	d.Run(t, "build", "--network", "host", "-t", tag, dir)
}

// environmentLines are the settings of pip and the proxies, and more, for a
// Dockerfile.
func environmentLines(more []string) string {
	lines := "ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt\n"
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "\n", " ")
	for _, name := range []string{"PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT",
		"http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"} {
		if value := os.Getenv(name); value != "" {
			lines += fmt.Sprintf("ENV %s=\"%s\"\n", name, escape.Replace(value))
		}
	}
	for _, v := range more {
		name, value, _ := strings.Cut(v, "=")
		lines += fmt.Sprintf("ENV %s=\"%s\"\n", name, escape.Replace(value))
	}
	return lines
}

var aptAccessLine = regexp.MustCompile(`(?m)^Acquire::(https?::Proxy[: ]|Check-).*\n`)

func aptAccess(t testing.TB) []byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "apt-config", "dump", "Acquire").Output()
	if err != nil {
		t.Fatalf("asking apt for its settings: %v", err)
	}
	return bytes.Join(aptAccessLine.FindAll(out, -1), nil)
}

// bootstrap makes $1/base.tar. Like Docker Hub's images it keeps no manuals and
// nothing that apt downloaded, now and later, and lets pip install anywhere.
const bootstrap = `
set -e
root=$1/root
debootstrap --variant=minbase --include=python3,python3-pip,python3-venv,ca-certificates "$2" "$root" "$3"
cd "$root"
printf '%s\n' 'Acquire::GzipIndexes "true";' 'Acquire::Languages "none";' 'APT::Keep-Downloaded-Packages "false";' \
	'Dir::Cache::pkgcache "";' 'Dir::Cache::srcpkgcache "";' >etc/apt/apt.conf.d/80small
printf 'path-exclude /usr/share/%s/*\n' doc man locale info >etc/dpkg/dpkg.cfg.d/80small
rm -rf usr/share/doc/* usr/share/man/* usr/share/locale/* usr/share/info/* var/cache/apt/* var/lib/apt/lists/* var/log/*.log
rm -f usr/lib/python3*/EXTERNALLY-MANAGED
ln -s python3 usr/bin/python
tar --numeric-owner -cf "$1/base.tar" .
cd / && rm -rf "$root"
`

// debianPython is the path of the root file system as a tar, made once.
func debianPython(t testing.TB) string {
	t.Helper()
	if _, err := exec.LookPath("debootstrap"); err != nil {
		installDebian(t, err, "debootstrap")
	}
	suite, mirror := debianMirror(t)
	dir := filepath.Join(Cache(t), "debian-python-"+fingerprint(suite, []string{mirror, bootstrap}))
	once(t, dir, func() {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		command(t, "unshare", "--mount", "--propagation", "private", "sh", "-c", bootstrap, "bootstrap", dir, suite, mirror)
	})
	return filepath.Join(dir, "base.tar")
}

// debianMirror is where apt on this machine has Debian from: "bookworm" and a
// URL.
func debianMirror(t testing.TB) (suite, mirror string) {
	t.Helper()
	for range 2 { // it may know nothing before its first update
		out, err := exec.CommandContext(t.Context(), "apt-get", "indextargets",
			"--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages", "Origin: Debian", "Component: main").Output()
		if err != nil {
			t.Fatalf("asking apt for its sources: %v", err)
		}
		for line := range strings.Lines(string(out)) {
			if n, _ := fmt.Sscan(line, &suite, &mirror); n == 2 && !strings.Contains(suite, "-") { // not bookworm-updates
				return suite, mirror
			}
		}
		command(t, "apt-get", "-q", "update")
	}
	t.Fatal("apt on this machine knows no Debian")
	return "", ""
}
