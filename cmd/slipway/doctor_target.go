package main

import (
	"context"
	"os"
	"strings"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/kube"
	"github.com/slipway-dev/slipway/oci"
)

// examinedCluster is what a cluster is asked.
type examinedCluster interface {
	Reach(context.Context) (kube.Reached, error)
	Rights(context.Context) ([]kube.Right, error)
	Role() string
	Prepared(context.Context) (kube.Prepared, error)
	Pulls(ctx context.Context, host string) (kube.Pulls, error)
}

// target looks at where predictions are to be served.
func (d *doctor) target(ctx context.Context, s settings) []finding {
	world, err := d.world(s)
	if s.to.Scheme != "kubernetes" {
		return []finding{d.machine(ctx, s, world, err)}
	}
	behind := func(why string) []finding { return unasked(why, s.targetText(), "rights", "manifest", "pulling") }
	if err != nil {
		return append([]finding{unnamed(s, err)}, behind("no cluster is named")...)
	}
	azure, named := d.azure(ctx, world, s)
	if !named {
		return append(azure, append(unasked("Azure does not say where it is", s.targetText(), "Kubernetes"), behind("the cluster is not found")...)...)
	}
	cluster, ok := world.cluster.(examinedCluster)
	if !ok {
		return nil
	}
	reached, err := cluster.Reach(ctx)
	if err != nil {
		return append(append(azure, failed("Kubernetes", s.targetText(), err)), behind("the cluster does not let us in")...)
	}
	d.read("the API server "+reached.Server, reached.Time)
	return append(azure,
		good("Kubernetes", s.targetText(), "%s, as %s", orElse(reached.Version, "it answers"), reached.User),
		rights(ctx, cluster, s), manifest(ctx, cluster, s), pulling(ctx, cluster, s))
}

// unnamed is a cluster of which nobody says where it is. That of a context only
// a kubeconfig can name.
func unnamed(s settings, err error) finding {
	f := failed("Kubernetes", s.targetText(), err)
	if s.to.Query.Get("context") != "" {
		return f
	}
	f.Fix += "; for a cluster of Azure's set AKS_CLUSTER_NAME, AKS_RESOURCE_GROUP and AZURE_SUBSCRIPTION_ID instead"
	return f
}

// machine looks at a target on this machine.
func (d *doctor) machine(ctx context.Context, s settings, world *ports, err error) finding {
	const check = "local target"
	if err != nil {
		return failed(check, s.targetText(), err)
	}
	seen, err := world.target.Observe(ctx)
	if err != nil {
		return failed(check, s.targetText(), err)
	}
	ready := 0
	for _, r := range seen.Replicas {
		if r.State == slipway.Ready && r.Serving {
			ready++
		}
	}
	if seen.Desired == "" {
		return good(check, s.targetText(), "nothing serves there yet")
	}
	return good(check, s.targetText(), "%d of %s ready", ready, plural(seen.Want, "replica"))
}

// fewRights is how many rights are named in the table; JSON has them all.
const fewRights = 4

func rights(ctx context.Context, cluster examinedCluster, s settings) finding {
	const check = "rights"
	all, err := cluster.Rights(ctx)
	if err != nil {
		return failed(check, s.targetText(), err)
	}
	var missing []string
	var first error
	for _, r := range all {
		if r.Missing != nil {
			missing = append(missing, r.Name)
			if first == nil {
				first = r.Missing
			}
		}
	}
	if first == nil {
		return good(check, s.targetText(), "all %d of the Role %s", len(all), cluster.Role())
	}
	f := bad(check, s.targetText(), slipway.HintOf(first), "may not %s", strings.Join(missing[:min(len(missing), fewRights)], ", "))
	if more := len(missing) - fewRights; more > 0 {
		f.Found += ", and " + plural(more, "right") + " more"
	}
	f.Missing = missing
	return f
}

func manifest(ctx context.Context, cluster examinedCluster, s settings) finding {
	const check = "manifest"
	p, err := cluster.Prepared(ctx)
	if err != nil {
		f := failed(check, s.targetText(), err)
		if file := manifestFile(s.to); slipway.CodeOf(err) == slipway.NotFound && exists(file) {
			f.Fix = "kubectl apply -f " + file
		}
		return f
	}
	f := good(check, s.targetText(), "applied: %s", strings.Join(p.Objects, ", "))
	if p.Autoscaler == "" {
		f.Found += "; no autoscaler that we can see"
	}
	return f
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// pulling looks whether the nodes may pull. Only a pod can tell: they have
// credentials of their own.
func pulling(ctx context.Context, cluster examinedCluster, s settings) finding {
	const check = "pulling"
	if s.image == "" {
		return skip(check, s.targetText(), "not known: no image is named")
	}
	host, err := oci.Host(s.image) // as releases name it, also where that is short for another
	if err != nil {
		return failed(check, s.targetText(), err)
	}
	p, err := cluster.Pulls(ctx, host)
	if err != nil {
		return failed(check, s.targetText(), err)
	}
	secrets := "without imagePullSecrets the nodes themselves need the right"
	if len(p.Secrets) > 0 {
		secrets = "imagePullSecrets: " + strings.Join(p.Secrets, ", ")
	}
	switch {
	case p.Problem != nil:
		f := bad(check, s.targetText(), p.Problem.Hint, "%s", p.Problem.Message)
		f.Why = oneLine(p.Problem.Evidence)
		return f
	case p.Proof != "":
		return good(check, s.targetText(), "%s runs an image from %s", p.Proof, host)
	}
	return skip(check, s.targetText(), "not known before the first release: no pod has an image from %s yet; %s", host, secrets)
}
