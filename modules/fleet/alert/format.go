package alert

import (
	"encoding/json"
	"errors"
	"strings"
	"time"
)

// Format is how a message is written.
type Format string

// The formats.
const (
	// JSON is our own.
	JSON Format = "json"
	// Alertmanager is what `POST /api/v2/alerts` of Prometheus' Alertmanager takes.
	Alertmanager Format = "alertmanager"
	// Slack is what an incoming webhook of Slack takes, and of those that copy it.
	Slack Format = "slack"
)

// Formats are all of them.
var Formats = []Format{JSON, Alertmanager, Slack}

const (
	// StormAbove is how many alerts a message lists one by one. Of more it is a
	// summary: their numbers by kind, and the [StormListed] worst.
	StormAbove  = 25
	StormListed = 10
	// AlertmanagerMost is how many alerts fit into one message to an
	// Alertmanager, which groups by itself and so gets each.
	AlertmanagerMost = 250
)

// About is what a message says of who sends it.
type About struct {
	// Federation is its name.
	Federation string
	// Repeat is the webhook's; 0: never.
	Repeat time.Duration
}

// listed are the notices that are written one by one, and how many are not.
func (m Message) listed() (notices []Notice, omitted int) {
	if len(m.Notices) <= StormAbove {
		return m.Notices, m.Unfollowed
	}
	return m.Notices[:StormListed], len(m.Notices) - StormListed + m.Unfollowed
}

// headline says how many alerts there are.
func (m Message) headline() string {
	counts := m.counts()
	if counts[firing][Test] > 0 {
		return "test alert"
	}
	var parts []string
	for _, status := range []string{firing, resolved} {
		if len(counts[status]) > 0 {
			total := 0
			for _, n := range counts[status] {
				total += n
			}
			parts = append(parts, number(total)+" "+status+" ("+words(counts[status])+")")
		}
	}
	return strings.Join(parts, ", ")
}

// Render writes a message. The body is JSON in all formats.
func (m Message) Render(format Format, about About) ([]byte, error) {
	about.Federation = Clean(about.Federation, maxName)
	switch format {
	case JSON:
		return json.Marshal(m.plain(about))
	case Alertmanager:
		return json.Marshal(m.alertmanager(about))
	case Slack:
		return json.Marshal(m.slack(about))
	default:
		return nil, errors.New("unknown format " + string(format))
	}
}

// moment is RFC 3339 in UTC with milliseconds; the zero time is empty.
func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z07:00")
}

// plainMessage is a message in our own format.
type plainMessage struct {
	Version    int                     `json:"version"`
	Federation string                  `json:"federation"`
	Created    string                  `json:"created_at"`
	Status     string                  `json:"status"`
	Summary    string                  `json:"summary"`
	Counts     map[string]map[Kind]int `json:"counts"`
	Storm      bool                    `json:"storm"`
	Omitted    int                     `json:"omitted"`
	Alerts     []plainAlert            `json:"alerts"`
}

type plainAlert struct {
	Key      string `json:"key"`
	DedupKey string `json:"dedup_key"`
	Kind     Kind   `json:"kind"`
	Status   string `json:"status"`
	Severity string `json:"severity"`
	Summary  string `json:"summary"`
	Reason   string `json:"reason,omitempty"`
	Node     string `json:"node,omitempty"`
	Gateway  string `json:"gateway,omitempty"`
	Host     string `json:"host,omitempty"`
	Action   string `json:"action,omitempty"`
	Started  string `json:"started_at"`
	Ended    string `json:"ended_at,omitempty"`
	Repeated bool   `json:"repeated,omitempty"`
}

func (m Message) plain(about About) plainMessage {
	notices, omitted := m.listed()
	p := plainMessage{
		Version: 1, Federation: about.Federation, Created: moment(m.Created), Status: resolved, Summary: m.headline(),
		Counts: m.counts(), Storm: len(m.Notices) > StormAbove, Omitted: omitted, Alerts: make([]plainAlert, 0, len(notices)),
	}
	if len(p.Counts[firing]) > 0 {
		p.Status = firing
	}
	for _, n := range notices {
		p.Alerts = append(p.Alerts, plainAlert{
			Key: Clean(n.Key(), maxName), DedupKey: Clean(n.DedupKey(about.Federation), maxDedupKey), Kind: n.Kind, Status: n.Status(), Severity: n.Kind.Severity(), Summary: n.Summary(),
			Reason: Clean(n.Reason, maxReason), Node: Clean(n.Node, maxName), Gateway: Clean(n.Gateway, maxName), Host: Clean(n.Host, maxName),
			Action: Clean(n.Action, maxName), Started: moment(n.Began), Ended: moment(n.Ended), Repeated: n.Repeated,
		})
	}
	return p
}

// postable is a postableAlert of Alertmanager's API v2.
type postable struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	StartsAt    string            `json:"startsAt"`
	EndsAt      string            `json:"endsAt"`
}

// An alert that is firing ends in Alertmanager by itself when its next repeat
// does not come.
const (
	alertmanagerSlack   = 15 * time.Minute // for a repeat that is late
	alertmanagerForever = 7 * 24 * time.Hour
)

func (m Message) alertmanager(about About) []postable {
	all := make([]postable, 0, len(m.Notices))
	for _, n := range m.Notices {
		p := postable{
			Labels: map[string]string{
				"alertname": camel(n.Kind), "federation": about.Federation, "severity": n.Kind.Severity(),
				"dedup_key": Clean(n.DedupKey(about.Federation), maxDedupKey),
			},
			Annotations: map[string]string{"summary": n.Summary()},
			StartsAt:    moment(n.Began), EndsAt: moment(n.Ended),
		}
		for name, value := range map[string]string{"node": n.Node, "gateway": n.Gateway, "host": n.Host, "action": n.Action} {
			if value != "" {
				p.Labels[name] = Clean(value, maxName)
			}
		}
		if reason := Clean(n.Reason, maxReason); reason != "" {
			p.Annotations["description"] = reason
		}
		switch {
		case !n.Ended.IsZero():
		case n.Kind.once():
			p.EndsAt = moment(m.Created.Add(OnceFor))
		case n.Kind == Test:
			p.EndsAt = moment(m.Created.Add(time.Minute))
		case about.Repeat > 0:
			p.EndsAt = moment(m.Created.Add(about.Repeat + alertmanagerSlack))
		default:
			p.EndsAt = moment(m.Created.Add(alertmanagerForever))
		}
		all = append(all, p)
	}
	return all
}

// camel writes FederationNodeDown for node_down.
func camel(kind Kind) string {
	var b strings.Builder
	b.WriteString("Federation")
	for _, word := range strings.Split(string(kind), "_") {
		if word != "" {
			b.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return b.String()
}
