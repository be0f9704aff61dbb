package uv

import (
	"regexp"
	"strings"

	"github.com/slipway-dev/slipway"
)

// failures says what uv's words mean, the first that fits first. $1 and $2 in
// message and hint are what the pattern found.
var failures = []struct {
	pattern       *regexp.Regexp
	code          slipway.Code
	message, hint string
}{
	{words("Hash mismatch for `([^`]+)`"), slipway.Corrupt, "the index has another file for $1 than when it was locked",
		"find out who changed it; if it was published anew on purpose, resolve again with --upgrade"},
	{words("No space left on device|Disk quota exceeded"), slipway.Exhausted, "the disk is full",
		"free some space, or set another cache folder"},
	{words("unexpected argument '([^']+)'|invalid value '([^']+)' for"), slipway.Invalid, "this uv does not know $1$2",
		"install a newer one: pip install 'uv>=" + MinimumVersion + "'"},
	{words(`lack of valid authentication credentials|40[17] (?:Unauthorized|Proxy)`), slipway.Unauthorized, "the package index wants other credentials (401)",
		"put user and password or a token into UV_DEFAULT_INDEX, UV_INDEX or PIP_INDEX_URL, or into ~/.netrc"},
	{words(`403 Forbidden`), slipway.Unauthorized, "the package index refuses these credentials (403)",
		"check that the index's address is right and that its user may read packages"},
	{words("Failed to read `--find-links` (?:directory|URL): (\\S+)"), slipway.NotFound, "there is no folder of wheels $1",
		"mend UV_FIND_LINKS or PIP_FIND_LINKS, or unset it"},
	{words("network (?:was|is) disabled"), slipway.Unavailable, "a package is not in uv's cache, and UV_OFFLINE forbids to fetch it",
		"unset UV_OFFLINE"},
	{words("(?:Because|and) (\\S+) was not found in the provided package locations"), slipway.NotFound, "$1 is in no folder of wheels, and PIP_NO_INDEX forbids to ask an index",
		"put its wheel into the folder that UV_FIND_LINKS or PIP_FIND_LINKS names"},
	{words(`invalid peer certificate|certificate verify failed|UnknownIssuer|CertificateRequired`), slipway.Unavailable, "the package index's certificate is not trusted",
		"set SSL_CERT_FILE or PIP_CERT to your authority's certificates, or UV_SYSTEM_CERTS=1"},
	{words(`HTTP status server error \(([^)]*)\)|HTTP status client error \((429[^)]*)\)`), slipway.Unavailable, "the package index answered $1$2",
		"try again; UV_DEFAULT_INDEX or PIP_INDEX_URL names another one"},
	{words(`error sending request for url \(([a-z]+://[^/)]+)|(?:operation|request|connection) timed out|Failed to fetch: \x60?([a-z]+://[^/\x60 ]+)`), slipway.Unavailable, "the package index $1$2 is out of reach",
		"check the network and HTTPS_PROXY; UV_DEFAULT_INDEX or PIP_INDEX_URL names another index"},
	{words("(?:Because|and) (\\S+) has an invalid package format|(?:structure|metadata) of `([^`]+)`[^.]* was invalid"), slipway.Corrupt, "the wheel of $1$2 is broken",
		"take another version, or publish it anew"},
	{words("requested Python version \\(>?=?(\\S+)\\) does not satisfy (Python\\S+) and (?:all versions of )?(\\S+) depends? on"), slipway.Invalid, "$3 needs $2, the model has Python $1",
		"require a version of it for the model's Python, or log the model with another Python"},
	{words("(?:Because|and) (?:all versions of )?(\\S+) (?:has|have) no wheels with a matching (?:Python|ABI|Python ABI|Python version|language)[^.]*? tag"), slipway.Invalid, "$1 has no wheel for the model's Python (PYTHON)",
		"require a version that has one, or build it (pip wheel $1) and set UV_FIND_LINKS to its folder"},
	{words("(?:Because|and) (?:all versions of )?(\\S+) (?:has|have) no wheels with a matching platform tag"), slipway.Invalid, "$1 has no wheel for PLATFORM (glibc 2.28)",
		"require a version that has one, build it (pip wheel $1) and set UV_FIND_LINKS to its folder, or take the other --platform"},
	{words("(?:Because|and) (?:all versions of )?(\\S+) (?:has|have) no (?:usable )?wheels|Wheels are required for `([^`]+)`"), slipway.Invalid, "$1$2 is published as source only, or has no wheel for PLATFORM and Python PYTHON",
		"require a version that has a wheel, or build it (pip wheel $1$2) and set UV_FIND_LINKS to its folder"},
	{words("(?:Because|and) (\\S+) was not found in the package registry"), slipway.NotFound, "the index has no package $1",
		"mend its name in the model's requirements, or name the index that has it in UV_INDEX or PIP_EXTRA_INDEX_URL"},
	{words("there (?:is|are) no versions? of (\\S+)"), slipway.NotFound, "the index has no $1",
		"require a version that exists (UV_PRERELEASE=allow where it is a pre-release), or name the index that has it in UV_INDEX"},
	{words("No solution found when resolving dependencies"), slipway.Invalid, "the model's requirements contradict each other",
		"loosen one of them in the model's requirements.txt (or in UV_CONSTRAINT) and try again"},
	{words("Couldn't parse requirement|Failed to parse|Unexpected '"), slipway.Invalid, "a requirement is not written as pip's are",
		"mend it in the model's requirements.txt: name==1.2.3"},
	{words("Permission denied"), slipway.Unauthorized, "uv may not write its cache",
		"let this user write there, or set UV_CACHE_DIR to another folder"},
	{words("No interpreter found|No virtual or system"), slipway.NotFound, "this machine has no Python for uv",
		"install one: uv python install PYTHON"},
}

func words(pattern string) *regexp.Regexp { return regexp.MustCompile(pattern) }

// failure says what a failed uv meant. Its own words, without the secrets in
// them, stay as the cause.
func failure(op, stderr string, r Request) *slipway.Error {
	told := essence(stderr)
	cause := uvError(told)
	for _, f := range failures {
		found := f.pattern.FindStringSubmatchIndex(told)
		if found == nil {
			continue
		}
		fill := func(text string) string {
			text = string(f.pattern.ExpandString(nil, braced(text), told, found))
			return strings.NewReplacer("PLATFORM", or(r.Platform, "this platform"), "PYTHON", or(r.Python, "X.Y")).Replace(text)
		}
		return (&slipway.Error{Op: op, Code: f.code, Message: fill(f.message), Err: cause}).WithHint("%s", fill(f.hint))
	}
	return (&slipway.Error{Op: op, Code: slipway.Internal, Message: "uv failed", Err: cause}).
		WithHint("run uv by hand with the model's requirements to see more")
}

var reference = regexp.MustCompile(`\$([1-3])`)

// braced writes $1 as ${1}, which ends where the digit ends.
func braced(text string) string { return reference.ReplaceAllString(text, "$${$1}") }

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// uvError is what uv wrote.
type uvError string

func (e uvError) Error() string { return "uv: " + string(e) }

// maxTold bounds what is told of uv's words, in bytes; the end says most.
const maxTold = 1500

// essence is what uv wrote in one line, without warnings and progress.
func essence(stderr string) string {
	var kept []string
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "warning:") && !strings.HasPrefix(line, "Using ") && !strings.HasPrefix(line, "Resolved ") {
			kept = append(kept, line)
		}
	}
	text := strings.Join(kept, " ")
	if len(text) > maxTold {
		text = "… " + strings.ToValidUTF8(text[len(text)-maxTold:], "")
	}
	return text
}
