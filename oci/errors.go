package oci

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"unicode"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/slipway-dev/slipway"
)

// refusal is an answer of an image registry that is not what was asked for.
type refusal struct {
	status int
	codes  []string // of the specification: "BLOB_UNKNOWN", "DENIED"
	text   string   // what it says, shortened to a line
	after  string   // Retry-After
}

func (r *refusal) Error() string {
	text := fmt.Sprintf("%d %s", r.status, http.StatusText(r.status))
	if r.text != "" {
		text += ": " + r.text
	}
	return text
}

func (r *refusal) has(code string) bool {
	for _, c := range r.codes {
		if c == code {
			return true
		}
	}
	return false
}

// refused reads and closes an answer that was not expected.
func refused(resp *http.Response) *refusal {
	defer discard(resp)
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 16<<10)) // what was read of it is good enough
	return readRefusal(resp.StatusCode, resp.Header.Get("Retry-After"), body)
}

func readRefusal(status int, after string, body []byte) *refusal {
	r := &refusal{status: status, after: after}
	var said struct {
		Errors []struct{ Code, Message string }
	}
	if json.Unmarshal(body, &said) != nil {
		if !strings.Contains(string(body), "<") { // not a proxy's HTML page
			r.text = oneLine(string(body))
		}
		return r
	}
	var texts []string
	for _, e := range said.Errors {
		r.codes = append(r.codes, e.Code)
		texts = append(texts, e.Code+" "+e.Message)
	}
	r.text = oneLine(strings.Join(texts, "; "))
	return r
}

func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	return s
}

// failure turns what went wrong into what the user reads.
func failure(op string, repo name.Repository, err error) error {
	var known *slipway.Error
	if err == nil || errors.As(err, &known) || errors.Is(err, context.Canceled) {
		return err
	}
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return wireFailure(op, repo.RegistryStr(), certificate)
	}
	var theirs *transport.Error
	if errors.As(err, &theirs) {
		err = fromTransport(theirs)
	}
	var r *refusal
	if errors.As(err, &r) {
		return refusalFailure(op, repo, r)
	}
	return wireFailure(op, repo.RegistryStr(), err)
}

func fromTransport(t *transport.Error) *refusal {
	r := &refusal{status: t.StatusCode}
	var texts []string
	for _, d := range t.Errors {
		r.codes = append(r.codes, string(d.Code))
		texts = append(texts, string(d.Code)+" "+d.Message)
	}
	r.text = oneLine(strings.Join(texts, "; "))
	return r
}

func refusalFailure(op string, repo name.Repository, r *refusal) error {
	e := &slipway.Error{Op: op, Code: slipway.Unavailable, Err: r}
	host := repo.RegistryStr()
	switch {
	case r.status == http.StatusUnauthorized:
		e.Code, e.Message = slipway.Unauthorized, host+" wants other credentials"
		e.Hint = "docker login " + host + ", or set ACR_LOGIN_SERVER, ACR_USERNAME and ACR_PASSWORD"
	case r.status == http.StatusForbidden, r.has("DENIED"):
		e.Code, e.Message = slipway.Unauthorized, "the credentials may not do this in "+repo.Name()
		e.Hint = "give the account push and pull rights on " + repo.RepositoryStr() + ", and check that the image registry is not read-only"
	case r.status == http.StatusMethodNotAllowed, r.has("UNSUPPORTED"):
		e.Code, e.Message = slipway.Unauthorized, host+" is read-only"
		e.Hint = "push to an image registry that takes images, or wait for the end of its maintenance"
	case r.has("TAG_INVALID"), r.has("TAG_IMMUTABLE"), r.status == http.StatusConflict:
		e.Code, e.Message = slipway.Conflict, "a tag may not be moved"
		e.Hint = "allow tags of " + repo.Name() + " to be overwritten"
	case r.has("DIGEST_INVALID"), r.has("SIZE_INVALID"):
		e.Code, e.Message = slipway.Corrupt, "other bytes arrived than were sent"
	case r.status == http.StatusNotFound, r.has("NAME_UNKNOWN"):
		e.Code, e.Message = slipway.NotFound, host+" does not have it"
		e.Hint = "check the name, and create the repository " + repo.RepositoryStr() + " where the image registry does not do it itself"
	case r.status == http.StatusTooManyRequests:
		e.Message = host + " limits the rate of requests"
		if r.after != "" {
			e.Message += " (it asks to wait " + oneLine(r.after) + " s)"
		}
		e.Hint = "try again later, or log in: docker login " + host
	case r.status == http.StatusRequestEntityTooLarge:
		e.Code, e.Message = slipway.Exhausted, host+" or a proxy before it refuses a request of this size"
	case r.status >= 500, r.status == http.StatusRequestTimeout:
		e.Message = host + " has trouble"
		e.Hint = "try again; what was uploaded is kept"
	default:
		e.Code, e.Message = slipway.Invalid, host+" refuses it"
	}
	return e
}

func wireFailure(op, host string, err error) error {
	e := &slipway.Error{Op: op, Code: slipway.Unavailable, Message: host + " is out of reach", Err: err,
		Hint: "check the address, that the image registry runs, and HTTPS_PROXY"}
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &certificate):
		e.Message, e.Hint = host+" shows a certificate that is not trusted", "name the authority's certificate with SSL_CERT_FILE"
	case errors.Is(err, errPlain):
		e.Code, e.Message, e.Hint = slipway.Invalid, "", "give the image registry a certificate"
	case errors.Is(err, errStalled):
		e.Message, e.Hint = "", "try again; what was uploaded is kept"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		e.Code, e.Message, e.Hint = slipway.Exhausted, "the disk is full", "free some space"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrExist):
		e.Code, e.Message, e.Hint = slipway.Invalid, "", ""
	case !fromNetwork(err): // it answered, with something that is of no use
		e.Code, e.Message, e.Hint = slipway.Invalid, "", ""
	}
	return e
}

func fromNetwork(err error) bool {
	var request *url.Error
	var network net.Error
	return errors.As(err, &request) || errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.DeadlineExceeded)
}

func credentialsFailure(repo name.Repository, err error) error {
	return &slipway.Error{Op: "finding the credentials for " + repo.RegistryStr(), Code: slipway.Unauthorized, Err: err,
		Hint: "mend ~/.docker/config.json or the credential helper it names, or set ACR_LOGIN_SERVER, ACR_USERNAME and ACR_PASSWORD"}
}

func corrupt(op, format string, args ...any) error {
	return slipway.Errorf(slipway.Corrupt, op, format, args...).
		WithHint("the image registry or something before it changes what it stores; push again, to another one if it stays so")
}
