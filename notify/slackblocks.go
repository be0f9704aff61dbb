package notify

import "strings"

// slackPost is the argument of chat.postMessage and chat.update, and the body
// of an incoming webhook.
type slackPost struct {
	Channel     string       `json:"channel,omitempty"`
	TS          string       `json:"ts,omitempty"`
	Text        string       `json:"text"` // for the notification; blocks are what people read
	Blocks      []slackBlock `json:"blocks"`
	UnfurlLinks bool         `json:"unfurl_links"`
	UnfurlMedia bool         `json:"unfurl_media"`
}

// slackBlock is a block of rich text (Block Kit reference, "Rich text block").
// Its texts are no markup: a name in them mentions nobody.
type slackBlock struct {
	Type     string         `json:"type"`
	Elements []slackSection `json:"elements"`
}

type slackSection struct {
	Type     string      `json:"type"` // rich_text_section, rich_text_preformatted
	Elements []slackText `json:"elements"`
}

type slackText struct {
	Type  string      `json:"type"` // text, link
	Text  string      `json:"text"`
	URL   string      `json:"url,omitempty"`
	Style *slackStyle `json:"style,omitempty"`
}

type slackStyle struct {
	Bold bool `json:"bold"`
}

func slackMessage(m Message) slackPost {
	sections := []slackSection{slackLine(bold(m.headline()))}
	if why := line(m.Why, textLimit); why != "" {
		sections = append(sections, slackLine(text("\n"+why)))
	}
	if evidence := lines(m.Evidence); evidence != "" {
		sections = append(sections, slackCode(evidence))
	}
	if fix := line(m.Fix, textLimit); fix != "" {
		sections = append(sections, slackLine(bold("To mend it:")), slackCode(fix))
	}
	if facts := slackFacts(m); len(facts) > 0 {
		sections = append(sections, slackLine(facts...))
	}
	return slackPost{Text: slackEscape.Replace(m.headline()), Blocks: []slackBlock{{Type: "rich_text", Elements: sections}}}
}

// slackEscape takes its meaning from what Slack reads in the text of a
// notification ("Formatting text for app surfaces", "Escaping text").
var slackEscape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

func slackFacts(m Message) []slackText {
	var all []slackText
	for _, f := range m.facts() {
		value := text(" " + f.Value)
		if to := link(f.Value); to != "" {
			value = slackText{Type: "link", Text: f.Value, URL: to}
			all = append(all, bold("\n"+f.Name), text(" "), value)
			continue
		}
		all = append(all, bold("\n"+f.Name), value)
	}
	return all
}

func text(s string) slackText { return slackText{Type: "text", Text: s} }
func bold(s string) slackText {
	return slackText{Type: "text", Text: s, Style: &slackStyle{Bold: true}}
}

func slackLine(texts ...slackText) slackSection {
	return slackSection{Type: "rich_text_section", Elements: texts}
}

func slackCode(s string) slackSection {
	return slackSection{Type: "rich_text_preformatted", Elements: []slackText{text(s)}}
}
