package docker

import (
	"context"
	"errors"
	"io/fs"
	"regexp"
	"strings"
	"syscall"

	"github.com/slipway-dev/slipway"
)

// meaning is what a text of docker's means.
type meaning struct {
	pattern *regexp.Regexp
	code    slipway.Code
	message string // with $1 of the pattern; "": docker's own words
	hint    string
}

// meanings are looked through in order. The words are those of Docker 20 to 29
// and of BuildKit 0.8 to 0.25.
var meanings = []meaning{
	{words(`permission denied while trying to connect to the [Dd]ocker|dial unix \S+: connect: permission denied`), slipway.Unauthorized, "this user may not use the Docker engine",
		"sudo usermod -aG docker $$USER, and sign in again"},
	{words(`Cannot connect to the Docker daemon at (\S+?)\. |error during connect|failed to connect to the docker API at (\S+)`), slipway.Unavailable, "the Docker engine does not answer",
		"start it (sudo systemctl start docker), or set DOCKER_HOST to one that runs"},
	{words(`'buildx' is not a docker command|unknown command: docker buildx|unknown flag: --load`), slipway.NotFound, "docker has no buildx, which builds images",
		"install the plugin (apt-get install docker-buildx-plugin, in Debian docker-buildx; https://docs.docker.com/go/buildx)"},
	{words(`no builder "?([^"\s]+)"? found|failed to find (?:driver|builder) "?([^"\s]+)"?`), slipway.NotFound, "there is no builder $1$2",
		"docker buildx ls shows those there are; docker buildx use default, or unset BUILDX_BUILDER"},
	{words(`no space left on device`), slipway.Exhausted, "the disk is full",
		"docker system prune frees what no container needs; docker buildx prune the layer cache"},
	{words(`(?:dockerfile parse error|Dockerfile parse error)(?: on)? line (\d+): ([^\n]*)`), slipway.Invalid, "line $1 of the Dockerfile: $2", "mend the Dockerfile"},
	{words(`failed to read dockerfile: ([^\n]*)`), slipway.NotFound, "the Dockerfile cannot be read: $1", "name it with --dockerfile"},
	{words(`failed to compute cache key: (?:failed to calculate checksum of ref \S+: )?"?([^\s":]+)"?:? not found|"(/[^"\s]+)": not found`), slipway.NotFound, "the Dockerfile copies $1$2, which the build context does not have",
		"it has the files beside the Dockerfile, and slipway/: docs/docker.md lists what is in there"},
	{words(`target stage "?([^"\s]+)"? could not be found`), slipway.Invalid, "the Dockerfile has no stage $1", "name a stage that it has"},
	{words(`no match for platform in manifest[^\n]*|no matching manifest for (\S+)`), slipway.NotFound, "the base image is not for this platform", "take another base, or another --platform"},
	{words(`(?:pull access denied for|pull access denied, repository) ?([^\s,]*)|insufficient_scope|authorization failed|401 Unauthorized|denied: requested access`), slipway.Unauthorized, "the image registry refuses the base image $1, or has none of that name",
		"docker login HOST, or mend the name after FROM (or --base)"},
	{words(`(?:manifest for )?(\S+?):? (?:not found|manifest unknown|does not exist)[^\n]*$`), slipway.NotFound, "there is no base image $1",
		"mend the name after FROM, or --base"},
	{words(`lookup (\S+)(?: on \S+)?: (?:no such host|Temporary failure|server misbehaving|i/o timeout)|dial tcp ([^\s:]+:\d+): (?:connect: connection refused|i/o timeout|connect: network is unreachable)|(?:TLS handshake timeout|Client\.Timeout exceeded|context deadline exceeded)`), slipway.Unavailable, "an image registry is out of reach: $1$2",
		"check the network and the proxies of the Docker engine; a base that is in reach: --base"},
	{words(`exec format error|no such file or directory: exec`), slipway.Invalid, "this machine cannot run programs of that platform", "build on a machine of the platform, or install emulation: docker run --privileged --rm tonistiigi/binfmt --install all"},
	{words(`[Cc]annot allocate memory|OOM|exit code: 137`), slipway.Exhausted, "a step of the Dockerfile ran out of memory", "give the Docker engine more memory"},
}

func words(pattern string) *regexp.Regexp { return regexp.MustCompile(`(?m)` + pattern) }

var reference = regexp.MustCompile(`\$([12])`)

// failure says what a failed docker meant. Its own last words stay as the cause.
func failure(op, said string, dockerfile []byte) error {
	cause := dockerError(lastWords(said))
	if at := step(said); at != nil {
		return stepFailed(op, said, *at, dockerfile)
	}
	told := errorLines(said)
	for _, m := range meanings {
		found := m.pattern.FindStringSubmatchIndex(told)
		if found == nil {
			continue
		}
		fill := func(text string) string {
			text = reference.ReplaceAllString(text, "$${$1}")
			return strings.Join(strings.Fields(short(string(m.pattern.ExpandString(nil, text, told, found)), 300)), " ")
		}
		message := fill(m.message)
		if line := lineOf(said, dockerfile); line != "" && strings.HasPrefix(message, "the Dockerfile ") {
			message = "line " + line + " of " + message
		}
		return (&slipway.Error{Op: op, Code: m.code, Message: message, Err: cause}).WithHint("%s", fill(m.hint))
	}
	return (&slipway.Error{Op: op, Code: slipway.Internal, Message: "docker failed", Err: cause}).WithHint("run the same with docker by hand to see more")
}

// dockerError is what docker wrote.
type dockerError string

func (e dockerError) Error() string { return "docker: " + string(e) }

// errorLines are the lines that say what went wrong; all where none says so.
func errorLines(said string) string {
	var told []string
	for line := range strings.Lines(said) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "ERROR: ") || strings.HasPrefix(line, "error: ") || strings.HasPrefix(line, "Error response from daemon: ") {
			told = append(told, line)
		}
	}
	if len(told) == 0 {
		return said
	}
	return strings.Join(told, "\n")
}

// wordsLimit bounds what is told of docker's own words, in bytes.
const wordsLimit = 1000

// lastWords is the end of what docker wrote, in one line.
func lastWords(said string) string {
	text := strings.Join(strings.Fields(errorLines(said)), " ")
	if extra := len(text) - wordsLimit; extra > 0 {
		text = "… " + strings.ToValidUTF8(text[extra:], "")
	}
	return text
}

// fileFailure gives an error of the file system the code and hint it deserves.
func fileFailure(op string, err error) error {
	var known *slipway.Error
	if err == nil || errors.As(err, &known) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	e := &slipway.Error{Op: op, Code: slipway.Unavailable, Err: err, Hint: "build again, with TMPDIR on another disk"}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		e.Code, e.Message, e.Hint = slipway.Exhausted, "the disk is full", "free space on the disk, or set TMPDIR"
	case errors.Is(err, fs.ErrNotExist):
		e.Code, e.Hint = slipway.NotFound, "put it there and build again"
	case errors.Is(err, fs.ErrPermission):
		e.Code, e.Hint = slipway.Unauthorized, "let the user that builds read it, and write what is to be written"
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ELOOP):
		e.Code, e.Hint = slipway.Invalid, "mend what lies at that path"
	}
	return e
}
