// Package k8s holds the manifest of a Deployment that models are brought to,
// so that `slipway deploy --create` can apply it.
package k8s

import _ "embed"

// Production is deployment-production.yaml: several YAML documents, which name
// the namespace "production", the Deployment "inference-service" and what lies
// around it.
//
//go:embed deployment-production.yaml
var Production []byte
