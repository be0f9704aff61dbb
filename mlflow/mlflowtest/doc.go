// Package mlflowtest is an MLflow server in memory: the model registry with its
// webhooks, logged models and the artifact proxy of MLflow 3.17, with their
// omissions and odd errors, as far as a deployment needs them. Tests use it, and
// `slipway demo` runs on it. Of webhooks it sends the tests alone, no events.
//
// It passes the suite that a real server passes (package suite). It has no
// users' interface, no experiments but the default one, and forgets all when
// it ends.
package mlflowtest
