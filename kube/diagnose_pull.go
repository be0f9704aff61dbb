package kube

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/slipway-dev/slipway"
)

// pullWords says what the texts of a refused pull mean: those of containerd
// (core/remotes/docker, core/images), of CRI-O (github.com/containers/image)
// and of Docker (distribution/errors.go). The first that fits counts, in lower
// case. A text that is not here is of a registry, or of the network before it,
// that is not well: it heals.
var pullWords = []struct {
	kind    string
	message string // what is wrong, after "the image "
	pattern *regexp.Regexp
}{
	{kindPlatform, "has no variant for the node's platform", regexp.MustCompile(
		`no match for platform in manifest|no matching manifest for |no image found in (manifest list|image index) for architecture|cannot be used on this platform|does not match the specified platform`)},
	{kindPull, "comes as something that is no image", regexp.MustCompile(`unexpected media type|unsupported media type|unexpected end of json|invalid character '`)},
	{kindRefused, "may not be pulled", regexp.MustCompile(
		`\b401 unauthorized|\b403 forbidden|unexpected status( from [a-z]+ request to [^:]+:\S+)?: 40[13]\b|unauthorized: |authentication required|insufficient_scope|pull access denied|access to the resource is denied|requested access.* denied|no basic auth credentials|unable to retrieve auth token|invalid username/password|denied: `)},
	{kindNotFound, "does not exist", regexp.MustCompile(`: not found$|manifest unknown|manifest_unknown|name unknown|name_unknown|not found: manifest|repository does not exist|\b404 not found`)},
}

// Texts that heal only if somebody does something about them.
var addressWords = regexp.MustCompile(`no such host|x509: |tls: |server gave http response to https client|certificate signed by`)

// The image registry's doing, as far as its own words are known.
var registryWords = []struct {
	message string
	pattern *regexp.Regexp
}{
	{"the image registry is overloaded", regexp.MustCompile(`\b429 too many requests|toomanyrequests|rate limit`)},
	{"the image registry is not well", regexp.MustCompile(`\b5\d\d (internal server error|bad gateway|service unavailable|gateway timeout)|: 5\d\d\b`)},
	{"the image registry has a name that nobody knows", regexp.MustCompile(`no such host`)},
	{"the image registry's certificate is not accepted", regexp.MustCompile(`x509: |tls: |certificate signed by|server gave http response to https client`)},
	{"the node has no space left for the image", regexp.MustCompile(`no space left on device`)},
	{"the image registry is out of reach", regexp.MustCompile(`i/o timeout|deadline exceeded|connection (refused|reset)|no route to host|network is unreachable|\beof\b|dial tcp`)},
}

// isPull reports whether a container waits for its image.
func isPull(reason string) bool {
	switch reason {
	case "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed":
		return true
	}
	return false
}

// pull is why a container has no image.
func (x patient) pull(c container) *slipway.Problem {
	w := c.status.State.Waiting
	text := pullCause(w.Message)
	if text == "" { // kubelets before 1.31 do not say it again while they back off
		text = x.pullEvent(c.name())
	}
	evidence := pullEvidence(text)
	if evidence == "" {
		evidence = printable(w.Reason, 100)
	}
	image := shortImage(c.spec.Image)
	p := slipway.Problem{Message: x.names(c) + ": ", Evidence: evidence}
	switch w.Reason {
	case "InvalidImageName":
		p.Kind, p.Hint = kindBadImage, "give an image repository in lower case: --image REGISTRY/REPOSITORY"
		p.Message += fmt.Sprintf("%s is no name of an image", image)
		return &p
	case "ErrImageNeverPull":
		p.Kind, p.Hint = kindNotFound, x.kubectl("patch deployment %s …: imagePullPolicy Never lets no node pull; take it out", x.name)
		p.Message += fmt.Sprintf("the image %s is not on the node, which may not pull it", image)
		return &p
	}
	for _, words := range pullWords {
		if words.pattern.MatchString(strings.ToLower(text)) {
			p.Kind, p.Message = words.kind, p.Message+"the image "+image+" "+words.message
			break
		}
	}
	switch p.Kind {
	case kindPlatform:
		p.Hint = "build it for the nodes' platform with --platform OS/ARCH; kubectl get nodes -L kubernetes.io/os,kubernetes.io/arch shows it"
		return &p
	case kindNotFound:
		p.Hint = "slipway deploy --retry pushes it again; or see what the registry keeps and for how long"
		return &p
	case kindRefused:
		p.Hint = x.letPull(c.spec.Image)
		return &p
	}
	return x.pullHeals(p, c, strings.ToLower(text))
}

// pullHeals is a problem of the image registry or of the way to it.
func (x patient) pullHeals(p slipway.Problem, c container, text string) *slipway.Problem {
	if p.Kind == "" {
		p.Kind = kindPull
		p.Message += "the image " + shortImage(c.spec.Image) + " cannot be pulled yet"
		for _, words := range registryWords {
			if words.pattern.MatchString(text) {
				p.Message = x.names(c) + ": " + words.message
				break
			}
		}
	}
	limit := pullLimit
	if addressWords.MatchString(text) {
		limit = addressLimit
	}
	p.Hint = x.kubectl("describe pod %s tells each attempt; kubectl -n %s get secrets,serviceaccounts and the node's network settings tell how it pulls", x.pod.Name, x.pod.Namespace)
	return until(p, x.readyToPull().Add(limit), x.now)
}

// readyToPull is when the pod had all but its images.
func (x patient) readyToPull() time.Time {
	for _, kind := range []corev1.PodConditionType{corev1.PodReadyToStartContainers, corev1.PodScheduled} {
		if c := condition(x.pod, kind); c.Status == corev1.ConditionTrue {
			return c.LastTransitionTime.Time
		}
	}
	return x.pod.CreationTimestamp.Time
}

// pullCause is what the kubelet says about a pull, without the words that
// change from one attempt to the next: "Back-off pulling image "…":
// ErrImagePull: rpc error: code = NotFound desc = …" (pkg/kubelet/images).
func pullCause(message string) string {
	if rest, ok := strings.CutPrefix(message, "Back-off pulling image "); ok {
		_, message, _ = strings.Cut(rest, `": `)
	}
	for _, prefix := range []*regexp.Regexp{pullPrefix, rpcPrefix} {
		message = message[len(prefix.FindString(message)):]
	}
	return strings.TrimSpace(message)
}

// pullEvidence leaves out what the problem's message says already.
func pullEvidence(text string) string { return printable(ofImage.ReplaceAllString(text, ""), maxText) }

var (
	ofImage    = regexp.MustCompile(`^failed to pull and unpack image "[^"]*": (failed to resolve reference "[^"]*": )?`)
	pullPrefix = regexp.MustCompile(`^(ErrImagePull|ImagePullBackOff|RegistryUnavailable|SignatureValidationFailed): `)
	rpcPrefix  = regexp.MustCompile(`^rpc error: code = \w+ desc = `)
	failedPull = regexp.MustCompile(`^Failed to pull image "[^"]*": `)
)

// pullEvent is the cause of the last attempt, as its event has it.
func (x patient) pullEvent(container string) string {
	e := latest(x.events, func(e corev1.Event) bool { return concerns(e, container) && failedPull.MatchString(e.Message) })
	if e == nil {
		return ""
	}
	return pullCause(failedPull.ReplaceAllString(e.Message, ""))
}

// shortImage is an image reference for people: with the short form of its
// digest.
func shortImage(reference string) string {
	name, _, _ := strings.Cut(reference, "@")
	if d := digestIn(reference); d != "" {
		return printable(name, 200) + "@" + d.Short()
	}
	return printable(reference, 300)
}

// letPull is how the cluster is given access to the image's registry.
func (x patient) letPull(image string) string {
	host, _, _ := strings.Cut(image, "/")
	if name, ok := strings.CutSuffix(host, ".azurecr.io"); ok {
		return fmt.Sprintf("az aks update --name CLUSTER --resource-group GROUP --attach-acr %s lets the cluster pull", printable(name, 100))
	}
	return x.kubectl("create secret docker-registry REGISTRY --docker-server=%s --docker-username=… --docker-password=…, and name it in the pods' imagePullSecrets", printable(host, 200))
}
