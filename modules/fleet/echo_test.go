package fleet

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestANodeThatRepeatsOurCredentialIsNotQuoted(t *testing.T) {
	node := &Node{ID: 7, Slug: "shop", Name: "shop"}
	for name, lines := range map[string]string{
		"bearer": "credentials bearer Kettle-Secret-1", "basic": "credentials basic user Kettle-Secret-1",
		"header": "credentials header X-Private Kettle-Secret-1", "shared secret": "credentials shared_secret Kettle-Secret-1", "jwt": "",
	} {
		f := run(t, "key main hs256 a-secret-of-more-than-thirty-two-bytes\nnode shop http://127.0.0.1:1 {\n"+lines+"\n}")
		c := f.node("shop").credential
		header := http.Header{}
		if err := c.apply(header, TokenBoth, node); err != nil {
			t.Fatal(err)
		}
		for _, values := range header {
			echo := values[0]
			r := &Report{
				Reason: "the node's status is " + strings.ToLower(echo), Name: "Shop", Version: echo, Description: "says " + echo,
				Keywords: []string{"tea", echo}, Collections: []Collection{{Name: echo, Class: "App\\Tea"}},
			}
			r.withoutEcho(f.node("shop").secrets)
			if got := fmt.Sprint(*r); got != "{  REDACTED Shop REDACTED REDACTED [] [] [] [tea REDACTED] [{REDACTED App\\Tea}]}" {
				t.Errorf("%s: the report is %s", name, got)
			}
		}
	}
	short := &Report{Version: "1.2.3", Reason: "1.2"}
	short.withoutEcho(secretsOf(tokenCredential{token: []string{"1.2"}}, NodeConfig{}, nil))
	if short.Version != "1.2.3" {
		t.Errorf("a short secret made the version %s", short.Version)
	}
}

// TestNoSecretIsPassedOn: what a node repeats of the gateway's secrets is in
// nothing that callers get, whoever spelled it, and the rest is as it was.
func TestNoSecretIsPassedOn(t *testing.T) {
	t.Setenv("TENANT", "from-the-environment")
	f := run(t, `key main hs256 a-secret-of-more-than-thirty-two-bytes
	node shop http://127.0.0.1:1 {
		credentials bearer Kettle/Secret-<1>
		header_up X-Extra HEADERSECRET-abcdef-123456
		header_up X-Api-Key fourteen-bytes
		header_up X-Tenant {env.TENANT}
		header_up Cookie "a=b; sid=0123-session"
		header_up Host shop-17.example.com
		header_up X-Region north-of-the-river
		header_up X-Short 12ab
		header_up X-Callback https://gateway.shop.example/callback12
		header_up X-Auth-Url https://signin.shop.example/auth/v1
	}
	node basic http://127.0.0.1:1 {
		credentials basic user Pass-Word-1
	}
	node plain http://127.0.0.1:1 {
		credentials none
	}
	node signed http://127.0.0.1:1`)
	shop := f.node("shop")
	for text, expected := range map[string]string{
		`{"a":"x Kettle/Secret-<1> y","n":12345678}`:                                    `{"a":"x REDACTED y","n":12345678}`,
		`{"a":"Kettle\/Secret-<1>"}`:                                                    `{"a":"REDACTED"}`, // PHP
		`{"a":"Kettle/Secret-\u003c1\u003e"}`:                                           `{"a":"REDACTED"}`, // Go
		`[{"HEADERSECRET-abcdef-123456":["\"HEADERSECRET-abcdef-123456\"","b"]}]`:       `[{"REDACTED":["\"REDACTED\"","b"]}]`,
		`{"a":"fourteen-bytes from-the-environment 0123-session"}`:                      `{"a":"REDACTED REDACTED REDACTED"}`,
		`{"a":"http://shop-17.example.com/ north-of-the-river 12ab"}`:                   "",
		`{"a":"HEADERSECRET-abcdef- HEADERSECRET-abcdef-123... HEADERSECRET"}`:          `{"a":"REDACTED REDACTED... HEADERSECRET"}`, // cut off
		`{"a":"https://gateway.shop.example/callback12 https://signin.shop.example/a"}`: "",                                          // addresses
		`{"a":"https://signin.shop.example/auth/v1"}`:                                   `{"a":"REDACTED"}`,
		`{"a":"Kettle"}`:                    "",
		`Kettle/Secret-<1> "`:               "",
		`{"a":"Kettle/Secret-<1>`:           "",
		`{"a":"","b":"Kettle/Secret-<1>"} `: `{"a":"","b":"REDACTED"} `,
	} {
		if expected == "" {
			expected = text
		}
		if got := string(shop.withoutEchoes([]byte(text))); got != expected {
			t.Errorf("%s becomes %s, expected %s", text, got, expected)
		}
	}
	basic := f.node("basic")
	header := http.Header{}
	if err := basic.credential.apply(header, TokenBoth, basic); err != nil {
		t.Fatal(err)
	}
	sent := strings.TrimPrefix(header.Get("Authorization"), "Basic ")
	if got := string(basic.withoutEchoes([]byte(`["` + sent + `","Pass-Word-1"]`))); got != `["REDACTED","REDACTED"]` {
		t.Errorf("basic: %s", got)
	}
	signed := f.node("signed")
	if err := signed.credential.apply(header, TokenBoth, signed); err != nil {
		t.Fatal(err)
	}
	jwt := header.Get("X-Node-Token")
	if got := string(signed.withoutEchoes([]byte(`["` + jwt + `","` + jwt[:len(jwt)-3] + `"]`))); got != `["REDACTED","REDACTED"]` {
		t.Errorf("jwt: %s", got)
	}
	cut := &Report{Version: jwt[:120]}
	if cut.withoutEcho(nil); cut.Version != redacted {
		t.Errorf("a token that was cut off is shown: %s", cut.Version)
	}
	if f.node("plain").echoes != nil {
		t.Error("there is something to look for where nothing was sent")
	}
	answer := []byte(`{"results":[` + strings.Repeat(`{"id":"1","title":"nothing of it"},`, 200) + `{}]}`)
	for _, node := range []*Node{shop, signed} {
		if n := testing.AllocsPerRun(10, func() { _ = node.withoutEchoes(answer) }); n != 0 {
			t.Errorf("%s: an answer without an echo costs %v allocations", node.Slug, n)
		}
	}
}
