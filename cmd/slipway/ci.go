package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/azuredevops"
	"github.com/slipway-dev/slipway/github"
	"github.com/slipway-dev/slipway/kube"
	"github.com/slipway-dev/slipway/rollout"
)

// runner is the CI system whose step this process is.
type runner interface {
	Open(title string) // begins lines that are folded under a title
	Close()
	Error(title, text string)
	Warning(title, text string)
	Mask(secret string)
	Output(name, value string) error
	Name(output string) string // how it calls an output
	Summary(markdown string) error
	Defuse(line string) string // makes foreign text harmless
}

var (
	_ runner = (*github.Actions)(nil)
	_ runner = (*azuredevops.Agent)(nil)
)

// newRunner returns the CI system; nil: there is none.
func newRunner(log io.Writer, getenv func(string) string) runner {
	if a := github.NewActions(log, getenv); a != nil {
		return a
	}
	if a := azuredevops.NewAgent(log, getenv); a != nil {
		return a
	}
	return nil
}

// joinCI lets the CI system know what it must not show, and takes care that it
// obeys us alone, not a model or a pod whose words we repeat.
func (p *program) joinCI() {
	log := p.stderr
	if p.ci = newRunner(log, p.getenv); p.ci == nil {
		return
	}
	for _, secret := range secrets(p.getenv) {
		p.ci.Mask(secret)
	}
	p.stdout, p.stderr = &guard{out: p.stdout, ci: p.ci}, &guard{out: log, ci: p.ci}
}

// secretVariables hold what nobody may read, for all that slipway talks to.
var secretVariables = []string{
	"ACR_PASSWORD", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PASSWORD",
	"AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_SAS_TOKEN", "SYSTEM_ACCESSTOKEN",
	"ACTIONS_ID_TOKEN_REQUEST_TOKEN", "GITHUB_TOKEN",
}

// urlVariables hold addresses, in which there may be a password; several are
// parted by spaces.
var urlVariables = []string{"MLFLOW_TRACKING_URI", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL",
	"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"}

// leastSecret is how short a secret may be, in bytes, to be masked: a shorter one
// would blot out the log, and is none.
const leastSecret = 4

// secrets returns the lines of all secrets that the environment holds.
func secrets(getenv func(string) string) []string {
	var list []string
	for _, name := range slices.Concat(secretVariables, notifySecrets) {
		list = append(list, secretLines(getenv(name))...)
	}
	for _, name := range urlVariables {
		for _, address := range strings.Fields(getenv(name)) {
			list = append(list, passwordIn(address)...)
		}
	}
	return list
}

func secretLines(text string) (list []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); len(line) >= leastSecret {
			list = append(list, line)
		}
	}
	return list
}

// passwordIn returns the password in a URL, as it stands there and as it is.
func passwordIn(address string) []string {
	u, err := url.Parse(address)
	if err != nil || u.User == nil {
		return nil
	}
	password, _ := u.User.Password()
	list := secretLines(password)
	if _, written, _ := strings.Cut(u.User.String(), ":"); written != password {
		list = append(list, secretLines(written)...)
	}
	return list
}

// mask keeps the values of the model's secrets, as far as they are here, out of
// the CI system's log.
func (p *program) mask(names []string) {
	if p.ci == nil {
		return
	}
	for _, name := range names {
		for _, line := range secretLines(p.getenv(name)) {
			p.ci.Mask(line)
		}
	}
}

// guard defuses what is written through it, line by line.
type guard struct {
	mu   sync.Mutex
	out  io.Writer
	ci   runner
	rest []byte // of a line that has not ended
}

func (g *guard) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.rest = append(g.rest, p...)
	end := bytes.LastIndexByte(g.rest, '\n') + 1
	lines := strings.SplitAfter(string(g.rest[:end]), "\n")
	g.rest = append([]byte(nil), g.rest[end:]...)
	for i, line := range lines {
		lines[i] = g.ci.Defuse(line)
	}
	if _, err := io.WriteString(g.out, strings.Join(lines, "")); err != nil {
		return 0, err
	}
	return len(p), nil
}

// flush writes a last line that has no end.
func (g *guard) flush() {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, _ = io.WriteString(g.out, g.ci.Defuse(string(g.rest)))
	g.rest = nil
}

// leaveCI tells the CI system how the command ended.
func (p *program) leaveCI(err error) {
	if p.ci == nil {
		return
	}
	for _, w := range []io.Writer{p.stdout, p.stderr} {
		if g, ok := w.(*guard); ok {
			g.flush()
		}
	}
	for _, page := range p.pages {
		if told := p.ci.Summary(page); told != nil {
			p.ci.Warning("slipway", annotation(told.Error(), "", ""))
		}
	}
	var e ended
	if err != nil && !p.blamed && (!errors.As(err, &e) || e.cause != nil && e.code != exitLive) {
		head, reason := what(err)
		p.ci.Error("slipway", annotation(head, reason, orElse(slipway.HintOf(err), lastResort(slipway.CodeOf(err)))))
	}
}

// annotation is what happened, why, and what mends it.
func annotation(what, why, fix string) string {
	return clean(what + orNothing("\n", why) + orNothing("\nfix: ", fix))
}

// outputs hands the release to the steps and jobs that come after. status says
// how it ended, "" before it did.
func (p *program) outputs(r slipway.Release, status string) error {
	if p.ci == nil {
		return nil
	}
	all := [][2]string{{"status", status}, {"rolled-back", strconv.FormatBool(status == string(rollout.RolledBack) || status == string(rollout.Removed))}}
	if r.ID != "" { // else no release was made: there was nothing to do
		packed, err := packHandover(r)
		if err != nil {
			return err
		}
		all = append(all, [][2]string{
			{"model-version", string(r.Model.Version)}, {"release", string(r.ID)}, {"image", imageText(r)}, {"digest", string(r.Image.Digest)},
			{"url", urlOf(r)}, {"handover", packed},
		}...)
	}
	var err error
	for _, o := range all {
		err = errors.Join(err, p.put(p.ci.Name(o[0]), o[1]))
	}
	return err
}

// put sets an output, unless it is so already.
func (p *program) put(name, value string) error {
	if p.said[name] == value {
		return nil
	}
	if p.said == nil {
		p.said = map[string]string{}
	}
	p.said[name] = value
	return p.ci.Output(name, value)
}

// imageText is the image by digest, once there is one.
func imageText(r slipway.Release) string {
	if r.Image.Repository == "" || r.Image.Digest == "" {
		return ""
	}
	return r.Image.Ref()
}

// urlOf is where the model answers: from this machine, or inside the cluster.
func urlOf(r slipway.Release) string {
	ref, err := slipway.ParseTargetRef(r.Target)
	switch {
	case err != nil:
		return ""
	case ref.Scheme == "kubernetes":
		return fmt.Sprintf("http://%s.%s.svc:%d", ref.Name, ref.Namespace, kube.Port)
	}
	return "http://" + ref.Host
}

// concludedInCI tells the CI system how a release ended: outputs, an annotation
// where it did not become live, and the summary.
func (p *program) concludedInCI(out rollout.Outcome) error {
	if p.ci == nil {
		return nil
	}
	title := "slipway: " + orElse(nameOf(out.Release), string(out.Kind))
	switch out.Kind {
	case rollout.RolledBack, rollout.Removed, rollout.Failed, rollout.NeedsPerson, rollout.Unfinished:
		p.blamed = true
		p.ci.Error(title, annotation(out.Message, "", out.Hint))
	case rollout.Quarantined, rollout.Held, rollout.Superseded:
		p.ci.Warning(title, annotation(out.Message, "", out.Hint))
	}
	err := p.outputs(out.Release, string(out.Kind))
	if out.Kind == rollout.Unverified {
		return err // verify says more
	}
	return errors.Join(err, p.ci.Summary(outcomeSummary(out)))
}
