package mlflow

import (
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"gopkg.in/ini.v1"

	"github.com/slipway-dev/slipway"
)

// Config says which MLflow to talk to and how. Only URI is required.
type Config struct {
	URI            string // http(s)://HOST[:PORT][/PREFIX]; a user and password in it count as Username and Password
	Username       string // with Password: HTTP basic authentication; wins over Token
	Password       string
	Token          string // sent as a bearer token
	CAFile         string // PEM file of the certificate authorities to trust instead of the system's
	ClientCertFile string // PEM file of the client certificate and its key
	InsecureTLS    bool   // do not check the server's certificate
	Workspace      string // MLflow workspace; empty: the server's default

	MaxFiles int   // files and folders of a model; default 10,000
	MaxBytes int64 // bytes of a model; default 64 GiB
	Jobs     int   // files in transfer at a time; default 4

	Retries int           // how often a request is repeated; default 5, negative: never
	Timeout time.Duration // for one answer of the API; default 1 minute
	Stall   time.Duration // a transfer without a byte for so long is broken; default 5 minutes, as an MLflow in front of S3 fetches the whole file before its first byte

	UserAgent string // default "slipway"

	// Folders opens a folder of an object store with credentials of our own; it
	// returns nil for an address it does not know. Where it is nil or does not
	// get in, MLflow is asked for the files.
	Folders func(uri string) (Folder, error)
}

func (c Config) withDefaults() Config {
	c.MaxFiles = defaulted(c.MaxFiles, 10_000)
	c.MaxBytes = defaulted(c.MaxBytes, 64<<30)
	c.Jobs = defaulted(c.Jobs, 4)
	c.Timeout = defaulted(c.Timeout, time.Minute)
	c.Stall = defaulted(c.Stall, 5*time.Minute)
	if c.Retries == 0 {
		c.Retries = 5
	}
	if c.UserAgent == "" {
		c.UserAgent = "slipway"
	}
	return c
}

func defaulted[T int | int64 | time.Duration](v, otherwise T) T {
	if v <= 0 {
		return otherwise
	}
	return v
}

const readingConfig = "reading MLflow's settings"

// ConfigFrom reads the variables that MLflow's own clients know, and
// ~/.mlflow/credentials below home where neither user nor token is set. Code
// Invalid for a variable that is malformed or asks for what we cannot do;
// a missing MLFLOW_TRACKING_URI leaves URI empty.
func ConfigFrom(getenv func(string) string, home string) (Config, error) {
	if err := refuseUnsupported(getenv); err != nil {
		return Config{}, err
	}
	c := Config{
		URI:            getenv("MLFLOW_TRACKING_URI"),
		Username:       getenv("MLFLOW_TRACKING_USERNAME"),
		Password:       getenv("MLFLOW_TRACKING_PASSWORD"),
		Token:          getenv("MLFLOW_TRACKING_TOKEN"),
		CAFile:         getenv("MLFLOW_TRACKING_SERVER_CERT_PATH"),
		ClientCertFile: getenv("MLFLOW_TRACKING_CLIENT_CERT_PATH"),
		Workspace:      getenv("MLFLOW_WORKSPACE"),
	}
	if c.URI == "" {
		c.URI = getenv("MLFLOW_REGISTRY_URI")
	}
	err := errors.Join(
		readBool(getenv, "MLFLOW_TRACKING_INSECURE_TLS", &c.InsecureTLS),
		readRetries(getenv, &c.Retries),
		readSeconds(getenv, "MLFLOW_HTTP_REQUEST_TIMEOUT", &c.Timeout),
		c.readCredentials(home))
	if err == nil && c.InsecureTLS && c.CAFile != "" {
		err = slipway.Errorf(slipway.Invalid, readingConfig,
			"MLFLOW_TRACKING_INSECURE_TLS and MLFLOW_TRACKING_SERVER_CERT_PATH exclude each other").
			WithHint("keep MLFLOW_TRACKING_SERVER_CERT_PATH and unset MLFLOW_TRACKING_INSECURE_TLS")
	}
	return c, err
}

func refuseUnsupported(getenv func(string) string) error {
	if on, _ := strconv.ParseBool(getenv("MLFLOW_TRACKING_AWS_SIGV4")); on {
		return slipway.Errorf(slipway.Invalid, readingConfig, "MLFLOW_TRACKING_AWS_SIGV4 is set, and signed requests are not supported").
			WithHint("use MLFLOW_TRACKING_TOKEN, or a user name and password")
	}
	if plugin := getenv("MLFLOW_TRACKING_AUTH"); plugin != "" {
		return slipway.Errorf(slipway.Invalid, readingConfig, "MLFLOW_TRACKING_AUTH=%s names a Python plugin, which cannot be run here", plugin).
			WithHint("use MLFLOW_TRACKING_TOKEN, or a user name and password")
	}
	tracking, models := getenv("MLFLOW_TRACKING_URI"), getenv("MLFLOW_REGISTRY_URI")
	if tracking != "" && models != "" && strings.TrimRight(tracking, "/") != strings.TrimRight(models, "/") {
		return slipway.Errorf(slipway.Invalid, readingConfig, "MLFLOW_TRACKING_URI and MLFLOW_REGISTRY_URI differ, and two servers are not supported").
			WithHint("set MLFLOW_TRACKING_URI to the server that holds the model registry and unset MLFLOW_REGISTRY_URI")
	}
	return nil
}

func readBool(getenv func(string) string, name string, to *bool) error {
	text := getenv(name)
	if text == "" {
		return nil
	}
	v, err := strconv.ParseBool(strings.ToLower(text))
	if err != nil {
		return slipway.Errorf(slipway.Invalid, readingConfig, "%s is %.40q, which is neither true nor false", name, text)
	}
	*to = v
	return nil
}

// readRetries reads MLFLOW_HTTP_REQUEST_MAX_RETRIES, where 0 means never.
func readRetries(getenv func(string) string, to *int) error {
	const name = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
	text := getenv(name)
	if text == "" {
		return nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > 20 {
		return slipway.Errorf(slipway.Invalid, readingConfig, "%s is %.40q, which is no number from 0 to 20", name, text)
	}
	*to = n
	if n == 0 {
		*to = -1
	}
	return nil
}

func readSeconds(getenv func(string) string, name string, to *time.Duration) error {
	text := getenv(name)
	if text == "" {
		return nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 3600 {
		return slipway.Errorf(slipway.Invalid, readingConfig, "%s is %.40q, which is no number of seconds from 1 to 3600", name, text)
	}
	*to = time.Duration(n) * time.Second
	return nil
}

// readCredentials takes user name and password from home's .mlflow/credentials,
// an INI file with a section [mlflow], where the settings bring neither.
func (c *Config) readCredentials(home string) error {
	if c.Username != "" || c.Password != "" || c.Token != "" || home == "" {
		return nil
	}
	path := filepath.Join(home, ".mlflow", "credentials")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &slipway.Error{Op: readingConfig, Code: slipway.Invalid, Message: "the credentials file cannot be read", Err: err,
			Hint: "make " + path + " readable, or remove it"}
	}
	if c.Username, c.Password, err = parseCredentials(data); err != nil {
		return slipway.Errorf(slipway.Invalid, readingConfig, "%s is malformed", path).
			WithHint("write a section [mlflow] with mlflow_tracking_username = … and mlflow_tracking_password = …")
	}
	return nil
}

// parseCredentials returns what the file holds, empty where it holds nothing.
// The parser's own error is dropped by the caller: it would quote the line.
func parseCredentials(data []byte) (username, password string, err error) {
	file, err := ini.LoadSources(ini.LoadOptions{IgnoreInlineComment: true, SkipUnrecognizableLines: false}, data)
	if err != nil {
		return "", "", err
	}
	section := file.Section("mlflow")
	username, password = section.Key("mlflow_tracking_username").String(), section.Key("mlflow_tracking_password").String()
	if strings.ContainsAny(username+password, "\r\n\x00") {
		return "", "", errors.New("control characters")
	}
	return username, password, nil
}

// parseURI checks the server's address and splits the credentials off it.
func parseURI(s string) (*url.URL, *url.Userinfo, error) {
	const op = "reading the MLflow address"
	if s == "" {
		return nil, nil, slipway.Errorf(slipway.Invalid, op, "no MLflow is named").
			WithHint("set MLFLOW_TRACKING_URI, for example to http://127.0.0.1:5000")
	}
	if strings.HasPrefix(s, "databricks") {
		return nil, nil, slipway.Errorf(slipway.Invalid, op, "Databricks is not supported").
			WithHint("download the version with MLflow's own client and deploy the model directory")
	}
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, nil, slipway.Errorf(slipway.Invalid, op, "the address is no http or https URL").
			WithHint("start `mlflow server` over the store you use now and set MLFLOW_TRACKING_URI to its address, for example http://127.0.0.1:5000")
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return nil, nil, slipway.Errorf(slipway.Invalid, op, "the address has a query or a fragment").
			WithHint("set MLFLOW_TRACKING_URI to the address without what follows ? or #")
	}
	user := u.User
	u.User = nil
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), ""
	return u, user, nil
}
