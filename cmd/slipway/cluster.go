package main

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/slipway-dev/slipway"
)

// What Kubernetes lets names be (its documentation, "Object Names and IDs";
// core/v1, IsEnvVarName and IsConfigMapKey).
var (
	label       = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	subdomain   = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$`)
	variableKey = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	secretKey   = regexp.MustCompile(`^[-._a-zA-Z0-9]{1,253}$`)
)

// checkTarget refuses what no target could be called.
func checkTarget(ref slipway.TargetRef) error {
	if ref.Scheme != "kubernetes" {
		return nil
	}
	const form = "use kubernetes://NAMESPACE/DEPLOYMENT, and ?context=NAME or container=NAME where needed"
	switch {
	case !label.MatchString(ref.Namespace):
		return usagef("%s: %q is no name of a namespace", ref, ref.Namespace).WithHint(form)
	case !subdomain.MatchString(ref.Name):
		return usagef("%s: %q is no name of a Deployment", ref, ref.Name).WithHint(form)
	}
	for key, values := range ref.Query {
		if key != "context" && key != "container" || len(values) != 1 || values[0] == "" {
			return usagef("%s: %q is not understood", ref, key).WithHint(form)
		}
	}
	return nil
}

// environmentOf is what a target is called when nobody names its environment.
func environmentOf(target string) string {
	if ref, err := slipway.ParseTargetRef(target); err == nil && ref.Scheme == "kubernetes" {
		return ref.Namespace
	}
	return "local"
}

// check refuses settings that the target cannot take.
func (s settings) check() error {
	for _, entry := range s.secretEnv {
		if err := checkSecretEnv(entry, s.to.Scheme == "local"); err != nil {
			return usageError{err}
		}
	}
	if s.replicas < 0 {
		return usageError{usagef("%d replicas are asked for", s.replicas).WithHint("--replicas 1 or more")}
	}
	return nil
}

// checkSecretEnv checks NAME or, for a cluster, NAME=SECRET/KEY.
func checkSecretEnv(entry string, here bool) error {
	const forms = "use NAME, or NAME=SECRET/KEY for a key of a Kubernetes Secret"
	name, from, elsewhere := strings.Cut(entry, "=")
	if !variableKey.MatchString(name) {
		return usagef("%q is no name of an environment variable", name).WithHint(forms)
	}
	if !elsewhere {
		return nil
	}
	if here {
		return usagef("%s names a Kubernetes Secret, and the target is this machine", entry).
			WithHint("use %s alone, and set it where slipway runs", name)
	}
	secret, key, _ := strings.Cut(from, "/")
	if !subdomain.MatchString(secret) || !secretKey.MatchString(key) {
		return usagef("%q is no SECRET/KEY", from).WithHint(forms)
	}
	return nil
}

// givesSecret reports whether an entry gives the variable.
func givesSecret(secretEnv []string, variable string) bool {
	return slices.ContainsFunc(secretEnv, func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return name == variable
	})
}

// Quantities as Kubernetes reads them (apimachinery, resource.Quantity), but
// for those that mean nothing: parts of a byte, exponents, signs.
var (
	cpuQuantity    = regexp.MustCompile(`^([0-9]+m|[0-9]+(\.[0-9]{1,3})?)$`)
	memoryQuantity = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?(k|M|G|T|Ki|Mi|Gi|Ti)?$`)
	nothing        = regexp.MustCompile(`^[0.]+[A-Za-z]*$`)
)

// validateRequests checks what a replica asks of a cluster.
func (c *config) validateRequests(path string, r *configRequests) error {
	switch {
	case r == nil:
		return nil
	case r.CPU != "" && (!cpuQuantity.MatchString(r.CPU) || nothing.MatchString(r.CPU)):
		return c.wrong(path+".cpu", "%q is no amount of CPU: 250m or 0.5 are", r.CPU)
	case r.Memory != "" && (!memoryQuantity.MatchString(r.Memory) || nothing.MatchString(r.Memory)):
		return c.wrong(path+".memory", "%q is no amount of memory: 256Mi or 1Gi are", r.Memory)
	}
	return nil
}

// requests returns what the file asks for; nil asks for nothing.
func (r *configRequests) requests() slipway.Requests {
	if r == nil {
		return slipway.Requests{}
	}
	return slipway.Requests{CPU: r.CPU, Memory: r.Memory}
}

// validateStartup checks how long a replica may take to become ready.
func (c *config) validateStartup(path, text string) error {
	if text == "" {
		return nil
	}
	if d, err := time.ParseDuration(text); err != nil || d < time.Second || d > time.Hour {
		return c.wrong(path, "%q is no time to start in: 30s or 5m are, from 1s to 1h", text)
	}
	return nil
}

func startupOf(text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0 // empty: all else was refused when the file was read
	}
	return d
}
