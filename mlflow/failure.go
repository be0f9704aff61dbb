package mlflow

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/slipway-dev/slipway"
)

// reply is what a server answered instead of what it was asked for. It is the
// cause inside the slipway.Error.
type reply struct {
	status     int
	code       string // MLflow's error_code; empty when the body was not MLflow's
	text       string // bounded, one line
	retryAfter time.Duration
	route      bool // the answer came from outside MLflow's handlers: an HTML or text page
}

func (r *reply) Error() string {
	s := fmt.Sprintf("%d %s", r.status, orNone(http.StatusText(r.status)))
	if r.code != "" {
		s = fmt.Sprintf("%d %s", r.status, r.code)
	}
	if r.text != "" {
		s += ": " + r.text
	}
	return s
}

// hasStatus reports whether err is a server's answer with one of the statuses.
func hasStatus(err error, statuses ...int) bool {
	var r *reply
	if !errors.As(err, &r) {
		return false
	}
	for _, s := range statuses {
		if r.status == s {
			return true
		}
	}
	return false
}

// refused turns an answer other than success into an Error.
func (c *Client) refused(op string, res *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxFailure)) // what could be read is enough for a message
	r := parseFailure(body, mediaType(res.Header))
	r.status = res.StatusCode
	r.retryAfter = parseRetryAfter(res.Header.Get("Retry-After"), time.Now())
	e := &slipway.Error{Op: op, Code: codeOf(r), Message: "MLflow refused", Err: r}
	if e.Code == slipway.Unavailable {
		e.Message = "MLflow failed"
	}
	e.Hint = c.hint(r, res)
	return e
}

// parseFailure reads an error's body: MLflow's JSON, FastAPI's {"detail"}, an
// HTML page or plain words.
func parseFailure(body []byte, media string) *reply {
	var shaped struct {
		Code    string `json:"error_code"`
		Message string `json:"message"`
		Detail  any    `json:"detail"`
	}
	if json.Unmarshal(body, &shaped) == nil && media != "text/html" {
		if detail, ok := shaped.Detail.(string); ok && shaped.Message == "" {
			shaped.Message = detail
		}
		return &reply{code: oneLine(shaped.Code), text: oneLine(shaped.Message), route: shaped.Code == "" && shaped.Message == ""}
	}
	return &reply{text: pageText(string(body)), route: true}
}

var (
	titlePattern   = regexp.MustCompile(`(?is)<title[^>]*>(.*?)</title>`)
	hiddenPattern  = regexp.MustCompile(`(?is)<(?:head|script|style)\b.*?</(?:head|script|style)>|<!--.*?-->`)
	elementPattern = regexp.MustCompile(`(?s)<[^>]*>`)
	headPattern    = regexp.MustCompile(`(?i)<(?:!doctype|html|head|body)\b`)
)

// pageText returns the words of an HTML page, or of a text that is none.
func pageText(body string) string {
	if !headPattern.MatchString(body) {
		return oneLine(body)
	}
	if m := titlePattern.FindStringSubmatch(body); m != nil && strings.TrimSpace(m[1]) != "" {
		return oneLine(m[1])
	}
	return oneLine(elementPattern.ReplaceAllString(hiddenPattern.ReplaceAllString(body, " "), " "))
}

// oneLine makes foreign text fit for a message: printable, one line, bounded.
func oneLine(s string) string {
	const limit = 300
	s = strings.ToValidUTF8(s, "�")
	s = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > limit {
		s = string(r[:limit]) + "…"
	}
	return s
}

// codes maps MLflow's error codes (mlflow.protos.databricks_pb2.ErrorCode).
// Some come with a status that says something else.
var codes = map[string]slipway.Code{
	"RESOURCE_DOES_NOT_EXIST": slipway.NotFound, "NOT_FOUND": slipway.NotFound,
	"RESOURCE_ALREADY_EXISTS": slipway.Conflict, "ALREADY_EXISTS": slipway.Conflict,
	"RESOURCE_CONFLICT": slipway.Conflict, "ABORTED": slipway.Conflict,
	"PERMISSION_DENIED": slipway.Unauthorized, "UNAUTHENTICATED": slipway.Unauthorized, "CUSTOMER_UNAUTHORIZED": slipway.Unauthorized,
	"INVALID_PARAMETER_VALUE": slipway.Invalid, "BAD_REQUEST": slipway.Invalid, "NOT_IMPLEMENTED": slipway.Invalid,
	"REQUEST_LIMIT_EXCEEDED": slipway.Unavailable, "RESOURCE_EXHAUSTED": slipway.Unavailable,
	"TEMPORARILY_UNAVAILABLE": slipway.Unavailable, "DEADLINE_EXCEEDED": slipway.Unavailable,
	"DATA_LOSS": slipway.Corrupt,
}

func codeOf(r *reply) slipway.Code {
	if code, ok := codes[r.code]; ok {
		return code
	}
	switch {
	case r.status == http.StatusUnauthorized, r.status == http.StatusForbidden, r.status == http.StatusProxyAuthRequired:
		return slipway.Unauthorized
	case r.status == http.StatusNotFound && !r.route, r.status == http.StatusGone:
		return slipway.NotFound
	case r.status == http.StatusConflict, r.status == http.StatusPreconditionFailed:
		return slipway.Conflict
	case notServing(r), r.status == http.StatusNotImplemented:
		return slipway.Invalid
	case r.status >= 500, r.status == http.StatusTooManyRequests, r.status == http.StatusRequestTimeout:
		return slipway.Unavailable
	}
	return slipway.Invalid
}

// notServing recognises the 503 of a server that does not proxy artifacts,
// which stays so however often one asks.
func notServing(r *reply) bool {
	return r.status == http.StatusServiceUnavailable &&
		(strings.Contains(r.text, "--serve-artifacts") || strings.Contains(r.text, "Artifact serving is"))
}

func (c *Client) hint(r *reply, res *http.Response) string {
	host := res.Request.URL.Host
	switch {
	case strings.Contains(r.text, "Invalid Host header"):
		return fmt.Sprintf("allow the name on the server: mlflow server --allowed-hosts %s (or MLFLOW_SERVER_ALLOWED_HOSTS), or set MLFLOW_TRACKING_URI to the server's private address", host)
	case host != c.base.Host && (r.status == http.StatusUnauthorized || r.status == http.StatusForbidden):
		return "credentials are sent to " + c.base.Host + " only; set MLFLOW_TRACKING_URI to " + host + " if they are meant for it"
	case r.status == http.StatusUnauthorized:
		return c.loginHint()
	case r.status == http.StatusForbidden:
		return "give the MLflow user READ on the model, and EDIT to set tags, aliases and stages; a proxy in front may refuse too"
	case r.status == http.StatusProxyAuthRequired:
		return "put user and password into HTTPS_PROXY or HTTP_PROXY"
	case notServing(r):
		return "start the server with --serve-artifacts and --artifacts-destination"
	case r.status/100 == 3:
		return "set MLFLOW_TRACKING_URI to where it redirects, " + redirectTarget(res) + "; if that is a login page, use the address behind it"
	case r.route && (r.status == http.StatusNotFound || r.status == http.StatusMethodNotAllowed):
		return "there may be no MLflow at " + c.URI() + ": give MLFLOW_TRACKING_URI its path prefix too, if it has one"
	case r.status == http.StatusTooManyRequests:
		return "the server limits requests; run the command again later"
	case r.status >= 500:
		return "the server's log says more"
	}
	return ""
}

func (c *Client) loginHint() string {
	switch {
	case c.config.Username != "" && c.config.Password != "":
		return fmt.Sprintf("user %s and its password are not accepted: check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or ~/.mlflow/credentials", c.config.Username)
	case c.config.Token != "":
		return "the token is not accepted: check MLFLOW_TRACKING_TOKEN, or set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
	}
	return "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
}

func redirectTarget(res *http.Response) string {
	u, err := res.Location()
	if err != nil {
		return "an unreadable address"
	}
	return oneLine((&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String())
}

func notMLflow(op string, u *url.URL, why string) error {
	return slipway.Errorf(slipway.Invalid, op, "%s is no MLflow: %s", u.Host, why).
		WithHint("check MLFLOW_TRACKING_URI; a login page in front of MLflow answers like this")
}

// unreachable explains why there was no whole answer. net/http's own wrapper
// is taken off: it quotes the URL, and a presigned one is a credential.
func unreachable(ctx context.Context, op, host string, err error) error {
	var own *slipway.Error
	if errors.As(err, &own) {
		return own
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	e := &slipway.Error{Op: op, Code: slipway.Unavailable, Message: host + " cannot be reached", Err: err}
	explainNetwork(e, err)
	return e
}

func explainNetwork(e *slipway.Error, err error) {
	var (
		verification *tls.CertificateVerificationError
		authority    x509.UnknownAuthorityError
		record       tls.RecordHeaderError
		alert        *net.OpError
		name         *net.DNSError
	)
	switch {
	case errors.As(err, &authority):
		e.Code, e.Message = slipway.Invalid, "the server's certificate is not trusted"
		e.Hint = "set MLFLOW_TRACKING_SERVER_CERT_PATH to the PEM file of the authority that signed it"
	case errors.As(err, &verification):
		e.Code, e.Message = slipway.Invalid, "the server's certificate is not valid"
		e.Hint = "use the name the certificate was issued for in MLFLOW_TRACKING_URI"
	case errors.As(err, &record), strings.Contains(err.Error(), "HTTP response to HTTPS client"):
		e.Code, e.Message = slipway.Invalid, "the server does not speak TLS"
		e.Hint = "write http:// instead of https:// in MLFLOW_TRACKING_URI"
	case errors.As(err, &alert) && alert.Op == "remote error": // crypto/tls's name for an alert
		e.Code, e.Message = slipway.Unauthorized, "the server refused the TLS connection"
		e.Hint = "it may want a client certificate: set MLFLOW_TRACKING_CLIENT_CERT_PATH"
	case errors.As(err, &name) && name.IsNotFound:
		e.Hint = "check the host in MLFLOW_TRACKING_URI, and HTTPS_PROXY if there is one"
	default:
		e.Hint = "check that MLflow runs and that MLFLOW_TRACKING_URI is right"
	}
}
