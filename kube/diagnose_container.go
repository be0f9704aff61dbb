package kube

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

// container is one of a pod's containers.
type container struct {
	spec   corev1.Container
	status corev1.ContainerStatus
	model  bool // it is the one that serves
	once   bool // it is to end: an init container
}

func (c container) name() string { return c.spec.Name }

// containers is the worst that happened to one of the pod's containers.
func (x patient) containers() *slipway.Problem {
	var problems []*slipway.Problem
	for _, c := range x.all() {
		problems = append(problems, x.ofContainer(c))
	}
	return worst(problems...)
}

func (x patient) all() []container {
	serving := modelContainer(x.pod.Spec, x.snapshot.name, x.snapshot.container)
	var all []container
	add := func(specs []corev1.Container, statuses []corev1.ContainerStatus, init bool) {
		for _, status := range statuses {
			for i, spec := range specs {
				if spec.Name == status.Name {
					sidecar := spec.RestartPolicy != nil && *spec.RestartPolicy == corev1.ContainerRestartPolicyAlways
					all = append(all, container{spec, status, !init && &specs[i] == serving, init && !sidecar})
				}
			}
		}
	}
	add(x.pod.Spec.InitContainers, x.pod.Status.InitContainerStatuses, true)
	add(x.pod.Spec.Containers, x.pod.Status.ContainerStatuses, false)
	return all
}

// names is the pod's name and, where it is not the model server, the
// container's.
func (x patient) names(c container) string {
	if c.model {
		return x.pod.Name
	}
	return x.pod.Name + ", container " + c.name()
}

// ofContainer is what happened to a container: that it cannot be made, that it
// ended, or that it was started again not long ago.
func (x patient) ofContainer(c container) *slipway.Problem {
	switch state := c.status.State; {
	case state.Waiting != nil:
		return x.waiting(c, state.Waiting)
	case state.Terminated != nil:
		return x.ended(c, state.Terminated, false)
	}
	if p := x.probeKilled(c, c.status.State.Running); p != nil {
		return p
	}
	if t := c.status.LastTerminationState.Terminated; t != nil {
		return x.again(c, t)
	}
	return nil
}

func (x patient) waiting(c container, w *corev1.ContainerStateWaiting) *slipway.Problem {
	last := c.status.LastTerminationState.Terminated
	switch {
	case isRoutine(w.Reason):
		if last != nil { // it is about to be started again
			return x.ended(c, last, false)
		}
		return nil
	case isPull(w.Reason):
		return x.pull(c)
	case w.Reason == "CrashLoopBackOff" && last != nil:
		return x.ended(c, last, true)
	case w.Reason == "CreateContainerConfigError":
		return x.misconfigured(c, w)
	case w.Reason == "PostStartHookError":
		return x.cannotStart(c, w.Message, "its postStart hook fails")
	}
	return x.cannotStart(c, w.Message, "it cannot be started")
}

// missing matches what the kubelet says of a reference to nothing
// (pkg/kubelet/kubelet_pods.go, makeEnvironmentVariables).
var missing = regexp.MustCompile(`(?i)(configmap|secret) "([^"]*)" not found|couldn't find key (\S+) in (configmap|secret) (\S+)|references non-existent (?:config|secret) key: (\S+)`)

// unsynced matches what the kubelet says before it could read the Secret or
// ConfigMap at all: it may read only what the API server knows that a pod of
// its node needs, and asks again where it was too early.
var unsynced = regexp.MustCompile(`failed to sync (?:secret|configmap) cache`)

// unsyncedLimit lets the kubelet look again some times; it does every 10 s.
const unsyncedLimit = 45 * time.Second

// misconfigured is that a container asks for what is not there, or for what
// its pod forbids.
func (x patient) misconfigured(c container, w *corev1.ContainerStateWaiting) *slipway.Problem {
	p := slipway.Problem{Kind: kindConfig, Evidence: printable(w.Message, maxText)}
	what, hint := x.missingObject(w.Message)
	if what == "" && unsynced.MatchString(w.Message) {
		p.Message = x.names(c) + " needs a Secret or ConfigMap that its node has not read yet"
		p.Hint = x.kubectl("describe pod %s", x.pod.Name)
		return until(p, x.readyToPull().Add(unsyncedLimit), x.now)
	}
	if what == "" {
		p.Kind, p.Message = kindCannotStart, x.names(c)+" cannot be started as it is configured"
		p.Hint = x.kubectl("edit deployment %s", x.name)
		return &p
	}
	p.Message, p.Hint = x.names(c)+" needs "+what, hint
	return &p // the kubelet looks again after 10 s: that is too late
}

// missingObject says which ConfigMap or Secret, or key of one, is not there,
// and how it is made.
func (x patient) missingObject(message string) (what, hint string) {
	m := missing.FindStringSubmatch(message)
	if m == nil {
		return "", ""
	}
	kind, name, key := m[1], m[2], m[3]
	if key != "" {
		kind, name = m[4], m[5]
		name = name[strings.LastIndex(name, "/")+1:]
	}
	if m[6] != "" {
		key = m[6]
	}
	kind, name, key = strings.ToLower(kind), printable(name, 253), printable(key, 253)
	title := map[string]string{"secret": "Secret", "configmap": "ConfigMap"}[kind]
	create := "create configmap"
	if kind == "secret" {
		create = "create secret generic"
	}
	switch {
	case kind == "":
		return "the key " + key + ", which the ConfigMap or Secret does not have", x.kubectl("describe pod %s tells which", x.pod.Name)
	case key != "":
		return fmt.Sprintf("the key %s of the %s %s, which does not have it", key, title, name), x.kubectl("edit %s %s, or %s %s --from-literal=%s=…", kind, name, create, name, key)
	}
	return fmt.Sprintf("the %s %s, which does not exist", title, name), x.kubectl("%s %s --from-literal=KEY=…", create, name)
}

// Texts of the container runtime about programs that no restart can start
// (runc, crun, execve(2)).
var (
	wrongProgram  = regexp.MustCompile(`exec: "[^"]*": (executable file not found|stat |permission denied|is a directory)|exec: "[^"]*": .*no such file or directory|exec \S+: (no such file or directory|permission denied)|executable file .* not found`)
	wrongPlatform = regexp.MustCompile(`exec format error`)
)

// cannotStart is that the runtime could not make or start a container.
func (x patient) cannotStart(c container, text, why string) *slipway.Problem {
	p := slipway.Problem{
		Kind: kindCannotStart, Message: x.names(c) + ": " + why, Evidence: printable(text, maxText),
		Hint: x.kubectl("describe pod %s", x.pod.Name),
	}
	switch {
	case wrongPlatform.MatchString(text):
		p.Kind, p.Message = kindPlatform, x.names(c)+": its program is for another platform than the node's"
		p.Hint = "build the image for the nodes' platform with --platform OS/ARCH; kubectl get nodes -L kubernetes.io/os,kubernetes.io/arch shows it"
		return &p
	case wrongProgram.MatchString(text):
		p.Message = x.names(c) + ": the program it is to run is not there, or is none"
		p.Hint = x.kubectl("get deployment %s -o jsonpath='{.spec.template.spec.containers[*].command}' shows the command; take it out, and the image's own is run", x.name)
		return &p
	case c.status.RestartCount > 0:
		return &p
	}
	return until(p, x.readyToPull().Add(roomLimit), x.now)
}

// ended is that a container ended, and whether that was the last time.
func (x patient) ended(c container, t *corev1.ContainerStateTerminated, backingOff bool) *slipway.Problem {
	if c.once && t.ExitCode == 0 {
		return nil
	}
	p, final := x.why(c, t)
	ran := t.FinishedAt.Sub(t.StartedAt.Time)
	switch {
	case final:
		return &p
	case c.status.RestartCount > 0 && (backingOff || ran < steadyAfter):
		p.Message += ", again"
		return &p
	}
	p.Message += "; it is started again"
	return until(p, t.FinishedAt.Add(steadyAfter+x.startup), x.now)
}

// again is that a container runs that had ended before.
func (x patient) again(c container, t *corev1.ContainerStateTerminated) *slipway.Problem {
	if c.once && t.ExitCode == 0 || isReady(x.pod) && x.now.Sub(t.FinishedAt.Time) > steadyAfter+x.startup {
		return nil
	}
	p, final := x.why(c, t)
	if final && !isReady(x.pod) {
		return &p
	}
	p.Message += "; it was started again"
	return until(p, t.FinishedAt.Add(steadyAfter+x.startup+time.Second), x.now)
}

// why is why a container ended, and whether that happens again whatever is
// done.
func (x patient) why(c container, t *corev1.ContainerStateTerminated) (p slipway.Problem, final bool) {
	if said, ok := mlmodel.DecodeTermination([]byte(t.Message)); ok && c.model {
		return x.said(c, t, said)
	}
	text := lastLines(t.Message)
	switch {
	case wrongPlatform.MatchString(text) || wrongProgram.MatchString(text):
		return *x.cannotStart(c, text, ""), true
	case t.Reason == "StartError" || t.Reason == "ContainerCannotRun":
		return *x.cannotStart(c, text, "it cannot be started"), false
	}
	if killed := x.killing(c, t.StartedAt.Time, t.FinishedAt.Add(calm)); killed != nil {
		return x.killed(c, killed)
	}
	p = slipway.Problem{Kind: kindCrashed, Message: x.names(c) + " ended " + exit(t), Evidence: text, Hint: x.kubectl("logs %s -c %s --previous", x.pod.Name, c.name())}
	switch {
	case t.Reason == "OOMKilled":
		p.Kind, p.Message, p.Hint = kindMemory, x.names(c)+" was killed: it "+itsLimit(c), x.moreMemory(c)
		if p.Evidence == "" {
			p.Evidence = fmt.Sprintf("OOMKilled, exit code %d", t.ExitCode)
		}
	case x.ranOutOfTime(c, t):
		return x.neverReady(c, x.probe(c, "Startup")), true
	}
	if p.Evidence == "" {
		p.Evidence = fmt.Sprintf("%s, exit code %d; it wrote nothing", printable(t.Reason, 100), t.ExitCode)
	}
	return p, false
}

// lastLines is the end of a log, for people.
func lastLines(text string) string {
	var lines []string
	for _, line := range strings.Split(text, "\n") {
		if line = printable(line, maxText/2); line != "" {
			lines = append(lines, line)
		}
	}
	lines = lines[max(0, len(lines)-maxLines):]
	for len(lines) > 1 && len(strings.Join(lines, "\n")) > 2*maxText {
		lines = lines[1:]
	}
	return strings.Join(lines, "\n")
}

// maxLines is how many lines of a log are evidence.
const maxLines = 10

// said is what a model server said of its own end.
func (x patient) said(c container, t *corev1.ContainerStateTerminated, said mlmodel.Termination) (slipway.Problem, bool) {
	p := slipway.Problem{Kind: said.Kind, Message: x.names(c) + ": " + said.Message, Evidence: said.Evidence, Hint: said.Hint}
	if said.Kind == mlmodel.TerminationGolden {
		p.Hint = cmp.Or(p.Hint, "slipway explain")
		return p, true
	}
	p.Kind, p.Message, p.Evidence = kindCrashed, x.names(c)+" ended "+exit(t), strings.TrimSpace(said.Message+"\n"+said.Evidence)
	if p.Hint == "" {
		p.Hint = x.kubectl("logs %s -c %s --previous", x.pod.Name, c.name())
	}
	return p, false
}

func exit(t *corev1.ContainerStateTerminated) string {
	switch {
	case t.Signal != 0:
		return fmt.Sprintf("by signal %d", t.Signal)
	case t.Reason == "ContainerStatusUnknown":
		return "with its node"
	case t.ExitCode == 0:
		return "though nobody had asked it to"
	}
	return fmt.Sprintf("with exit code %d", t.ExitCode)
}

func itsLimit(c container) string {
	if limit, ok := c.spec.Resources.Limits[corev1.ResourceMemory]; ok {
		return "needs more memory than its limit of " + limit.String()
	}
	return "has no limit, and its node ran out of memory"
}

// moreMemory is the command that gives a container twice the memory.
func (x patient) moreMemory(c container) string {
	limit, ok := c.spec.Resources.Limits[corev1.ResourceMemory]
	if !ok {
		return "request what the model needs, so that a node is chosen that has it: requests: {memory: …} in slipway.yaml"
	}
	twice := resource.NewQuantity(2*limit.Value(), limit.Format)
	return x.kubectl("set resources deployment %s -c %s --limits=memory=%s, then slipway deploy --retry", x.name, c.name(), twice)
}
