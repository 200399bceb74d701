package alert

import "strings"

// What Slack takes, in characters after escaping: a header of 150, a section
// of 3,000 and 50 blocks. We stay below.
const (
	slackHeader  = 140
	slackSection = 2800
	slackReason  = 300
)

type slackMessage struct {
	Text        string       `json:"text"`
	UnfurlLinks bool         `json:"unfurl_links"`
	UnfurlMedia bool         `json:"unfurl_media"`
	Blocks      []slackBlock `json:"blocks"`
}

type slackBlock struct {
	Type string    `json:"type"`
	Text slackText `json:"text"`
}

type slackText struct {
	Type string `json:"type"`
	Text string `json:"text"`
	// Verbatim has Slack make no links of what looks like one.
	Verbatim bool `json:"verbatim,omitempty"`
}

// slackEscaper is what Slack asks for. Without < nothing is a mention, and with
// verbatim nothing else becomes a link.
var slackEscaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

func (m Message) slack(about About) slackMessage {
	title := "[" + about.Federation + "] " + m.headline()
	s := slackMessage{
		Text:   slackEscaper.Replace(Clean(title, slackSection/5)), // an escape has five characters
		Blocks: []slackBlock{{"header", slackText{Type: "plain_text", Text: Clean(title, slackHeader)}}},
	}
	notices, omitted := m.listed()
	var section strings.Builder
	flush := func() {
		if section.Len() > 0 {
			s.Blocks = append(s.Blocks, slackBlock{"section", slackText{"mrkdwn", section.String(), true}})
			section.Reset()
		}
	}
	add := func(line string) {
		if section.Len()+len(line)+1 > slackSection {
			flush()
		}
		if section.Len() > 0 {
			section.WriteByte('\n')
		}
		section.WriteString(line)
	}
	for _, n := range notices {
		add(slackLine(n))
	}
	if omitted > 0 {
		add("… and " + number(omitted) + " more")
	}
	flush()
	return s
}

func slackLine(n Notice) string {
	mark := ":red_circle:"
	switch {
	case !n.Ended.IsZero():
		mark = ":large_green_circle:"
	case n.Kind == Test:
		mark = ":large_blue_circle:"
	case n.Kind.Severity() == "warning":
		mark = ":large_yellow_circle:"
	}
	line := mark + " *" + slackEscaper.Replace(n.Summary()) + "*"
	if reason := Clean(n.Reason, slackReason); reason != "" && n.Ended.IsZero() {
		line += ": " + slackEscaper.Replace(reason)
	}
	if !n.Ended.IsZero() {
		line += " after " + n.Ended.Sub(n.Began).Round(1e9).String()
	}
	return line
}
