package kube

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/slipway-dev/slipway"
)

// The variables that each pod of a release has beside the release's own.
const (
	variableName    = "MODEL_NAME"
	variableVersion = "MODEL_VERSION"
)

// variablePattern is what can be set in every shell and every cluster.
var variablePattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,250}$`)

func isVariable(name string) bool { return variablePattern.MatchString(name) }

var (
	secretPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)
	keyPattern    = regexp.MustCompile(`^[A-Za-z0-9._-]{1,253}$`)
)

// secretOf reads NAME, the key NAME of the Secret called like the Deployment,
// or NAME=SECRET/KEY.
func secretOf(entry, deployment string) (name, secret, key string, ok bool) {
	name, from, named := strings.Cut(entry, "=")
	secret, key = deployment, name
	if named {
		secret, key, _ = strings.Cut(from, "/")
	}
	return name, secret, key, isVariable(name) && secretPattern.MatchString(secret) && keyPattern.MatchString(key)
}

// checkVariables refuses a release whose environment no container can have.
func checkVariables(op string, r slipway.Release) error {
	taken := map[string]bool{variableName: true, variableVersion: true}
	take := func(name string) error {
		if taken[name] {
			return slipway.Errorf(slipway.Invalid, op, "the variable %s is set twice", name).
				WithHint("MODEL_NAME and MODEL_VERSION are slipway's; name each other one once, in env or in secretEnv")
		}
		taken[name] = true
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(r.Env)) {
		if !isVariable(name) {
			return slipway.Errorf(slipway.Invalid, op, "%.80q cannot be the name of a variable", name).WithHint("letters, digits and _")
		}
		if err := take(name); err != nil {
			return err
		}
	}
	for _, entry := range r.SecretEnv {
		name, _, _, ok := secretOf(entry, "x")
		if !ok {
			return slipway.Errorf(slipway.Invalid, op, "%.80q names no key of a Secret", entry).WithHint("write NAME, or NAME=SECRET/KEY")
		}
		if err := take(name); err != nil {
			return err
		}
	}
	return nil
}

// wanted returns the fields that the release sets. The environment's values
// are taken literally: Kubernetes would put another variable's value in for
// $(NAME).
func (s *survey) wanted(op string, r slipway.Release) (values, error) {
	v := values{}
	v.set(keyImage, r.Image.Ref())
	v.set(keyCause, cause(r))
	literal := func(name, text string) {
		v.set(keyEnv+name, map[string]string{"name": name, "value": strings.ReplaceAll(text, "$", "$$")})
	}
	literal(variableName, string(r.Model.Name))
	literal(variableVersion, string(r.Model.Version))
	for name, text := range r.Env {
		literal(name, text)
	}
	for _, entry := range r.SecretEnv {
		name, secret, key, _ := secretOf(entry, s.d.Name)
		v.set(keyEnv+name, map[string]any{"name": name, "valueFrom": map[string]any{"secretKeyRef": map[string]string{"name": secret, "key": key}}})
	}
	if r.Replicas > 0 {
		v.set(keyReplicas, r.Replicas)
	}
	if r.Startup > 0 {
		s.wantStartup(v, r.Startup)
	}
	return v, wantRequests(op, v, r.Requests)
}

func wantRequests(op string, v values, r slipway.Requests) error {
	for key, text := range map[string]string{keyCPU: r.CPU, keyMemory: r.Memory} {
		if text == "" {
			continue
		}
		q, err := resource.ParseQuantity(text)
		if err != nil || q.Sign() < 0 {
			return slipway.Errorf(slipway.Invalid, op, "%s: %.40q is no quantity", key, text).WithHint("as Kubernetes writes them: 250m, 512Mi")
		}
		v.set(key, q)
	}
	return nil
}

// wantStartup lets a pod take so long to become ready: by the limit of the
// start-up probe that the container has, else by one of ours.
func (s *survey) wantStartup(v values, limit time.Duration) {
	seconds := int32(min((limit+time.Second-1)/time.Second, 1<<30))
	probe := s.c.StartupProbe
	if s.ownProbe() {
		v.set(keyProbe, corev1.Probe{
			ProbeHandler:  corev1.ProbeHandler{HTTPGet: readyPath()},
			PeriodSeconds: 1, FailureThreshold: max(seconds, 1),
		})
		return
	}
	period := max(probe.PeriodSeconds, 1)
	v.set(keyThreshold, max((seconds-probe.InitialDelaySeconds+period-1)/period, 1))
}

// ownProbe reports whether the container has no start-up probe but ours.
func (s *survey) ownProbe() bool {
	was, known := s.found.Fields[keyProbe]
	return s.c.StartupProbe == nil || known && was.isNull() && (s.mine(keyProbe) || s.undone)
}

// maxCause bounds the change cause, in bytes.
const maxCause = 300

// cause is what `kubectl rollout history` tells of the release.
func cause(r slipway.Release) string {
	text := fmt.Sprintf("slipway: %s (%s)", r.Model, r.ID)
	if r.Reason != "" {
		text += ", " + r.Reason
	}
	if r.Actor != "" {
		text += ", by " + r.Actor
	}
	return printable(text, maxCause)
}

// about returns the annotations that say which release the Deployment is set to.
func about(r slipway.Release) (map[string]string, error) {
	model, err := json.Marshal(r.Model)
	if err != nil {
		return nil, err
	}
	return map[string]string{annotationRelease: string(r.ID), annotationModel: string(model)}, nil
}
