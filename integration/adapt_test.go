package integration

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// TestAdapt holds the grammar: every *.caddyfiletest is a Caddyfile, a line of
// hyphens, and the JSON it becomes.
func TestAdapt(t *testing.T) {
	files, err := filepath.Glob("../testdata/adapt/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			caddyfile, expected, ok := strings.Cut(string(text), "\n----------\n")
			if !ok {
				t.Fatal("there is no line of ten hyphens")
			}
			got, err := adapt(caddyfile + "\n")
			if err != nil {
				t.Fatal(err)
			}
			var pretty bytes.Buffer
			if err := json.Indent(&pretty, got, "", "\t"); err != nil {
				t.Fatal(err)
			}
			if os.Getenv("UPDATE_ADAPT") != "" {
				if err := os.WriteFile(file, []byte(caddyfile+"\n----------\n"+pretty.String()+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if strings.TrimSpace(expected) != strings.TrimSpace(pretty.String()) {
				t.Errorf("adapted to\n%s\nexpected\n%s", pretty.String(), expected)
			}
		})
	}
}

var inDocs = regexp.MustCompile("(?s)```caddyfile\n(.*?)```")

// TestTheDocsAdapt keeps every Caddyfile in the documents true.
func TestTheDocsAdapt(t *testing.T) {
	files, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range append(files, "../README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, example := range inDocs.FindAllStringSubmatch(string(text), -1) {
			found++
			t.Run(fmt.Sprintf("%s %d", filepath.Base(file), i+1), func(t *testing.T) {
				t.Setenv("FEDERATION_SECRET", "a secret of more than thirty-two bytes")
				t.Setenv("SHOP_PASSWORD", "secret")
				t.Setenv("REDIS_PASSWORD", "secret")
				t.Setenv("ALERT_SECRET", "a secret of the receiver")
				t.Setenv("SLACK_URL", "https://hooks.slack.com/services/T000/B000/xxxx")
				t.Setenv("SHOP_SECRET", "another secret of more than thirty-two bytes")
				t.Setenv("FEDERATION_KEY_FILE", newPEM(t))
				config, err := adapt(example[1])
				if err != nil {
					t.Fatalf("%v\n%s", err, example[1])
				}
				var parsed caddy.Config
				if err := json.Unmarshal(config, &parsed); err != nil {
					t.Fatal(err)
				}
				if err := caddy.Validate(&parsed); err != nil {
					t.Errorf("%v\n%s", err, example[1])
				}
			})
		}
	}
	if found < 5 {
		t.Errorf("the docs have %d examples", found)
	}
}

// TestEveryMistakeIsNamed: the error of a Caddyfile says what, and on which line.
func TestEveryMistakeIsNamed(t *testing.T) {
	for _, c := range []struct{ block, search, says string }{
		{"nod a http://x", "", "federation: unknown subdirective nod; did you mean node?"},
		{"store reddis redis://x", "", "store: unknown module reddis; did you mean redis?"},
		{"store redis", "", "store redis: the url is missing"},
		{"store redis http://x", "", `the scheme of a url is "http", expected redis`},
		{"store redis redis://x/-1", "", "the database or address of a url cannot be read"},
		{"store redis redis://x?db=-5", "", "the database or address of a url cannot be read"},
		{"store redis redis://x/+1", "", "the database or address of a url cannot be read"},
		{"store redis redis://x/1?db=2", "", "names its database twice"},
		{"store redis redis://x:99999", "", "port of a url is not from 1 to 65535"},
		{"store redis redis://x/one", "", "expected one as redis://127.0.0.1:6379/0"},
		{"store redis redis://:hunter2@x", "", "a url must not hold a password"},
		{"store redis redis://x?db=1&read_timeout=5s", "", `a url sets "read_timeout", only db`},
		{"store redis unix://", "", "has no path"},
		{"store redis redis://x {\n tiemout 1s\n}", "", "store redis: unknown subdirective tiemout; did you mean timeout?"},
		{"store redis redis://x {\n timeout 0\n}", "", "duration above 0"},
		{"store redis redis://x {\n prefix a{b\n}", "", "braces and spaces"},
		{"store redis redis://x {\n prefix a\n prefix b\n}", "", "prefix is set twice"},
		{"store redis redis://x {\n cluster\n master_name m\n}", "", "exclude each other"},
		{"store redis redis://x {\n tls {\n cert a\n }\n}", "", "cert and key need each other"},
		{"store redis redis://x {\n tls {\n cart a\n }\n}", "", "store redis tls: unknown subdirective cart; did you mean cert?"},
		{"store", "", "the name of a module is missing"},
		{"store bolt a b", "", "takes one file"},
		{"store memory x", "", "takes no argument"},
		{"issuer", "", "issuer takes one argument"},
		{"issuer a\nissuer b", "", "issuer is set twice"},
		{"key a hs512 secret", "", `unknown algorithm "hs512"`},
		{"key a hs256", "", "key takes <kid> <algorithm>"},
		{"key a hs256 s\nkey a hs256 t", "", "key a is set twice"},
		{"key a hs256 s sign_only", "", "expected verify_only"},
		{"enrollment", "", "the mode is missing"},
		{"enrollment secrt x", "", "did you mean secret?"},
		{"enrollment secret", "", "secret takes 1 arguments, got 0"},
		{"enrollment secret hunter2 hunter2", "", "secret takes 1 arguments, got 2"},
		{"enrollment off x", "", "off takes 0 arguments"},
		{"enrollment off\nenrollment off", "", "enrollment is set twice"},
		{"node_urls", "", "node_urls"},
		{"node_urls 10.0.0.0/99", "", "no CIDR prefix"},
		{"audience", "", "audience takes at least one argument"},
		{"audience a\naudience b", "", "audience is set twice"},
		{"jwks", "", "jwks takes <url> [<iss>]"},
		{"jwks http://keys.example", "", "http is only for this machine"},
		{"jwks https://user:hunter2@keys.example", "", "without user"},
		{"jwks https://a/k\njwks https://a/k iss", "", "jwks https://a/k is set twice"},
		{"access_ttl 0", "", "access_ttl 0 is not a duration from 1s to 24h"},
		{"access_ttl off", "", "not a duration from 1s"},
		{"access_ttl 48h", "", "to 24h"},
		{"refresh_ttl soon", "", "refresh_ttl soon is not a duration"},
		{"refresh_grace 1h", "", "to 10m"},
		{"leeway -5s", "", "leeway -5s is not a duration"},
		{"leewy 5s", "", "did you mean leeway?"},
		{"node a http://x {\n key k hs512 s\n}", "", `node: key k: unknown algorithm "hs512"`},
		{"node a http://x {\n key k hs256 s\n key k hs256 t\n}", "", "node: key k is set twice"},
		{"node_defaults {\n key k hs256 s\n}", "", "key cannot stand here"},
		{"node a", "", "node takes <slug> <url>"},
		{"node A_b http://x", "", "a slug is"},
		{"node local http://x", "", "a slug is"},
		{"node a ftp://x", "", "http or https"},
		{"node a x:80", "", "http or https"},
		{"node a http://user:hunter2@x", "", "use credentials basic"},
		{"node a http://x?y=z", "", "query or fragment"},
		{"node a http://x\nnode a http://y", "", "node a is set twice"},
		{"node a http://x {\n wieght 2\n}", "", "node a: unknown subdirective wieght; did you mean weight?"},
		{"node a http://x {\n weight 0\n}", "", "above 0"},
		{"node a http://x {\n weight 1001\n}", "", "at most 1000"},
		{"node a http://x {\n weight NaN\n}", "", "above 0"},
		{"node a http://x {\n type parent\n}", "", "child or master"},
		{"node a http://x {\n admin_state asleep\n}", "", "enabled, draining"},
		{"node a http://x {\n admin_state pending\n}", "", "is for nodes that register"},
		{"node a http://x {\n timeout 0\n}", "", "duration above 0"},
		{"node a http://x {\n timeout 5s 6s\n}", "", "timeout takes one argument"},
		{"node a http://x {\n max_requests none\n}", "", "whole number"},
		{"node a http://x {\n budget off 1m\n}", "", "budget off takes nothing more, got 1m; expected <calls> <window> [per_path], or off"},
		{"node a http://x {\n budget off off\n}", "", "budget off takes nothing more, got off"},
		{"node a http://x {\n budget 60\n}", "", "budget takes <calls> <window> [per_path], or off"},
		{"node a http://x {\n budget many 1m\n}", "", "budget: many is not a whole number above 0"},
		{"node a http://x {\n max_response_size 2GiB\n}", "", "1GiB"},
		{"node a http://x {\n required yes\n}", "", "takes no argument"},
		{"node a http://x {\n header_up X\n}", "", "header_up takes"},
		{"node a http://x {\n header_up \"X Y\" z\n}", "", "not a header name"},
		{"node a http://x {\n credentials\n}", "", "the type is missing"},
		{"node a http://x {\n credentials jwtt\n}", "", "did you mean jwt?"},
		{"node a http://x {\n credentials basic hunter2\n}", "", "basic takes 2 to 2 arguments"},
		{"node a http://x {\n dialect larvel\n}", "", "did you mean laravel?"},
		{"node a http://x {\n transport htttp\n}", "", "did you mean http?"},
		{"node_defaults {\n weight x\n}", "", "above 0"},
		{"node_defaults x {\n weight 1\n}", "", "takes no argument"},
		{"health on", "", "health takes off or a block, got on"},
		{"health off {\n rise 2\n}", "", "health off takes no block"},
		{"health {\n intervall 5s\n}", "", "health: unknown subdirective intervall; did you mean interval?"},
		{"health {\n interval 1ms\n}", "", "health: interval 1ms is not from 100ms to 1h"},
		{"health {\n fast never\n}", "", "health: fast never is not a duration"},
		{"health {\n down 5s 6s\n}", "", "down takes one argument"},
		{"health {\n rise 0\n}", "", "health: rise 0 is not a whole number above 0"},
		{"health {\n fall 3\n fall 4\n}", "", "fall is set twice"},
		{"health {\n jitter 0.95\n}", "", "health: jitter 0.95 is not a share above 0 and at most 0.9"},
		{"health {\n vantage 2000\n}", "", "health: vantage 2000 is not from 1 to 1000"},
		{"health {\n jitter much\n}", "", "health: jitter much is not a share"},
		{"health {\n fast 10s\n interval 5s\n}", "", "health: fast 10s is longer than interval 5s"},
		{"health {\n interval 5s\n fast 10s\n rise 2\n}", "", "health: fast 10s is longer than interval 5s"},
		{"health {\n fast 10s\n}", "", "health: fast 10s is longer than interval 5s"},
		{"health off\nhealth off", "", "health is set twice"},
		{"breaker on", "", "breaker takes off or a block, got on"},
		{"breaker off {\n panic 0.5\n}", "", "breaker off takes no block"},
		{"breaker {\n consecutiv 5\n}", "", "breaker: unknown subdirective consecutiv; did you mean consecutive?"},
		{"breaker {\n consecutive 0\n}", "", "breaker: consecutive 0 is not a whole number above 0, or off"},
		{"breaker {\n consecutive 5\n consecutive 6\n}", "", "consecutive is set twice"},
		{"breaker {\n probes off\n}", "", "breaker: probes off is not a whole number above 0"},
		{"breaker {\n failure_ratio 50\n}", "", "breaker: failure_ratio 50 is not a share"},
		{"breaker {\n slow_ratio NaN\n}", "", "breaker: slow_ratio NaN is not a share"},
		{"breaker {\n max_ejected 0\n}", "", "breaker: max_ejected 0 is not a share"},
		{"breaker {\n slow_after soon\n}", "", "breaker: slow_after soon is not a duration"},
		{"breaker {\n window 10ms\n}", "", "breaker: window 10ms is not from 1s to 10m"},
		{"breaker {\n ramp 0\n}", "", "breaker: ramp 0 is not a duration above 0, as in 5s, or off"},
		{"breaker {\n open\n}", "", "breaker: open takes at least one argument"},
		{"breaker {\n open 5s 1s\n}", "", "breaker: open: the first time 5s is longer than the longest 1s"},
		{"breaker {\n open x\n}", "", "breaker: open x is not a duration"},
		{"breaker {\n open 1s x\n}", "", "breaker: open x is not a duration"},
		{"breaker {\n open 25h\n}", "", "breaker: open 25h0m0s is not above 0 and at most 24h"},
		{"breaker {\n open 1s 2s 3s\n}", "", "breaker: open takes <first> [<longest>]"},
		{"breaker {\n shadow yes\n}", "", "takes no argument"},
		{"breaker {\n panic 0.5\n}\nbreaker off", "", "breaker is set twice"},
		{"alert", "", "alert: the kind of receiver is missing, expected webhook, or group"},
		{"alert group", "", "alert group takes <duration>, got 0 arguments"},
		{"alert group 10s 20s", "", "alert group takes <duration>, got 2 arguments"},
		{"alert group soon", "", "alert group soon is not a duration above 0"},
		{"alert group 11m", "", "alert group 11m0s is not from 1s to 10m0s"},
		{"alert group 5s\nalert group 5s", "", "alert group is set twice"},
		{"alert group 5s {\n on node_down\n}", "", "alert group takes no block"},
		{"alert grup 5s", "", "unknown kind of receiver grup; did you mean group?"},
		{"alert webhok https://x/", "", "unknown kind of receiver webhok; did you mean webhook?"},
		{"alert webhook", "", "alert webhook takes <url>, got 0 arguments"},
		{"alert webhook https://x/hunter2 hunter2", "", "alert webhook takes <url>, got 2 arguments"},
		{"alert webhook ftp://hunter2", "", "alert webhook: the url is not an http or https URL"},
		{"alert webhook https://hunter2%zz", "", "alert webhook: the url is not an http or https URL"},
		{"alert webhook https://x/hunter2#y", "", "without a fragment"},
		{"alert webhook https://x/hunter2\nalert webhook https://x/hunter2", "", "an alert webhook with this url and format is set twice"},
		{"alert webhook https://x/ {\n formt json\n}", "", "alert webhook: unknown subdirective formt; did you mean format?"},
		{"alert webhook https://x/ {\n format jsn\n}", "", "alert webhook: format: unknown jsn; did you mean json?"},
		{"alert webhook https://x/ {\n format\n}", "", "format takes one argument"},
		{"alert webhook https://x/ {\n secret hunter2 hunter2\n}", "", "secret takes one argument, got 2"},
		{"alert webhook https://x/ {\n secret a\n secret b\n}", "", "secret is set twice"},
		{"alert webhook https://x/ {\n on\n}", "", "on takes at least one argument"},
		{"alert webhook https://x/ {\n on node_dwn\n}", "", "alert webhook: on: unknown kind node_dwn; did you mean node_down?"},
		{"alert webhook https://x/ {\n on node_down node_down\n}", "", "alert webhook: on: node_down is set twice"},
		{"alert webhook https://x/ {\n repeat often\n}", "", "alert webhook: repeat often is not a duration above 0, as in 5s, or off"},
		{"alert webhook https://x/ {\n repeat 1s\n}", "", "alert webhook: repeat 1s is not from 1m0s to 168h0m0s, or off"},
		{"", "timout 2s", "federation_search: unknown subdirective timout; did you mean timeout?"},
		{"", "timeout 0s", "at least 1ms"},
		{"", "timeout 1s\ntimeout 2s", "timeout is set twice"},
		{"", "node_timeout soon", "not a duration"},
		{"", "min_nodes 0", "above 0"},
		{"", "fusion rff", "did you mean rrf?"},
		{"", "dedup nearly", "known are"},
		{"", "limit 0", "from 1 to 1000"},
		{"", "limit 50 10", "above the maximum"},
		{"", "limit 1 2 3", "limit takes"},
		{"", "local", "the name of an index is missing"},
		{"", "local bleev x", "did you mean bleve?"},
		{"", "local bleve", "file or folder"},
		{"", "local bleve x {\n langage en\n}", "did you mean language?"},
		{"", "local off x", "wrong argument count"},
		{"", "server_timing on", "takes no argument"},
	} {
		text := federation(8080, c.block, c.search)
		if strings.HasPrefix(c.block, "store") {
			text = strings.Replace(text, "store memory", "", 1)
		}
		_, err := adapt(text)
		if err == nil {
			t.Errorf("%s%s: adapted", c.block, c.search)
			continue
		}
		if !strings.Contains(err.Error(), c.says) || !regexp.MustCompile(`Caddyfile:\d+`).MatchString(err.Error()) {
			t.Errorf("%s%s: error is %v, expected %q with file and line", c.block, c.search, err, c.says)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a secret got out: %v", err)
		}
	}
}

// TestEveryMistakeInASiteIsNamed: the directives that stand in a site alone.
func TestEveryMistakeInASiteIsNamed(t *testing.T) {
	for line, says := range map[string]string{
		"federation_nodes {\n compat larvel\n}":                   "compat: unknown larvel; did you mean laravel?",
		"federation_nodes {\n compat\n}":                          "compat takes one argument",
		"federation_nodes {\n compat laravel\n compat laravel\n}": "compat is set twice",
		"federation_nodes {\n compta laravel\n}":                  "did you mean compat?",
		"federation_nodes /x y":                                   "wrong argument count",
		"federation /x":                                           "is no prefix as in /federation/*",
		"federation /x/* /y/*":                                    "wrong argument count",
		"federation {\n rate 5\n}":                                "takes no block",
	} {
		_, err := adapt(":8080 {\n" + line + "\n}\n")
		if err == nil || !strings.Contains(err.Error(), says) || !regexp.MustCompile(`Caddyfile:\d+`).MatchString(err.Error()) {
			t.Errorf("%s: error is %v, expected %q with file and line", line, err, says)
		}
	}
}

// TestEveryMistakeInJSONIsNamed: JSON may say what a Caddyfile cannot.
func TestEveryMistakeInJSONIsNamed(t *testing.T) {
	for _, c := range []struct{ app, says string }{
		{`{"nodes":[{"slug":"a","url":"http://x"},{"slug":"a","url":"http://y"}]}`, `node "a" is configured twice`},
		{`{"nodes":[{"slug":"a"}]}`, "the url is missing"},
		{`{"nodes":[{"slug":"a","url":"http://x","weight":-1}]}`, "weight"},
		{`{"nodes":[{"slug":"a","url":"http://x","dialect":{"dialect":"klingon"}}]}`, "klingon"},
		{`{"nodes":[{"slug":"a","url":"http://x","credentials":{"type":"jwt"}}]}`, "no key that may sign"},
		{`{"nodes":[{"slug":"a","url":"http://x","credentials":{"type":"bearer"}}]}`, "the value is empty"},
		{`{"nodes":[{"slug":"a","url":"http://x","credentials":{"type":"bearer","value":"{env.NOBODY_SET_THIS}"}}]}`, "credentials bearer"},
		{`{"nodes":[{"slug":"a","url":"{env.NOBODY_SET_THIS}"}]}`, "url"},
		{`{"keys":[{"id":"k","algorithm":"RS256","secret":"/nowhere.pem"}]}`, `key "k"`},
		{`{"keys":[{"id":"k","algorithm":"HS256","secret":"a secret of the tests"},{"id":"k","algorithm":"HS256","secret":"b secret of the tests"}]}`, "twice"},
		{`{"keys":[{"id":"k","algorithm":"HS256","secret":"guess me"}]}`, "fewer than 14 bytes"},
		{`{"node_defaults":{"slug":"x"}}`, "node_defaults"},
		{`{"enrollment":{"mode":"maybe"}}`, `unknown mode, expected off`},
		{`{"enrollment":{"mode":"secret","secret":"short"}}`, "at least 16"},
		{`{"enrollment":{"mode":"secret","secret":"{env.NOBODY_SET_THIS}"}}`, "enrollment secret"},
		{`{"node_urls":["http://x"]}`, "node_urls"},
		{`{"store":{"module":"paper"}}`, "paper"},
		{`{"health":{"fast":10000000000,"interval":5000000000}}`, "health: fast 10s is longer than interval 5s"},
		{`{"health":{"fast":"10s"}}`, "health: fast 10s is longer than interval 5s"},
		{`{"health":{"fast":"soon"}}`, `health.fast: "soon" is not a duration, expected one as in "5s", or nanoseconds`},
		{`{"health":{"rise":"two"}}`, "health.rise"},
		{`{"breaker":{"open":"x"}}`, `breaker.open: "x" is not a duration, expected one as in "5s", or nanoseconds`},
		{`{"breaker":{"OPEN":"5s","max_open":""}}`, `breaker.max_open: "" is not a duration`},
		{`{"breaker":{"open":25}, "braeker":{}}`, `unknown field "braeker"`},
		{`{"breaker":{"opn":"5s"}}`, `unknown field "opn"`},
		{`{"access_ttl":"x"}`, `access_ttl: "x" is not a duration`},
		{`{"nodes":[{"slug":"a","url":"http://x"},{"slug":"b","url":"http://x","timeout":"x"}]}`, `nodes[1].timeout: "x" is not a duration`},
		{`{"nodes":[{"slug":"a","url":"http://x","budget":{"limit":1,"window":"x"}}]}`, `nodes[0].budget.window: "x" is not a duration`},
		{`{"alert_webhooks":[{"url":"https://x/","repeat":"often"}]}`, `alert_webhooks[0].repeat: "often" is not a duration`},
		{`{"alert_group":1}`, "alert group 1ns is not from 1s to 10m0s"},
		{`{"alert_webhooks":[{}]}`, "alert webhook 1: the url is missing"},
		{`{"alert_webhooks":[{"url":"{env.NOBODY_SET_THIS}"}]}`, "alert webhook 1: url"},
		{`{"alert_webhooks":[{"url":"https://x/","format":"xml"}]}`, `unknown format "xml"`},
		{`{"alert_webhooks":[{"url":"https://x/","on":["node_dwn"]}]}`, `unknown kind "node_dwn"`},
		{`{"alert_webhooks":[{"url":"https://x/","repeat":1}]}`, "repeat 1ns is not from 1m0s"},
		{`{"alert_webhooks":[{"url":"https://x/","secret":"short"}]}`, "secret: it has 5 bytes, expected at least 16"},
		{`{"alert_webhooks":[{"url":"https://x/","secret":"{env.NOBODY_SET_THIS}"}]}`, "alert webhook 1: secret"},
		{`{"alert_webhooks":[{"url":"https://x/"},{"url":"https://x/","format":"json"}]}`, "alert webhook 2: its url and format are those of another one"},
	} {
		var config caddy.Config
		text := `{"admin":{"disabled":true},"apps":{"federation":` + c.app + `}}`
		if err := json.Unmarshal([]byte(text), &config); err != nil {
			t.Fatal(err)
		}
		err := caddy.Validate(&config)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error is %v, expected %q", c.app, err, c.says)
		}
	}
}

// TestEveryMistakeInADirectiveIsNamed: as TestEveryMistakeIsNamed, for
// directives whose block stands in a site.
func TestEveryMistakeInADirectiveIsNamed(t *testing.T) {
	for _, c := range []struct{ directive, block, says string }{
		{"federation_redact \"X Y\"", "", `federation_redact: headers: "X Y" is not a header name`},
		{"log", "format federation_redact {\nheader X\n}", "format federation_redact: unknown subdirective header; did you mean headers?"},
		{"log", "format federation_redact {\nheaders \"X Y\"\n}", `"X Y" is not a header name`},
		{"log", "format federation_redact {\nwrap jso\n}", "jso"},
		{"federation_redact", "header X", "federation_redact takes no block"},
		{"federation_auth", "capabilty search", "federation_auth: unknown subdirective capabilty; did you mean capability?"},
		{"federation_auth", "capability", "capability takes at least one argument"},
		{"federation_auth", "capability search\ncapability actions", "capability is set twice"},
		{"federation_auth", "capability `a\"b`", "visible ASCII"},
		{"federation_auth", "allow jwt password", `unknown method "password"`},
		{"federation_auth", "api_key_header \"X Y\"", "not a header name"},
		{"federation_auth", "api_key_header Authorization", "not for API keys"},
		{"federation_auth", "compat rails", "expected laravel"},
		{"federation_auth", "compat", "compat takes one argument"},
		{"federation_auth", "optional yes", "takes no argument"},
	} {
		_, err := adapt("http://127.0.0.1:8080 {\n" + c.directive + " {\n" + c.block + "\n}\n}\n")
		if err == nil || !strings.Contains(err.Error(), c.says) || !regexp.MustCompile(`Caddyfile:\d+`).MatchString(err.Error()) {
			t.Errorf("%s %s: error is %v, expected %q with file and line", c.directive, c.block, err, c.says)
		}
	}
}

// newPEM returns a file with a new Ed25519 key.
func newPEM(t *testing.T) string {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
