package uv_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/uv"
)

// fakeUV answers as uv 0.9 does.
const fakeUV = `#!/bin/sh
case "$*" in
--version*) echo "uv 0.9.2 (141369ce7 2025-10-10)" ;;
"python list --only-installed --no-python-downloads"*)
	echo "cpython-3.14.0-linux-x86_64-gnu                 /usr/bin/python3.14"
	echo "cpython-3.12.4-linux-x86_64-gnu                 /usr/local/bin/python3.12"
	echo "cpython-3.12.4-linux-x86_64-gnu                 /usr/bin/python3 -> python3.12"
	echo "cpython-3.14.0+freethreaded-linux-x86_64-gnu    /opt/python3.14t"
	echo "pypy-3.10.16-linux-x86_64-gnu                   /usr/bin/pypy3" ;;
*) echo "$*" >&2; exit 2 ;;
esac
`

func TestProbe(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		environ []string
		want    uv.Probed
	}{
		"as it is":   {nil, uv.Probed{Version: "0.9.2", Pythons: []string{"3.14.0", "3.12.4"}, Downloads: true}},
		"forbidden":  {[]string{"UV_PYTHON_DOWNLOADS=never"}, uv.Probed{Version: "0.9.2", Pythons: []string{"3.14.0", "3.12.4"}}},
		"no network": {[]string{"UV_OFFLINE=1"}, uv.Probed{Version: "0.9.2", Pythons: []string{"3.14.0", "3.12.4"}}},
	} {
		got, err := probed(t, fakeUV, tt.environ...)
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
	if got, err := probed(t, "#!/bin/sh\necho something else\n"); err != nil || got.Version != "" || len(got.Pythons) > 0 {
		t.Errorf("a strange program: %+v, %v", got, err)
	}
	if _, err := probed(t, "#!/bin/sh\necho broken >&2; exit 1\n"); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("a broken program: %v", err)
	}
	if _, err := probed(t, "no program"); slipway.CodeOf(err) != slipway.NotFound {
		t.Errorf("no program: %v", err)
	}
}

func probed(t *testing.T, program string, environ ...string) (uv.Probed, error) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "uv")
	if err := os.WriteFile(path, []byte(program), 0o755); err != nil {
		t.Fatal(err)
	}
	c, err := uv.New(uv.Config{Program: path, CacheDir: filepath.Join(dir, "cache"), Environ: append(environ, "PATH="+os.Getenv("PATH"))})
	if err != nil {
		t.Fatal(err)
	}
	return c.Probe(t.Context())
}
