// Package slipway is the language of the product: what a model version, an
// image, a target and a release are, how a release ends, and the few
// interfaces that have more than one real implementation.
//
// It owns the words and nothing else. It does no I/O, imports only the
// standard library, and every other package of the module may import it.
//
// A release takes one promoted model version to one target:
//
//	resolve → validate → build → push → roll out → verify → live
//	                                       └────────→ roll back → the version before, verified
//
// Packages beside it touch one outside world each (mlflow, oci, local, kube),
// hold policy (rollout), or answer predictions (serving).
package slipway
