package kube

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"regexp"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-dev/slipway"
)

// manifest is the file that creates the objects and the Role Slipway needs.
const manifest = "k8s/deployment-production.yaml"

// maxText bounds what is quoted of the API server, in bytes.
const maxText = 1 << 10

// apiError says what an error of a call to the API server means. It returns
// nil for nil, and an error that is ours already as it is. What may pass by
// itself is Unavailable; a right that is missing is Unauthorized and named.
func apiError(op string, err error) error {
	var ours *slipway.Error
	var status apierrors.APIStatus
	switch {
	case err == nil:
		return nil
	case errors.As(err, &ours):
		return err
	case errors.As(err, &status):
		return statusError(op, status.Status())
	}
	return unreached(op, err)
}

// statusError is an answer of the API server as an error.
func statusError(op string, s metav1.Status) error {
	text := printable(s.Message, maxText)
	e := slipway.Errorf(codeOf(s), op, "%s", text)
	switch {
	case deniedBy.MatchString(text):
		e.Code = slipway.Invalid
		return e.WithHint("see what %s asks for: kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations,validatingadmissionpolicies",
			deniedBy.FindString(text))
	case s.Code == http.StatusForbidden:
		return forbidden(e, text)
	case s.Code == http.StatusUnauthorized:
		e.Message = "the API server does not accept the credentials: " + text
		return e.WithHint("log in again, or set KUBECONFIG; kubectl auth whoami shows who you are")
	case strings.Contains(text, "failed calling webhook"):
		return e.WithHint("see why the webhook does not answer: kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations")
	}
	return e
}

// deniedBy matches how the API server says that an admission webhook or policy
// denied a request, whatever code that one chose.
var deniedBy = regexp.MustCompile(`^(?:[^:]* is forbidden: )?(admission webhook "[^"]*"|ValidatingAdmissionPolicy '[^']*') (?:with binding '[^']*' )?denied`)

// codeOf maps what an API server answers: asking again helps where it was
// busy, broken or starting.
func codeOf(s metav1.Status) slipway.Code {
	switch s.Code {
	case http.StatusUnauthorized, http.StatusForbidden:
		return slipway.Unauthorized
	case http.StatusNotFound:
		return slipway.NotFound
	case http.StatusConflict:
		return slipway.Conflict
	case http.StatusRequestEntityTooLarge:
		return slipway.Exhausted
	case http.StatusRequestTimeout, http.StatusGone, http.StatusTooManyRequests:
		return slipway.Unavailable
	}
	if s.Code >= 400 && s.Code < 500 {
		return slipway.Invalid
	}
	return slipway.Unavailable
}

// missingRight matches how RBAC says that a right is missing.
var missingRight = regexp.MustCompile(`User "([^"]*)" cannot ([a-z]+) resource "([^"]*)" in API group "([^"]*)"(?: in the namespace "([^"]*)")?`)

// forbidden tells a missing right from a quota and from an admission plugin,
// which all answer 403.
func forbidden(e *slipway.Error, text string) error {
	m := missingRight.FindStringSubmatch(text)
	switch {
	case m != nil: // of which Deployment it was asked for, nobody says
		return lacks(e, right{user: m[1], verb: m[2], resource: m[3], group: m[4], namespace: m[5]})
	case strings.Contains(text, "exceeded quota"):
		e.Code = slipway.Exhausted
		return e.WithHint("kubectl describe resourcequota shows the quota and what uses it up")
	case strings.Contains(text, "is being terminated"):
		e.Code = slipway.Invalid
		return e.WithHint("the namespace is being deleted; wait until it is gone, then deploy with --create")
	case strings.Contains(text, " cannot "): // another authorizer's words
		return e.WithHint("ask who runs the cluster for this right; %s has the Role that is enough", manifest)
	}
	e.Code = slipway.Invalid
	return e
}

// right is what a user may not do. The Role that gives it is the deployment's,
// "" where it is not known.
type right struct{ user, verb, resource, group, namespace, deployment string }

func lacks(e *slipway.Error, r right) error {
	e.Message = "the right to " + r.verb + " " + r.full()
	if r.namespace != "" {
		e.Message += " in the namespace " + r.namespace
	}
	e.Message += " is missing: " + r.user + " may not"
	if r.namespace == "" {
		return e.WithHint("ask who runs the cluster: kubectl create clusterrole NAME --verb=%s --resource=%s", r.verb, r.full())
	}
	return e.WithHint("%s; bind it: kubectl create rolebinding slipway-ci --role=%s %s -n %s%s", r.role(), roleOf(cmp.Or(r.deployment, manifestName)),
		r.subject(), r.namespace, map[bool]string{true: "; a Deployment of another name than " + manifestName + " has the Role " + roleOf("NAME")}[r.deployment == ""])
}

// role says what creates the Role that gives the right.
func (r right) role() string {
	ref := slipway.TargetRef{Namespace: r.namespace, Name: cmp.Or(r.deployment, manifestName)}
	if !isManifests(ref) {
		return "slipway deploy --create makes the Role " + roleOf(ref.Name) + ", or slipway init writes a manifest with it to apply"
	}
	return "kubectl apply -f " + manifest + " creates the Role " + roleOf(ref.Name)
}

// full is the resource as kubectl and Roles name it.
func (r right) full() string {
	if r.group == "" {
		return r.resource
	}
	kind, sub, nested := strings.Cut(r.resource, "/")
	if nested {
		return kind + "." + r.group + "/" + sub
	}
	return kind + "." + r.group
}

var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9@._:/-]*$`)

// subject is the flag of kubectl that names the user.
func (r right) subject() string {
	account, isAccount := strings.CutPrefix(r.user, "system:serviceaccount:")
	switch {
	case !plainName.MatchString(r.user):
		return "--user=USER"
	case isAccount:
		return "--serviceaccount=" + account
	}
	return "--user=" + r.user
}

// unreached is an error that is no answer of the API server.
func unreached(op string, err error) error {
	var certificate *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var plain tls.RecordHeaderError
	text := printable(err.Error(), maxText)
	switch {
	case errors.As(err, &certificate), errors.As(err, &authority), errors.As(err, &plain):
		return slipway.Errorf(slipway.Invalid, op, "the API server's certificate is not the one the kubeconfig expects: %s", text).
			WithHint("check server and certificate-authority of the kubeconfig's cluster: kubectl config view --minify")
	case errors.Is(err, errElsewhere):
		return slipway.Errorf(slipway.Invalid, op, "%s", text)
	case strings.Contains(text, "getting credentials"): // a plugin of the kubeconfig
		return slipway.Errorf(slipway.Unauthorized, op, "the kubeconfig's credentials cannot be had: %s", text).
			WithHint("log in again; kubectl auth whoami tries the same")
	}
	return &slipway.Error{
		Op: op, Code: slipway.Unavailable, Message: "the API server does not answer", Err: unprintable{text, err},
		Hint: "kubectl cluster-info shows whether it is there",
	}
}

// unprintable is an error from outside with a text that is safe to show.
type unprintable struct {
	text string
	err  error
}

func (u unprintable) Error() string { return u.text }
func (u unprintable) Unwrap() error { return u.err }

// printable bounds text from outside, in bytes, and takes out what a terminal
// would obey.
func printable(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t':
			return ' '
		case r < ' ', r >= 0x7f && r <= 0x9f, r == 0x2028, r == 0x2029, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + "…"
	}
	return strings.TrimSpace(text)
}
