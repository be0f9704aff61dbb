package notify

import (
	"context"
	"net/url"
	"strings"

	"github.com/slipway-dev/slipway"
)

// Teams posts a card to a channel or chat of Microsoft Teams, by the address of
// a workflow that begins "When a Teams webhook request is received". A workflow
// cannot change what it has posted: a release is told once, at its end.
type Teams struct{ address string }

const tellingTeams = "telling teams"

// NewTeams checks the address. Code Invalid, also for one of the connectors,
// which Microsoft has retired.
func NewTeams(address string) (*Teams, error) {
	u, err := parseAddress("SLIPWAY_TEAMS_URL", address)
	if err != nil {
		return nil, err
	}
	if isConnector(u) {
		return nil, slipway.Errorf(slipway.Invalid, "reading SLIPWAY_TEAMS_URL", "it is the address of a connector, and these are retired").
			WithHint("in Teams, open the channel's Workflows, take “Send webhook alerts to a channel”, and set SLIPWAY_TEAMS_URL to the address it shows")
	}
	return &Teams{address: u.String()}, nil
}

func isConnector(u *url.URL) bool {
	return u.Hostname() == "outlook.office.com" || strings.HasSuffix(u.Hostname(), ".webhook.office.com")
}

// Name is part of Notifier.
func (t *Teams) Name() string { return "teams" }

// Tell is part of Notifier.
func (t *Teams) Tell(ctx context.Context, m Message, _ string) (string, error) {
	if m.Kind == Begun {
		return "", nil
	}
	p, err := newPost(tellingTeams, t.address, "", teamsMessage(m))
	if err != nil {
		return "", err
	}
	_, err = p.send(ctx)
	switch slipway.CodeOf(err) {
	case slipway.Unauthorized, slipway.NotFound, slipway.Invalid:
		err = withHint(err, "see that the workflow is on and anyone may trigger it, and set SLIPWAY_TEAMS_URL to the address it shows")
	}
	return "", err
}

// teamsPost is what the workflow's trigger takes.
type teamsPost struct {
	Type        string            `json:"type"`
	Attachments []teamsAttachment `json:"attachments"`
}

type teamsAttachment struct {
	ContentType string `json:"contentType"`
	Content     card   `json:"content"`
}

// card is an Adaptive Card 1.4. Its texts are text runs, in which Markdown is
// not read (Adaptive Cards schema, TextRun).
type card struct {
	Schema  string         `json:"$schema"`
	Type    string         `json:"type"`
	Version string         `json:"version"`
	MSTeams map[string]any `json:"msteams"`
	Body    []cardBlock    `json:"body"`
	Actions []cardAction   `json:"actions,omitempty"`
}

type cardBlock struct {
	Type      string    `json:"type"` // RichTextBlock
	Separator bool      `json:"separator,omitempty"`
	Inlines   []cardRun `json:"inlines"`
}

type cardRun struct {
	Type     string `json:"type"` // TextRun
	Text     string `json:"text"`
	Weight   string `json:"weight,omitempty"`
	Size     string `json:"size,omitempty"`
	Color    string `json:"color,omitempty"`
	FontType string `json:"fontType,omitempty"`
}

type cardAction struct {
	Type  string `json:"type"` // Action.OpenUrl
	Title string `json:"title"`
	URL   string `json:"url"`
}

func teamsMessage(m Message) teamsPost {
	c := card{
		Schema: "http://adaptivecards.io/schemas/adaptive-card.json", Type: "AdaptiveCard", Version: "1.4",
		MSTeams: map[string]any{"width": "Full"},
		Body:    []cardBlock{block(cardRun{Text: m.headline(), Weight: "Bolder", Size: "Medium", Color: cardColor(m.Kind)})},
	}
	if why := line(m.Why, textLimit); why != "" {
		c.Body = append(c.Body, block(cardRun{Text: why}))
	}
	for row := range strings.Lines(lines(m.Evidence)) {
		c.Body = append(c.Body, block(cardRun{Text: strings.TrimRight(row, "\n"), FontType: "Monospace"}))
	}
	if fix := line(m.Fix, textLimit); fix != "" {
		c.Body = append(c.Body, block(cardRun{Text: "To mend it: ", Weight: "Bolder"}, cardRun{Text: fix, FontType: "Monospace"}))
	}
	for i, f := range m.facts() {
		row := block(cardRun{Text: f.Name + "  ", Weight: "Bolder"}, cardRun{Text: f.Value})
		row.Separator = i == 0
		c.Body = append(c.Body, row)
	}
	if run := link(m.Release.RunURL); run != "" {
		c.Actions = []cardAction{{Type: "Action.OpenUrl", Title: "Open the run", URL: run}}
	}
	return teamsPost{Type: "message", Attachments: []teamsAttachment{{ContentType: "application/vnd.microsoft.card.adaptive", Content: c}}}
}

// block makes a paragraph. A text run still reads {{DATE(…)}}: the braces are
// parted by a zero-width space.
func block(runs ...cardRun) cardBlock {
	for i := range runs {
		runs[i].Type = "TextRun"
		runs[i].Text = strings.ReplaceAll(runs[i].Text, "{{", "{\u200b{")
	}
	return cardBlock{Type: "RichTextBlock", Inlines: runs}
}

func cardColor(k Kind) string {
	switch k {
	case Live:
		return "Good"
	case Quarantined, Superseded:
		return "Warning"
	case Test:
		return "Accent"
	}
	return "Attention"
}
