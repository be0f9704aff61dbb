package main

import (
	"strconv"
	"strings"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/notify"
)

// configNotify says in slipway.yaml whom to tell how releases end. What opens
// the way to them is a secret, and comes from the environment alone.
type configNotify struct {
	Slack  configSlack `yaml:"slack"`
	Email  configEmail `yaml:"email"`
	GitHub bool        `yaml:"github"` // a deployment for each release
}

type configSlack struct {
	Channel string `yaml:"channel"`
}

type configEmail struct {
	From string   `yaml:"from"`
	To   []string `yaml:"to"`
}

// notifySecrets are the variables whose value nobody may read.
var notifySecrets = []string{"SLIPWAY_SLACK_TOKEN", "SLIPWAY_SLACK_WEBHOOK", "SLIPWAY_TEAMS_URL", "SLIPWAY_EVENTS_URL", "SLIPWAY_EVENTS_SECRET", "SMTP_PASSWORD"}

// notifier is a channel as it is set up.
type notifier struct {
	name    string
	asked   bool   // somebody wants it
	missing string // the variable without which it is not used, where that has no value here
	channel notify.Notifier
	err     error // why it cannot be used
}

// usable reports whether messages can be sent, or could but for a setting that
// is wrong. A laptop without the secrets of slipway.yaml's channels is in order.
func (n notifier) usable() bool { return n.asked && n.missing == "" }

// notifiers returns all channels, in the order in which people look for them.
func notifiers(c configNotify, getenv func(string) string) []notifier {
	return []notifier{slackFrom(c, getenv), teamsFrom(getenv), emailFrom(c, getenv), githubFrom(c, getenv), eventsFrom(getenv)}
}

func slackFrom(c configNotify, getenv func(string) string) notifier {
	config := notify.SlackConfig{
		Token: getenv("SLIPWAY_SLACK_TOKEN"), Webhook: getenv("SLIPWAY_SLACK_WEBHOOK"), API: getenv("SLACK_API_URL"),
		Channel: orElse(getenv("SLIPWAY_SLACK_CHANNEL"), c.Slack.Channel),
	}
	n := notifier{name: "slack", asked: config.Token+config.Webhook+config.Channel != ""}
	if config.Token+config.Webhook == "" {
		n.missing = "SLIPWAY_SLACK_TOKEN"
	}
	return n.made(asNotifier(notify.NewSlack(config)))
}

func teamsFrom(getenv func(string) string) notifier {
	address := getenv("SLIPWAY_TEAMS_URL")
	return notifier{name: "teams", asked: address != ""}.made(asNotifier(notify.NewTeams(address)))
}

func eventsFrom(getenv func(string) string) notifier {
	address := getenv("SLIPWAY_EVENTS_URL")
	return notifier{name: "events", asked: address != ""}.made(asNotifier(notify.NewEvents(address, getenv("SLIPWAY_EVENTS_SECRET"))))
}

func emailFrom(c configNotify, getenv func(string) string) notifier {
	config := notify.EmailConfig{
		Host: getenv("SMTP_HOST"), Username: getenv("SMTP_USERNAME"), Password: getenv("SMTP_PASSWORD"),
		From: orElse(getenv("SLIPWAY_EMAIL_FROM"), c.Email.From), To: c.Email.To,
	}
	if to := getenv("SLIPWAY_EMAIL_TO"); to != "" {
		config.To = strings.Split(to, ",")
	}
	n := notifier{name: "email", asked: len(config.To) > 0}
	if config.Host == "" {
		n.missing = "SMTP_HOST"
	}
	if port := getenv("SMTP_PORT"); port != "" {
		number, err := strconv.Atoi(port)
		if err != nil {
			number = -1
		}
		config.Port = number
	}
	return n.made(asNotifier(notify.NewEmail(config)))
}

// githubFrom makes deployments only where that is asked for: a job with an
// environment of GitHub's has GitHub make them.
func githubFrom(c configNotify, getenv func(string) string) notifier {
	asked := c.GitHub
	if said := getenv("SLIPWAY_GITHUB_DEPLOYMENTS"); said != "" {
		var err error
		if asked, err = strconv.ParseBool(said); err != nil {
			return notifier{name: "github", asked: true, err: slipway.Errorf(slipway.Invalid, "reading SLIPWAY_GITHUB_DEPLOYMENTS", "%q is neither true nor false", said).
				WithHint("set SLIPWAY_GITHUB_DEPLOYMENTS to true or false")}
		}
	}
	n := notifier{name: "github", asked: asked}
	if getenv("GITHUB_TOKEN") == "" {
		n.missing = "GITHUB_TOKEN"
	}
	return n.made(asNotifier(notify.NewGitHub(notify.GitHubConfig{
		Token: getenv("GITHUB_TOKEN"), Repository: getenv("GITHUB_REPOSITORY"), Ref: getenv("GITHUB_SHA"), API: getenv("GITHUB_API_URL"),
	})))
}

// asNotifier keeps a nil of a concrete type from becoming a channel.
func asNotifier[T notify.Notifier](channel T, err error) (notify.Notifier, error) {
	if err != nil {
		return nil, err
	}
	return channel, nil
}

func (n notifier) made(channel notify.Notifier, err error) notifier {
	n.channel, n.err = channel, err
	if n.missing != "" {
		n.err = slipway.Errorf(slipway.Invalid, "", "%s is not set", n.missing).WithHint("set %s", n.missing)
	}
	return n
}

// telling is how a run of slipway tells what became of its releases.
type telling struct {
	herald *notify.Herald             // nil: there is nobody to tell
	wrong  []notifier                 // that are set up wrong
	begun  map[slipway.ReleaseID]bool // of which this run has told that they are on their way
}

func newTelling(all []notifier) *telling {
	t := &telling{begun: map[slipway.ReleaseID]bool{}}
	var channels []notify.Notifier
	for _, n := range all {
		switch {
		case n.usable() && n.err != nil:
			t.wrong = append(t.wrong, n)
		case n.usable():
			channels = append(channels, n.channel)
		}
	}
	if len(channels) > 0 {
		t.herald = notify.NewHerald(channels, notify.Limit)
	}
	return t
}
