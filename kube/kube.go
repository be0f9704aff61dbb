// Package kube serves predictions from a Deployment in a Kubernetes cluster.
//
// It patches the Deployment's image, environment and change cause by
// server-side apply, as the field manager "slipway" and with only the fields
// it owns; the Deployment's own controller rolls the pods. What it sees of
// pods, ReplicaSets, EndpointSlices and events it turns into an Observation,
// in which what fails is told apart from what heals by itself.
//
// The lock is a Lease with a fencing number, the journal a ConfigMap: both lie
// beside the Deployment, so that any machine with a kubeconfig can go on where
// another died. This package alone imports client-go. It decides nothing: what
// follows from what it sees is the affair of package rollout.
package kube

import (
	"net/http"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/slipway-dev/slipway"
)

// Manager is the field manager under which everything is written.
const Manager = "slipway"

// The annotations of the Deployment. Its controller copies them to the
// ReplicaSet of the day, so that each ReplicaSet keeps the release it is of.
const (
	annotationRelease = "slipway.dev/release" // slipway.ReleaseID of the release the Deployment is set to
	annotationModel   = "slipway.dev/model"   // slipway.ModelVersion as JSON
	annotationFence   = "slipway.dev/fence"   // the newest fencing number that wrote
	annotationFound   = "slipway.dev/found"   // our fields as they were before the first release, as JSON
	annotationCause   = "kubernetes.io/change-cause"
)

// Port is where a model server listens in its pod.
const Port = 8000

// Config is what a Target must be told. Ref and Getenv are required.
type Config struct {
	Ref    slipway.TargetRef        // kubernetes://NAMESPACE/DEPLOYMENT[?context=…&container=…]
	Getenv func(name string) string // for KUBECONFIG and HOME
	Lease  time.Duration            // how long a lock outlives its holder; default 10 s
	Rest   *rest.Config             // how to reach the cluster; nil: from KUBECONFIG, ~/.kube/config or the pod this runs in
	Found  *Cluster                 // the same where no kubeconfig tells it
}

// Target is a Deployment.
type Target struct {
	cfg    Config
	client kubernetes.Interface
	rest   *rest.Config
	http   *http.Client // speaks to the API server with our credentials, and to nobody else
	guard  guard
	memory memory
}

// New returns the target that the configuration names. It does not ask the
// cluster anything yet. The error's code is Invalid.
func New(cfg Config) (*Target, error) {
	if cfg.Lease <= 0 {
		cfg.Lease = 10 * time.Second
	}
	config, err := restConfig(cfg)
	if err != nil {
		return nil, err
	}
	web, guard, err := guardedClient(config)
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfigAndClient(config, web)
	if err != nil {
		return nil, &slipway.Error{Op: "connecting to the cluster", Code: slipway.Invalid, Err: err}
	}
	return &Target{cfg: cfg, client: client, rest: config, http: web, guard: guard}, nil
}
