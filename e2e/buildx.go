package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// buildxVersion is the buildx that tests build with. It speaks with Docker 20,
// which Debian 12 has.
const buildxVersion = "v0.29.1"

// Buildx gives the engine's command line its plugin buildx, built from the Go
// module proxy and kept in the Cache, and returns a folder with a program
// docker that uses both and knows nothing else. Builds of the engine's own
// builder have the machine's network, for the engine has none. What the last
// build wrote to stderr is in the file of $DOCKER_TOLD, if that is set.
func (d *DockerEngine) Buildx(t testing.TB) (bin string) {
	t.Helper()
	dir := filepath.Join(Cache(t), "buildx-"+buildxVersion)
	once(t, dir, func() {
		buildMain(t, "github.com/docker/buildx@"+buildxVersion, "./cmd/buildx", filepath.Join(dir, "buildx"))
	})
	plugins := filepath.Join(d.dir, "config", "cli-plugins")
	bin = t.TempDir()
	script := fmt.Sprintf(dockerScript, d.host(), filepath.Dir(plugins), d.client)
	err := errors.Join(os.MkdirAll(plugins, 0o755), os.RemoveAll(filepath.Join(plugins, "docker-buildx")),
		os.Symlink(filepath.Join(dir, "buildx"), filepath.Join(plugins, "docker-buildx")),
		os.WriteFile(filepath.Join(bin, "docker"), []byte(strings.TrimLeft(script, "\n")), 0o755))
	if err != nil {
		t.Fatalf("giving docker its buildx: %v", err)
	}
	return bin
}

// buildMain builds a program of a module as its main module, which is how the
// go.mod of Docker's want it.
func buildMain(t testing.TB, module, folder, program string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", module).Output()
	var source struct{ Dir string }
	if err == nil {
		err = json.Unmarshal(out, &source)
	}
	if err != nil || source.Dir == "" {
		t.Fatalf("downloading the source of %s: %v\n%s", module, err, out)
	}
	command(t, "env", "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off", "go", "build", "-C", source.Dir, "-trimpath", "-buildvcs=false", "-o", program, folder)
}

const dockerScript = `
#!/bin/sh
export DOCKER_HOST='%s' DOCKER_CONFIG='%s' DOCKER_CONTEXT=
docker='%s'
[ "$1 $2" = "buildx build" ] || exec "$docker" "$@"
shift 2
[ -n "$BUILDX_BUILDER" ] || set -- --network host "$@"
[ -n "$DOCKER_TOLD" ] || exec "$docker" buildx build "$@"
"$docker" buildx build "$@" 2>"$DOCKER_TOLD"
code=$?
cat "$DOCKER_TOLD" >&2
exit $code
`
