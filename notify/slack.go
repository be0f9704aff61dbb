package notify

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/slipway-dev/slipway"
)

// SlackConfig is a channel of Slack: Token and Channel, or Webhook alone.
type SlackConfig struct {
	Token   string // of a bot with the scope chat:write: "xoxb-…"
	Channel string // an identifier or a name: "C0123456789", "#models"
	Webhook string // an incoming webhook, which brings its channel and cannot update a message
	API     string // "https://slack.com/api" by default
}

// Slack tells a release by one message, which it updates where it has a token
// (Slack API, chat.postMessage and chat.update).
type Slack struct{ config SlackConfig }

const (
	tellingSlack = "telling slack"
	slackAPI     = "https://slack.com/api"
)

// NewSlack checks the settings. Code Invalid.
func NewSlack(c SlackConfig) (*Slack, error) {
	if c.API == "" {
		c.API = slackAPI
	}
	switch {
	case c.Token != "" && c.Channel == "":
		return nil, slipway.Errorf(slipway.Invalid, "reading SLIPWAY_SLACK_TOKEN", "there is a token and no channel").
			WithHint("set SLIPWAY_SLACK_CHANNEL, or notify.slack.channel in slipway.yaml")
	case c.Token == "" && c.Webhook == "":
		return nil, slipway.Errorf(slipway.Invalid, "reading the channel of slack", "there is a channel and no token").
			WithHint("set SLIPWAY_SLACK_TOKEN")
	}
	name, address := "SLIPWAY_SLACK_WEBHOOK", &c.Webhook
	if c.Token != "" {
		name, address = "SLACK_API_URL", &c.API
	}
	u, err := parseAddress(name, *address)
	if err != nil {
		return nil, err
	}
	*address = u.String()
	return &Slack{config: c}, nil
}

// Name is part of Notifier.
func (s *Slack) Name() string { return "slack" }

// Tell is part of Notifier. The mark is the channel's identifier and the
// message's time stamp, "C0123456789/1700000000.000100".
func (s *Slack) Tell(ctx context.Context, m Message, mark string) (string, error) {
	said := slackMessage(m)
	if s.config.Token == "" {
		return "", s.hook(ctx, m, said)
	}
	if parts := slackMark.FindStringSubmatch(mark); parts != nil {
		said.Channel, said.TS = parts[1], parts[2]
		mark, err := s.call(ctx, "chat.update", said)
		if !isLost(err) {
			return mark, err
		}
		said.TS = ""
	}
	said.Channel = s.config.Channel
	return s.call(ctx, "chat.postMessage", said)
}

var slackMark = regexp.MustCompile(`^([A-Z0-9]{1,32})/([0-9]{1,16}\.[0-9]{1,16})$`)

// hook tells by an incoming webhook. It says nothing of what has only begun:
// that message would stand there for good.
func (s *Slack) hook(ctx context.Context, m Message, said slackPost) error {
	if m.Kind == Begun {
		return nil
	}
	p, err := newPost(tellingSlack, s.config.Webhook, "", said)
	if err != nil {
		return err
	}
	if _, err = p.send(ctx); slipway.CodeOf(err) == slipway.NotFound || slipway.CodeOf(err) == slipway.Unauthorized {
		return withHint(err, "the webhook is gone; make a new one and set SLIPWAY_SLACK_WEBHOOK")
	}
	return err
}

// slackError is what Slack answers instead of an HTTP status ("errors" of each
// method's page).
type slackError string

func (e slackError) Error() string { return string(e) }

// slackFixes are what mends the errors that settings cause.
var slackFixes = map[slackError]string{
	"invalid_auth":      "set SLIPWAY_SLACK_TOKEN to the bot's token (OAuth & Permissions, Bot User OAuth Token)",
	"not_authed":        "set SLIPWAY_SLACK_TOKEN to the bot's token (OAuth & Permissions, Bot User OAuth Token)",
	"token_revoked":     "install the app in the workspace again and set SLIPWAY_SLACK_TOKEN anew",
	"account_inactive":  "install the app in the workspace again and set SLIPWAY_SLACK_TOKEN anew",
	"missing_scope":     "give the app the scope chat:write and install it again",
	"channel_not_found": "check SLIPWAY_SLACK_CHANNEL, and invite the app to the channel: /invite @APP",
	"not_in_channel":    "invite the app to the channel: /invite @APP",
	"is_archived":       "name a channel that is not archived: SLIPWAY_SLACK_CHANNEL",
	"restricted_action": "let the app post in the channel, or name another: SLIPWAY_SLACK_CHANNEL",
	"ratelimited":       "it takes fewer messages than it was sent; wait, or use a channel of its own",
}

// lost are the errors of a message that is not there any more, or not to be
// changed: then it is told anew.
var lost = []slackError{"message_not_found", "cant_update_message", "edit_window_closed", "channel_not_found"}

func isLost(err error) bool {
	var e slackError
	return errors.As(err, &e) && slices.Contains(lost, e)
}

// call asks a method of the Web API and returns the mark of the message.
func (s *Slack) call(ctx context.Context, method string, said slackPost) (string, error) {
	p, err := newPost(tellingSlack, strings.TrimRight(s.config.API, "/")+"/"+method, "", said)
	if err != nil {
		return "", err
	}
	p.header.Set("Authorization", "Bearer "+s.config.Token)
	a, err := p.send(ctx)
	if err != nil {
		return "", withHint(err, "see what answers at "+slackAPI)
	}
	var reply struct {
		OK      bool       `json:"ok"`
		Error   slackError `json:"error"`
		Channel string     `json:"channel"`
		TS      string     `json:"ts"`
	}
	if err := json.Unmarshal(a.body, &reply); err != nil {
		return "", slipway.Errorf(slipway.Invalid, tellingSlack, "its answer is not Slack's").WithHint("see what answers at %s", slackAPI)
	}
	if !reply.OK {
		return "", slackRefused(reply.Error)
	}
	return reply.Channel + "/" + reply.TS, nil
}

func slackRefused(e slackError) error {
	e = slackError(line(string(e), 100))
	refused := &slipway.Error{Op: tellingSlack, Code: slipway.Invalid, Message: "it answered", Err: e}
	if fix := slackFixes[e]; fix != "" {
		return refused.WithHint("%s", fix)
	}
	return refused.WithHint("look for the error on https://docs.slack.dev/reference/methods/chat.postMessage")
}

// withHint adds what mends an error, where it does not say.
func withHint(err error, hint string) error {
	if slipway.HintOf(err) != "" {
		return err
	}
	return (&slipway.Error{Code: slipway.CodeOf(err), Err: err}).WithHint("%s", hint)
}
