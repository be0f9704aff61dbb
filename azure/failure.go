package azure

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"github.com/slipway-dev/slipway"
)

// maxFailure bounds how much of an answer that is an error is read, in bytes.
const maxFailure = 64 << 10

// failure is what a service says of why it refuses.
type failure struct{ code, text string }

func (f failure) String() string {
	if f.code != "" && f.text != "" {
		return f.code + ": " + f.text
	}
	return f.code + f.text
}

// readFailure reads the forms in which Azure's services complain: Resource
// Manager's {"error": {"code", "message"}}, an image registry's {"errors":
// […]}, a storage account's XML, Azure DevOps's {"message"}. Any other answer
// gives nothing: it is not to be quoted.
func readFailure(body []byte) failure {
	type words struct {
		Code    string `json:"code" xml:"Code"`
		Message string `json:"message" xml:"Message"`
	}
	var form struct {
		words
		Error  json.RawMessage `json:"error"`
		Errors []words         `json:"errors"`
	}
	found := words{}
	if json.Unmarshal(body, &form) == nil {
		found = form.words
		var inner words
		switch {
		case json.Unmarshal(form.Error, &inner) == nil && inner != words{}:
			found = inner
		case len(form.Errors) > 0:
			found = form.Errors[0]
		}
	} else if xml.Unmarshal(trimMark(body), &found) != nil {
		return failure{}
	}
	text, _, _ := strings.Cut(found.Message, "\n") // a storage account adds request id and time
	return failure{oneLine(found.Code), oneLine(text)}
}

// trimMark takes off the byte order mark that storage accounts begin with.
func trimMark(body []byte) []byte { return []byte(strings.TrimPrefix(string(body), "\uFEFF")) }

// refusal is an answer other than success.
type refusal struct {
	op, host string
	status   int
	said     failure
}

// err is the refusal as an error; whoever knows what was asked adds the hint.
func (r refusal) err() *slipway.Error {
	e := &slipway.Error{Op: r.op, Code: slipway.Unavailable, Message: r.host + " has trouble", Err: r.cause()}
	switch {
	case r.status == http.StatusUnauthorized, r.status == http.StatusForbidden, r.status/100 == 3, // a login page
		r.said.code == "InvalidAuthenticationInfo": // of a storage account, with 400
		e.Code, e.Message = slipway.Unauthorized, r.host+" refuses"
	case r.status == http.StatusNotFound, r.status == http.StatusGone:
		e.Code, e.Message = slipway.NotFound, r.host+" does not know it"
	case r.status == http.StatusTooManyRequests:
		e.Message = r.host + " limits the rate of requests"
	case r.status/100 == 4 && r.status != http.StatusRequestTimeout:
		e.Code, e.Message = slipway.Invalid, r.host+" refuses"
	}
	return e
}

func (r refusal) cause() error {
	text := fmt.Sprintf("%d %s", r.status, http.StatusText(r.status))
	if said := r.said.String(); said != "" {
		text += ": " + tokenLike.ReplaceAllString(said, "***")
	}
	return errors.New(text)
}

// hinted adds a hint to an error of ours that has none and is worth one.
func hinted(err error, format string, args ...any) error {
	var e *slipway.Error
	if !errors.As(err, &e) || e.Hint != "" || e.Code == slipway.Unavailable {
		return err
	}
	return e.WithHint(format, args...)
}

// unreachable explains why there was no whole answer. net/http's own wrapper is
// taken off: it quotes the URL, which may hold a signature.
func unreachable(ctx context.Context, op, host string, err error) *slipway.Error {
	var ours *slipway.Error
	if errors.As(err, &ours) {
		return ours
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	e := &slipway.Error{Op: op, Code: slipway.Unavailable, Message: host + " is out of reach", Err: err}
	return e.WithHint("%s", wireHint(e, err))
}

func wireHint(e *slipway.Error, err error) string {
	var certificate *tls.CertificateVerificationError
	var name *net.DNSError
	switch {
	case errors.As(err, &certificate):
		e.Code, e.Message = slipway.Invalid, e.Message+": its certificate is not trusted"
		return "set SSL_CERT_FILE to the PEM file of the authority that signed it"
	case errors.As(err, &name) && name.IsNotFound:
		return "check the name, and HTTPS_PROXY if there is one"
	}
	return "check the network and HTTPS_PROXY; then run it again"
}

// oneLine makes foreign text fit for a message: printable, one line, bounded.
func oneLine(s string) string {
	const limit = 600
	s = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > limit {
		s = string(r[:limit]) + "…"
	}
	return s
}
