package notify

import (
	"context"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/slipway-dev/slipway"
)

// Kind says what a Message tells.
type Kind string

// The kinds of messages.
const (
	Begun       Kind = "begun"         // the target is about to change; the next message of the release says how it ended
	Live        Kind = "live"          // the release serves and is verified
	RolledBack  Kind = "rolled-back"   // the version before serves and is verified
	Removed     Kind = "removed"       // a first release failed and is gone
	Quarantined Kind = "quarantined"   // it was rolled back before and is not tried again by itself
	NeedsPerson Kind = "person-needed" // the way back failed too
	Failed      Kind = "failed"        // nothing was changed
	Superseded  Kind = "superseded"    // a newer promotion took the target
	Unfinished  Kind = "unfinished"    // on its way, and nobody is at it: a person or the next run goes on
	Test        Kind = "test"          // slipway notify --test
)

// Message is what is told of a release. The texts are for people, one line
// each but Evidence; those that are empty are left out.
type Message struct {
	Kind     Kind
	Release  slipway.Release // what it is about; of a Test nothing
	Serving  *slipway.Release
	Title    string // "iris 3 was rolled back; iris 2 serves in production"
	Why      string // "verify: replica 1 answered otherwise"
	Evidence string // what the replica said, some lines
	Fix      string // the command that mends it
	Facts    []Fact
	URL      string // where the model answers
	At       time.Time
}

// Fact is one line of what else is to know: "target", "kubernetes://…".
type Fact struct{ Name, Value string }

// Notifier tells messages to one channel. A new one is checked by
// NewSlack, NewTeams and so on, and sends nothing before Tell.
type Notifier interface {
	// Name is what people call the channel: "slack".
	Name() string

	// Tell sends the message. mark is what Tell returned for the release's
	// message before, in this process or another one, "" at first: with it the
	// channel updates what it told, where it can. What comes back is the mark
	// for the next time, "" where there is nothing to update.
	//
	// A channel that has no use for a kind says nothing and returns nil. The
	// error is a slipway.Error, with what mends it, and holds no secret.
	Tell(ctx context.Context, m Message, mark string) (string, error)
}

var (
	_ Notifier = (*Slack)(nil)
	_ Notifier = (*Teams)(nil)
	_ Notifier = (*Events)(nil)
	_ Notifier = (*GitHub)(nil)
	_ Notifier = (*Email)(nil)
)

// sign is the sign of the kind, by which people know it at a glance.
func (k Kind) sign() string {
	switch k {
	case Begun:
		return "🚢"
	case Live:
		return "✅"
	case Quarantined, Superseded:
		return "🟡"
	case NeedsPerson, Unfinished:
		return "🚨"
	case Test:
		return "🔔"
	}
	return "❌"
}

// headline is the first line of a message.
func (m Message) headline() string { return m.Kind.sign() + " " + line(m.Title, titleLimit) }

// The longest texts that are told, in bytes. Slack takes 40,000 characters a
// message, Teams 28 kB.
const (
	titleLimit    = 500
	textLimit     = 1000
	evidenceLimit = 2000
	evidenceLines = 20
	factLimit     = 400
	factsLimit    = 20
)

// line makes one line of at most n bytes of a foreign text, without characters
// that steer a terminal, a header or the direction of writing.
func line(s string, n int) string {
	return clip(strings.Join(strings.Fields(plain(s)), " "), n)
}

// lines is line for a text of several lines: the evidence.
func lines(s string) string {
	rows := strings.SplitN(strings.TrimSpace(plain(s)), "\n", evidenceLines+1)
	if len(rows) > evidenceLines {
		rows[evidenceLines] = "…"
	}
	return clip(strings.Join(rows, "\n"), evidenceLimit)
}

func plain(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || unicode.IsPrint(r):
			return r
		case r != '\r' && unicode.IsSpace(r):
			return ' '
		}
		return -1
	}, strings.ToValidUTF8(s, "�"))
}

// clip cuts text to at most n bytes, between characters.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-len("…")], "") + "…"
}

// facts are those to be told, each of one line.
func (m Message) facts() []Fact {
	var list []Fact
	for _, f := range m.Facts {
		if value := line(f.Value, factLimit); value != "" && len(list) < factsLimit {
			list = append(list, Fact{Name: line(f.Name, 40), Value: value})
		}
	}
	return list
}

// link returns an address that may be made a link of, else "".
func link(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || len(address) > textLimit {
		return ""
	}
	return u.String()
}
