package kube

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/slipway-dev/slipway"
)

// killing returns the event that tells why the kubelet ended the container in
// that time; nil: there is none (pkg/kubelet/kuberuntime, computePodActions).
func (x patient) killing(c container, from, to time.Time) *corev1.Event {
	return latest(x.events, func(e corev1.Event) bool {
		at := lastSeen(e)
		return e.Reason == "Killing" && concerns(e, c.name()) && !at.Before(from) && !at.After(to) &&
			(strings.Contains(e.Message, "failed startup probe") || strings.Contains(e.Message, "failed liveness probe") || strings.Contains(e.Message, "PostStartHook"))
	})
}

// probeKilled is that the kubelet has given the running container up.
func (x patient) probeKilled(c container, r *corev1.ContainerStateRunning) *slipway.Problem {
	if r == nil {
		return nil
	}
	e := x.killing(c, r.StartedAt.Time, x.now.Add(time.Hour))
	if e == nil {
		return nil
	}
	p, final := x.killed(c, e)
	if final || c.status.RestartCount > 0 {
		return &p
	}
	return until(p, lastSeen(*e).Add(steadyAfter+x.startup), x.now)
}

// killed is why the kubelet ended a container.
func (x patient) killed(c container, e *corev1.Event) (p slipway.Problem, final bool) {
	if strings.Contains(e.Message, "failed startup probe") {
		return x.neverReady(c, x.probe(c, "Startup")), true
	}
	p = slipway.Problem{Kind: kindUnhealthy, Message: x.names(c) + " did not answer its liveness probe and was ended", Evidence: quoteEvent(e), Hint: x.kubectl("logs %s -c %s --previous", x.pod.Name, c.name())}
	if probe := x.probe(c, "Liveness"); probe != nil {
		p.Evidence = quoteEvent(probe)
	}
	if strings.Contains(e.Message, "PostStartHook") {
		p.Kind, p.Message = kindCannotStart, x.names(c)+": its postStart hook fails"
		if hook := latest(x.events, because("FailedPostStartHook")); hook != nil {
			p.Evidence = quoteEvent(hook)
		}
	}
	return p, false
}

// neverReady is that the start-up probe's time was over.
func (x patient) neverReady(c container, probe *corev1.Event) slipway.Problem {
	p := slipway.Problem{
		Kind: kindNeverReady, Message: fmt.Sprintf("%s was not ready within %s, the limit of its start-up probe", x.names(c), probeLimit(c.spec.StartupProbe)),
		Evidence: quoteEvent(probe),
		Hint:     x.kubectl("logs %s -c %s --previous tells what it did; startup: in slipway.yaml gives it more time", x.pod.Name, c.name()),
	}
	if p.Evidence == "" {
		p.Evidence = "the kubelet ended it"
	}
	return p
}

// ranOutOfTime reports whether a container without any word ended when its
// start-up probe's time was over, having never been ready: events may not be
// read everywhere.
func (x patient) ranOutOfTime(c container, t *corev1.ContainerStateTerminated) bool {
	limit := probeLimit(c.spec.StartupProbe)
	if limit == 0 || t.Message != "" || t.FinishedAt.Sub(t.StartedAt.Time) < limit-time.Second {
		return false
	}
	return !condition(x.pod, corev1.PodReady).LastTransitionTime.After(t.StartedAt.Time)
}

// probe returns the last word of a probe of the container; nil: none.
func (x patient) probe(c container, kind string) *corev1.Event {
	return latest(x.events, func(e corev1.Event) bool {
		return e.Reason == "Unhealthy" && concerns(e, c.name()) && strings.HasPrefix(e.Message, kind+" probe")
	})
}

// readiness is why a pod whose containers all run is not ready.
func (x patient) readiness() *slipway.Problem {
	ready := condition(x.pod, corev1.PodReady)
	if ready.Status != corev1.ConditionFalse {
		return nil
	}
	var since time.Time
	for _, c := range x.all() {
		switch run := c.status.State.Running; {
		case c.once:
		case run == nil:
			return nil // it is not for its probes
		case c.spec.StartupProbe != nil && (c.status.Started == nil || !*c.status.Started):
			return x.starting(c)
		case !c.status.Ready:
			return x.notReady(c, later(run.StartedAt.Time, ready.LastTransitionTime.Time))
		default:
			since = later(since, run.StartedAt.Time)
		}
	}
	return x.gates(ready, later(since, ready.LastTransitionTime.Time))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// starting tells what the start-up probe says meanwhile. How long it may, the
// kubelet decides.
func (x patient) starting(c container) *slipway.Problem {
	e := x.probe(c, "Startup")
	if e == nil || lastSeen(*e).Before(c.status.State.Running.StartedAt.Time) {
		return nil
	}
	return heals(slipway.Problem{
		Kind: kindNotReady, Message: fmt.Sprintf("%s is not ready yet; it has %s to become so", x.names(c), probeLimit(c.spec.StartupProbe)),
		Evidence: quoteEvent(e), Hint: x.kubectl("logs %s -c %s", x.pod.Name, c.name()),
	})
}

// notReady is that a container that started up says it is not ready.
func (x patient) notReady(c container, since time.Time) *slipway.Problem {
	e := x.probe(c, "Readiness")
	if e == nil && x.now.Sub(since) < 5*calm {
		return nil
	}
	p := slipway.Problem{
		Kind: kindNotReady, Message: x.names(c) + " is up and not ready", Evidence: quoteEvent(e),
		Hint: x.kubectl("logs %s -c %s", x.pod.Name, c.name()),
	}
	if x.startup == 0 {
		return heals(p)
	}
	return until(p, since.Add(x.startup+30*time.Second), x.now)
}

// gates is why a pod whose containers are all ready is not: a load balancer
// has not taken it yet, or its node is silent.
func (x patient) gates(ready corev1.PodCondition, since time.Time) *slipway.Problem {
	p := slipway.Problem{Kind: kindNotReady, Message: x.pod.Name + " is ready, and something outside of it is not", Evidence: printable(ready.Message, maxText), Hint: x.kubectl("describe pod %s", x.pod.Name)}
	if ready.Reason != "ReadinessGatesNotReady" {
		if x.now.Sub(since) < 2*calm {
			return nil // its condition follows its containers
		}
		p.Kind, p.Message = kindNodeLost, fmt.Sprintf("%s runs on the node %s, which does not report any more", x.pod.Name, printable(x.pod.Spec.NodeName, 253))
		p.Hint = "kubectl describe node " + printable(x.pod.Spec.NodeName, 253)
	}
	return until(p, since.Add(max(x.startup, roomLimit)), x.now)
}
