// Package e2e brings up the real things that slow tests run against: Python
// environments, an MLflow server, an image registry, a Kubernetes. What it
// installs comes from package registries by name and is kept in a cache between
// runs.
//
// It is for tests only; a test that uses it carries the build tag e2e.
package e2e
