package slipway

import (
	"regexp"
	"strings"
)

// Digest names bytes by their SHA-256: "sha256:" and 64 lower-case
// hexadecimal digits (OCI image specification 1.1, "Digests").
type Digest string

var digestPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// ParseDigest checks the form of a digest. The error's code is Invalid.
func ParseDigest(s string) (Digest, error) {
	if !digestPattern.MatchString(s) {
		return "", Errorf(Invalid, "reading a digest", "%.80q is no sha256 digest", s)
	}
	return Digest(s), nil
}

// Short returns the digest as it is shown to people: "sha256:4be1…a07c".
func (d Digest) Short() string {
	if len(d) < len("sha256:")+64 {
		return string(d)
	}
	hex := string(d[len("sha256:"):])
	return "sha256:" + hex[:4] + "…" + hex[60:]
}

// Image is an OCI image in an image registry (or, before the push, about to
// be). It is always named by digest when it is deployed; tags are for people.
type Image struct {
	Repository string   `json:"repository"` // HOST[:PORT]/PATH
	Digest     Digest   `json:"digest"`     // of the manifest, or of the index of several platforms
	Tags       []string `json:"tags,omitempty"`
	Size       int64    `json:"size,omitempty"` // compressed bytes of all layers and the config, of one platform
	Platforms  []string `json:"platforms,omitempty"`
}

// Ref returns the reference by digest: HOST/PATH@sha256:….
func (i Image) Ref() string { return i.Repository + "@" + string(i.Digest) }

// Host returns the image registry's host of the repository.
func (i Image) Host() string {
	host, _, _ := strings.Cut(i.Repository, "/")
	return host
}
