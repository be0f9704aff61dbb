package uv

import (
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// environment is what uv is started with.
type environment struct {
	vars    map[string]string
	secrets []string // passwords and tokens of the URLs in vars
}

// kept are the UV_ variables that mean to us what they mean to uv. The others
// would change where or what is installed.
var kept = []string{
	"UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_NO_INDEX", "UV_INDEX_STRATEGY",
	"UV_KEYRING_PROVIDER", "UV_CREDENTIALS_DIR", "UV_INSECURE_HOST", "UV_SYSTEM_CERTS", "UV_NATIVE_TLS",
	"UV_HTTP_TIMEOUT", "UV_REQUEST_TIMEOUT", "UV_HTTP_CONNECT_TIMEOUT", "UV_HTTP_RETRIES", "UV_HTTP_PROXY", "UV_HTTPS_PROXY", "UV_NO_PROXY",
	"UV_CONCURRENT_DOWNLOADS", "UV_CONCURRENT_INSTALLS", "UV_OFFLINE", "UV_CACHE_DIR", "UV_CONFIG_FILE", "UV_CONSTRAINT",
	"UV_PYTHON_DOWNLOADS", "UV_PYTHON_INSTALL_DIR", "UV_PYTHON_INSTALL_MIRROR",
	"UV_PRERELEASE", "UV_RESOLUTION", "UV_EXCLUDE_NEWER", "UV_TORCH_BACKEND",
}

// deciding are those of kept that change which versions a lock has.
var deciding = []string{"UV_EXCLUDE_NEWER", "UV_INDEX_STRATEGY", "UV_PRERELEASE", "UV_RESOLUTION", "UV_TORCH_BACKEND"}

// indexCredentials are the user and password of an index with a name.
var indexCredentials = regexp.MustCompile(`^UV_INDEX_[A-Z0-9_]+_(USERNAME|PASSWORD)$`)

func newEnvironment(environ []string) environment {
	vars := map[string]string{}
	for _, v := range environ {
		if name, value, ok := strings.Cut(v, "="); ok && name != "" {
			vars[name] = value
		}
	}
	e := environment{vars: fromPip(vars)}
	for name := range e.vars {
		if strings.HasPrefix(name, "UV_") && !slices.Contains(kept, name) && !indexCredentials.MatchString(name) || foreign(name) {
			delete(e.vars, name)
		}
	}
	e.secrets = secretsOf(e.vars)
	return e
}

// foreign reports variables of another environment that is active.
func foreign(name string) bool {
	return strings.HasPrefix(name, "PIP_") || strings.HasPrefix(name, "PYTHON") || strings.HasPrefix(name, "CONDA_") || name == "VIRTUAL_ENV"
}

// list returns the variables as os/exec takes them.
func (e environment) list(cache string) []string {
	vars := []string{"UV_LINK_MODE=copy"}
	if e.vars["UV_CACHE_DIR"] == "" {
		vars = append(vars, "UV_CACHE_DIR="+filepath.Join(cache, "uv"))
	}
	for name, value := range e.vars {
		if name != "UV_CONSTRAINT" && name != "UV_NO_INDEX" {
			vars = append(vars, name+"="+value)
		}
	}
	slices.Sort(vars)
	return vars
}

// fromPip returns the variables with what PIP_* says in uv's words, where uv's
// own do not say it already.
func fromPip(vars map[string]string) map[string]string {
	out := map[string]string{}
	for name, value := range vars {
		out[name] = value
	}
	set := func(value, name string, also ...string) {
		for _, n := range append(also, name) {
			if out[n] != "" {
				return
			}
		}
		if value != "" {
			out[name] = value
		}
	}
	words := func(name, by string) string { return strings.Join(strings.Fields(vars[name]), by) }
	set(vars["PIP_INDEX_URL"], "UV_DEFAULT_INDEX", "UV_INDEX_URL")
	set(words("PIP_EXTRA_INDEX_URL", " "), "UV_INDEX", "UV_EXTRA_INDEX_URL")
	set(words("PIP_FIND_LINKS", ","), "UV_FIND_LINKS")
	set(words("PIP_TRUSTED_HOST", " "), "UV_INSECURE_HOST")
	set(words("PIP_CONSTRAINT", " "), "UV_CONSTRAINT")
	set(vars["PIP_CERT"], "SSL_CERT_FILE")
	set(vars["PIP_CLIENT_CERT"], "SSL_CLIENT_CERT")
	set(vars["PIP_PROXY"], "HTTP_PROXY", "http_proxy")
	set(vars["PIP_PROXY"], "HTTPS_PROXY", "https_proxy")
	set(number(vars["PIP_DEFAULT_TIMEOUT"]), "UV_HTTP_TIMEOUT", "UV_REQUEST_TIMEOUT")
	set(number(vars["PIP_TIMEOUT"]), "UV_HTTP_TIMEOUT", "UV_REQUEST_TIMEOUT")
	set(number(vars["PIP_RETRIES"]), "UV_HTTP_RETRIES")
	if isTrue(vars["PIP_NO_INDEX"]) {
		set("1", "UV_NO_INDEX")
	}
	if isTrue(vars["PIP_PRE"]) {
		set("allow", "UV_PRERELEASE")
	}
	if vars["PIP_KEYRING_PROVIDER"] == "subprocess" {
		set("subprocess", "UV_KEYRING_PROVIDER")
	}
	return out
}

// number returns the whole part of a number, which is what uv reads; "" for
// anything else.
func number(text string) string {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || n < 0 || n > 1e6 {
		return ""
	}
	return strconv.Itoa(int(n))
}

func isTrue(text string) bool {
	return slices.Contains([]string{"1", "true", "yes", "on", "y", "t"}, strings.ToLower(text))
}

// indexes returns the package indexes and wheel folders in use, comparable:
// without user, password and final slash.
func (e environment) indexes() []string {
	list := []string{canonical("https://pypi.org/simple")}
	for _, name := range []string{"UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS"} {
		for _, word := range strings.FieldsFunc(e.vars[name], func(r rune) bool { return r == ' ' || r == ',' || r == '\t' || r == '\n' }) {
			if label, address, ok := strings.Cut(word, "="); ok && !strings.Contains(label, ":") {
				word = address // name=https://…
			}
			list = append(list, canonical(word))
		}
	}
	return list
}

func canonical(index string) string {
	u, err := url.Parse(index)
	if err != nil || u.Host == "" {
		return strings.TrimRight(index, "/")
	}
	return strings.ToLower(u.Scheme+"://"+u.Host) + strings.TrimRight(u.EscapedPath(), "/")
}
