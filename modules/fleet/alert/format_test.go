package alert

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func example() Message {
	return Message{Created: noon.Add(10 * time.Second), Notices: []Notice{
		{Alert: Alert{Kind: NodeDown, Node: "shop", Reason: "the node refused the connection", Began: noon}},
		{Alert: Alert{Kind: StoreDown, Gateway: "5f0c2a9be4d1c7a8", Host: "gw-1", Shared: true, Reason: "redis refuses the connection", Began: noon.Add(-4 * time.Hour)}, Repeated: true},
		{Alert: Alert{Kind: BreakerOpen, Node: "docs", Reason: "5 hard failures in a row", Began: noon.Add(-90 * time.Second), Ended: noon.Add(2 * time.Second)}},
	}}
}

// The examples are what docs/alerts.md shows.
func TestTheFormatsAreAsRecorded(t *testing.T) {
	docs, err := os.ReadFile("../../../docs/alerts.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range Formats {
		body, err := example().Render(format, About{Federation: "shop", Repeat: 4 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		var indented bytes.Buffer
		if err := json.Indent(&indented, body, "", "  "); err != nil {
			t.Fatal(err)
		}
		indented.WriteByte('\n')
		file := filepath.Join("testdata", string(format)+".json")
		if os.Getenv("UPDATE_ALERTS") != "" {
			if err := os.WriteFile(file, indented.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		recorded, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if string(recorded) != indented.String() {
			t.Errorf("%s is\n%s\nexpected\n%s", format, indented.String(), recorded)
		}
		if !bytes.Contains(docs, recorded) {
			t.Errorf("docs/alerts.md does not show %s as it is", format)
		}
	}
	if _, err := example().Render("xml", About{}); err == nil {
		t.Error("xml was written")
	}
}

func storm(n int, reason string) Message {
	m := Message{Created: noon, Unfollowed: 2}
	for i := range n {
		m.Notices = append(m.Notices, Notice{Alert: Alert{Kind: NodeDown, Node: fmt.Sprintf("node-%04d", i), Reason: reason, Began: noon}})
	}
	return m
}

func TestAStormIsOneSummary(t *testing.T) {
	about := About{Federation: "f"}
	var plain plainMessage
	body, _ := storm(StormAbove, "x").Render(JSON, about)
	if err := json.Unmarshal(body, &plain); err != nil || plain.Storm || len(plain.Alerts) != StormAbove || plain.Omitted != 2 {
		t.Errorf("at the bound: %+v, %v", plain, err)
	}
	body, _ = storm(1000, strings.Repeat("reason ", 1000)).Render(JSON, about)
	if err := json.Unmarshal(body, &plain); err != nil || !plain.Storm || len(plain.Alerts) != StormListed || plain.Omitted != 1000-StormListed+2 {
		t.Fatalf("above it: %v", err)
	}
	if plain.Counts[firing][NodeDown] != 1000 || plain.Summary != "1000 firing (1000 node_down)" || len(body) > 10_000 {
		t.Errorf("%d bytes, %s", len(body), plain.Summary)
	}
	body, _ = storm(1000, "x").Render(Slack, about)
	if !strings.Contains(string(body), "and 992 more") || len(body) > 10_000 {
		t.Errorf("to Slack: %s", body)
	}
	var postables []postable
	body, _ = storm(AlertmanagerMost, strings.Repeat("r", 5000)).Render(Alertmanager, about)
	if err := json.Unmarshal(body, &postables); err != nil || len(postables) != AlertmanagerMost || len(body) > 512<<10 {
		t.Errorf("to an Alertmanager: %d alerts in %d bytes, %v", len(postables), len(body), err)
	}
}

// What a node says of itself must not act on whoever reads it.
func TestHostileTextIsHarmless(t *testing.T) {
	for _, hostile := range []string{
		"<!channel> & <https://evil.example|click here>", "<@U0123456>", "line\r\nbreak\x00\x1b[31m\u2028", "bidi \u202e reversed",
		"\xff\xfe not text", strings.Repeat("long ", 10_000), strings.Repeat("<", 10_000), strings.Repeat("\U0001F525", 10_000),
	} {
		m := Message{Created: noon}
		for range StormAbove {
			m.Notices = append(m.Notices, Notice{Alert: Alert{Kind: NodeDown, Node: "shop", Host: hostile, Action: hostile, Reason: hostile, Began: noon}})
		}
		m.Notices = append(m.Notices[:StormAbove-2],
			Notice{Alert: Alert{Kind: ActionStuck, Action: hostile, Reason: hostile, Began: noon}},
			Notice{Alert: Alert{Kind: StoreDown, Host: hostile, Reason: hostile, Began: noon}})
		about := About{Federation: hostile}
		for _, format := range Formats {
			body, err := m.Render(format, about)
			if err != nil || !utf8.Valid(body) || len(body) > 512<<10 {
				t.Fatalf("%s: %d bytes, %v", format, len(body), err)
			}
			for _, bad := range []string{"\\u0000", "\\u001b", "\u202e", "\\u2028", "\\r"} {
				if strings.Contains(string(body), bad) {
					t.Errorf("%s has %q", format, bad)
				}
			}
		}
		var s slackMessage
		body, _ := m.Render(Slack, about)
		if err := json.Unmarshal(body, &s); err != nil || len(s.Blocks) > 50 {
			t.Fatalf("%d blocks, %v", len(s.Blocks), err)
		}
		for i, block := range s.Blocks {
			most := 3000
			if i == 0 {
				most = 150
			} else if strings.ContainsAny(block.Text.Text, "<>") || !block.Text.Verbatim {
				t.Errorf("a block can mention: %s", block.Text.Text)
			}
			if n := utf8.RuneCountInString(block.Text.Text); n > most || n == 0 {
				t.Errorf("block %d has %d characters", i, n)
			}
		}
		if strings.ContainsAny(s.Text, "<>") || s.UnfurlLinks || s.UnfurlMedia {
			t.Errorf("the text can mention: %s", s.Text)
		}
	}
}

func FuzzRender(f *testing.F) {
	f.Add("shop", "<!here>", "\x00", int64(1))
	f.Add("", "a\xff", "\u202e", int64(-1))
	f.Fuzz(func(t *testing.T, node, reason, federation string, at int64) {
		m := Message{Created: noon, Notices: []Notice{{Alert: Alert{Kind: NodeDown, Node: node, Reason: reason, Began: noon.Add(time.Duration(at))}}}}
		for _, format := range Formats {
			body, err := m.Render(format, About{Federation: federation})
			if err != nil || !json.Valid(body) || !utf8.Valid(body) {
				t.Fatalf("%s: %s %v", format, body, err)
			}
		}
	})
}

// Alertmanager forgets what is not sent again before its endsAt.
func TestAnAlertmanagerIsToldUntilWhen(t *testing.T) {
	ends := func(n Notice, repeat time.Duration) string {
		var postables []postable
		body, _ := Message{Created: noon, Notices: []Notice{n}}.Render(Alertmanager, About{Repeat: repeat})
		if err := json.Unmarshal(body, &postables); err != nil {
			t.Fatal(err)
		}
		return postables[0].EndsAt
	}
	down := Notice{Alert: Alert{Kind: NodeDown, Node: "n", Began: noon}}
	for got, expected := range map[string]time.Duration{
		ends(down, 4*time.Hour): 4*time.Hour + alertmanagerSlack,
		ends(down, 0):           alertmanagerForever,
		ends(Notice{Alert: Alert{Kind: RefreshReplayed, Node: "n", Began: noon}}, 4*time.Hour): OnceFor,
		ends(Notice{Alert: Alert{Kind: Test, Began: noon}}, 4*time.Hour):                       time.Minute,
	} {
		if got != moment(noon.Add(expected)) {
			t.Errorf("ends at %s, expected %v later", got, expected)
		}
	}
	down.Ended = noon.Add(-time.Second)
	if got := ends(down, time.Hour); got != moment(down.Ended) {
		t.Errorf("what is over ends at %s", got)
	}
}
