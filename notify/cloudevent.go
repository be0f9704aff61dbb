package notify

import (
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-dev/slipway"
)

// cloudEvent is a CloudEvent 1.0.2 in the JSON format, with a CDEvent 0.5.0 in
// it (CDEvents, "CloudEvents Binding").
type cloudEvent struct {
	SpecVersion     string  `json:"specversion"`
	ID              string  `json:"id"`
	Source          string  `json:"source"`
	Type            string  `json:"type"`
	Subject         string  `json:"subject"`
	Time            string  `json:"time"`
	DataContentType string  `json:"datacontenttype"`
	Data            cdEvent `json:"data"`
}

type cdEvent struct {
	Context     cdContext  `json:"context"`
	Subject     cdSubject  `json:"subject"`
	Custom      customData `json:"customData"`
	ContentType string     `json:"customDataContentType"`
}

type cdContext struct {
	SpecVersion string `json:"specversion"`
	ID          string `json:"id"`
	Source      string `json:"source"`
	Type        string `json:"type"`
	Timestamp   string `json:"timestamp"`
}

type cdSubject struct {
	ID      string    `json:"id"`
	Source  string    `json:"source"`
	Content cdContent `json:"content"`
}

type cdContent struct {
	Environment cdEnvironment `json:"environment"`
	ArtifactID  string        `json:"artifactId,omitempty"`
}

type cdEnvironment struct {
	ID string `json:"id"`
}

// customData is what CDEvents has no place for.
type customData struct {
	Kind     Kind              `json:"kind"`
	Title    string            `json:"title"`
	Why      string            `json:"why,omitempty"`
	Evidence string            `json:"evidence,omitempty"`
	Fix      string            `json:"fix,omitempty"`
	Release  slipway.ReleaseID `json:"release,omitempty"`
	Model    slipway.ModelName `json:"model,omitempty"`
	Version  slipway.Version   `json:"version,omitempty"`
	Image    string            `json:"image,omitempty"`
	Target   string            `json:"target,omitempty"`
	Serving  string            `json:"serving,omitempty"`
	Reason   string            `json:"reason,omitempty"`
	Actor    string            `json:"actor,omitempty"`
	RunURL   string            `json:"runUrl,omitempty"`
	URL      string            `json:"url,omitempty"`
}

func newCloudEvent(m Message) cloudEvent {
	at, id, source, kind := m.At.UTC().Format(time.RFC3339Nano), eventID(m), eventSource(m.Release), eventType(m)
	subject := subjectID(m.Release)
	content := cdContent{Environment: cdEnvironment{ID: environmentID(m.Release)}}
	if kind != serviceRemoved {
		content.ArtifactID = artifactID(served(m).Image)
	}
	return cloudEvent{
		SpecVersion: "1.0", ID: id, Source: source, Type: kind, Subject: subject, Time: at, DataContentType: "application/cdevents+json",
		Data: cdEvent{
			Context:     cdContext{SpecVersion: "0.5.0", ID: id, Source: source, Type: kind, Timestamp: at},
			Subject:     cdSubject{ID: subject, Source: source, Content: content},
			Custom:      custom(m),
			ContentType: "application/json",
		},
	}
}

// The types of CDEvents 0.5.0, "Continuous Deployment". What it has no type for
// is a custom event of ours: dev.cdeventsx.slipway-release.PREDICATE.0.1.0.
const (
	serviceDeployed   = "dev.cdevents.service.deployed.0.3.0"
	serviceUpgraded   = "dev.cdevents.service.upgraded.0.3.0"
	serviceRolledBack = "dev.cdevents.service.rolledback.0.3.0"
	serviceRemoved    = "dev.cdevents.service.removed.0.3.0"
	ourEvent          = "dev.cdeventsx.slipway-release.%s.0.1.0"
)

func eventType(m Message) string {
	named := artifactID(served(m).Image) != "" // the standard's types must say which artifact serves
	switch {
	case m.Kind == Removed:
		return serviceRemoved
	case named && (m.Kind == RolledBack || m.Kind == Live && m.Release.Undoes != ""):
		return serviceRolledBack
	case named && m.Kind == Live && m.Release.Previous != nil:
		return serviceUpgraded
	case named && m.Kind == Live:
		return serviceDeployed
	}
	return fmt.Sprintf(ourEvent, strings.ReplaceAll(string(m.Kind), "-", ""))
}

// served is the release that the event's artifact belongs to: after a rollback
// the one that serves again.
func served(m Message) slipway.Release {
	if m.Kind != RolledBack {
		return m.Release
	}
	if m.Serving == nil {
		return slipway.Release{}
	}
	return *m.Serving
}

// eventID is the same however often the end of a release is sent, and has no
// full stop.
func eventID(m Message) string {
	id := string(m.Release.ID)
	if id == "" {
		id = "slipway"
	}
	return id + "-" + string(m.Kind) + "-" + strconv.FormatInt(m.At.UnixMilli(), 10)
}

func eventSource(r slipway.Release) string {
	if u, err := url.Parse(r.Target); err == nil && u.String() != "" {
		return u.String()
	}
	return "slipway"
}

// subjectID is the service: "service/production/inference-service".
func subjectID(r slipway.Release) string {
	ref, err := slipway.ParseTargetRef(r.Target)
	switch {
	case err != nil:
		return "service/unknown"
	case ref.Host != "":
		return "service/" + ref.Host
	}
	return "service/" + ref.Namespace + "/" + ref.Name
}

func environmentID(r slipway.Release) string {
	if r.Environment != "" {
		return line(r.Environment, 200)
	}
	return "unknown"
}

// artifactID is the image as a package URL (purl specification, type oci), ""
// without a digest.
func artifactID(i slipway.Image) string {
	if i.Repository == "" || i.Digest == "" {
		return ""
	}
	name := strings.ToLower(path.Base(i.Repository))
	return "pkg:oci/" + url.PathEscape(name) + "@" + strings.ReplaceAll(url.PathEscape(string(i.Digest)), ":", "%3A") +
		"?repository_url=" + strings.ReplaceAll(url.QueryEscape(i.Repository), "%2F", "/")
}

func custom(m Message) customData {
	r := m.Release
	d := customData{
		Kind: m.Kind, Title: line(m.Title, titleLimit), Why: line(m.Why, textLimit), Evidence: lines(m.Evidence), Fix: line(m.Fix, textLimit),
		Release: r.ID, Model: r.Model.Name, Version: r.Model.Version, Target: r.Target, Reason: line(r.Reason, textLimit), Actor: line(r.Actor, textLimit),
		RunURL: link(r.RunURL), URL: link(m.URL),
	}
	if r.Image.Digest != "" {
		d.Image = r.Image.Ref()
	}
	if m.Serving != nil {
		d.Serving = m.Serving.Model.String()
	}
	return d
}
