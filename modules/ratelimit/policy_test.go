package ratelimit

import (
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

func TestKeys(t *testing.T) {
	for _, c := range []struct {
		lines  string
		change func(*http.Request)
		target string
		key    string
	}{
		{"", nil, "/a", "p:ip=203.0.113.9"},
		{"", func(r *http.Request) { caddyhttp.SetVar(r.Context(), caddyhttp.ClientIPVarKey, "2001:db8:1:2:3::4") }, "/a", "p:ip=2001:db8:1:2::/64"},
		{"", func(r *http.Request) { caddyhttp.SetVar(r.Context(), caddyhttp.ClientIPVarKey, "::ffff:203.0.113.7") }, "/a", "p:ip=203.0.113.7"},
		{"", func(r *http.Request) { caddyhttp.SetVar(r.Context(), caddyhttp.ClientIPVarKey, "@") }, "/a", "p:ip=@"},
		{"", func(r *http.Request) { fleet.SetIdentity(r, &fleet.Identity{ID: "shop"}) }, "/a", "p:id=shop"},
		{"", func(r *http.Request) { replacer(r).Set("http.auth.user.id", "ann") }, "/a", "p:id=ann"},
		{"key {http.request.header.X-Team}", func(r *http.Request) { r.Header.Set("X-Team", "red") }, "/a", "p:red"},
		{"key {http.request.header.X-Team}", nil, "/a", "p:ip=203.0.113.9"},
		{"key everybody", nil, "/a", "p:everybody"},
		{"per_path", nil, "/a//b/../c/", "p:ip=203.0.113.9 /a/c"},
		{"per_path", nil, "/", "p:ip=203.0.113.9 /"},
		{"per_path\nkey {http.request.header.X-Team}", func(r *http.Request) { r.Header.Set("X-Team", "a b") }, "/c", "p:a+b /c"},
		{"per_path\nkey {http.request.header.X-Team}", func(r *http.Request) { r.Header.Set("X-Team", "a+b") }, "/c", "p:a%2Bb /c"},
	} {
		g := serve(t, "policy p {\n limit 1 1m\n"+c.lines+"\n}", "")
		r := request(t, http.MethodGet, c.target)
		if c.change != nil {
			c.change(r)
		}
		if got := string(g.handler.Policies[0].appendKey(nil, r, replacer(r))); got != c.key {
			t.Errorf("%s %s: key is %q, expected %q", c.lines, c.target, got, c.key)
		}
	}
}

func TestCosts(t *testing.T) {
	g := serve(t, "policy p {\n limit 10 1h\n key {http.request.header.K}\n cost {http.request.header.Cost}\n}", alone(t))
	for cost, remaining := range map[string]string{"": "9", "3": "7", " 10 ": "0", "0": "9", "-4": "9", "many": "9"} {
		r := request(t, http.MethodGet, "/")
		r.Header.Set("K", "key of "+cost)
		r.Header.Set("Cost", cost)
		if w := g.do(r); w.Code != http.StatusOK || w.Header().Get("X-RateLimit-Remaining") != remaining {
			t.Errorf("cost %q: status %d, %v", cost, w.Code, w.Header())
		}
	}
	for _, cost := range []string{"11", "9223372036854775808", "99999999999999999999"} {
		r := request(t, http.MethodGet, "/")
		r.Header.Set("Cost", cost)
		if w := g.do(r); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "" || !strings.Contains(w.Body.String(), "never fits") {
			t.Errorf("cost %s, which never fits: %d %v %s", cost, w.Code, w.Header(), w.Body)
		}
	}
}

func TestBadConfigs(t *testing.T) {
	for _, c := range []struct{ config, says string }{
		{`{}`, "1 to 16 policies"},
		{`{"policies":[{"name":"a b","limit":1,"window":"1m"}]}`, "a name is"},
		{`{"policies":[{"name":"a","limit":1}]}`, "window"},
		{`{"policies":[{"name":"a","limit":1,"window":"1m","cost":"2"}]}`, "above the burst"},
		{`{"policies":[{"name":"a","limit":1,"window":"1m"},{"name":"a","limit":1,"window":"1m"}]}`, "twice"},
		{`{"policies":[{"name":"a","limit":1,"window":"1m"}],"headers":"some"}`, "headers"},
		{`{"policies":[{"name":"a","limit":1,"window":"1m"}],"on_store_failure":"panic"}`, "on_store_failure"},
		{`{"policies":[{"name":"a","limit":1,"window":"1m"}],"on_refusal":"body"}`, "on_refusal"},
	} {
		base, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := caddy.NewContext(base)
		_, err = ctx.LoadModuleByID("http.handlers.federation_rate_limit", []byte(c.config))
		cancel()
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error is %v, expected %q", c.config, err, c.says)
		}
	}
}

// Two callers, or two paths of one, never share a key.
func FuzzKeys(f *testing.F) {
	f.Add("shop", "/v1/search", "shop", "/v1")
	f.Add("a b", "/c", "a+b", "/c")
	f.Add("a", "/b /c", "a /b", "/c")
	f.Add("\xff", "/\xfe", "\xfe", "/")
	f.Add(strings.Repeat("x", 300), "/", strings.Repeat("x", 301), "/")
	p := &Policy{Name: "p", Key: "{http.request.header.K}", PerPath: true}
	f.Fuzz(func(t *testing.T, value, path, otherValue, otherPath string) {
		if value == "" || otherValue == "" || path == "" || otherPath == "" {
			return // they stand for something else
		}
		key := func(value, path string) string {
			r := request(t, http.MethodGet, "/")
			r.Header["K"] = []string{value}
			r.URL.Path = path
			return string(p.appendKey(nil, r, replacer(r)))
		}
		same := value == otherValue && cleanPath(path) == cleanPath(otherPath)
		a, b := key(value, path), key(otherValue, otherPath)
		if (a == b) != same {
			t.Errorf("%q %q and %q %q: %q and %q", value, path, otherValue, otherPath, a, b)
		}
		if len(a) > 200 || !utf8.ValidString(a) {
			t.Errorf("a key of %d bytes: %q", len(a), a)
		}
	})
}

// TestACredentialIsNoKey: what callers prove themselves with is kept and shown as
// its hash.
func TestACredentialIsNoKey(t *testing.T) {
	for key, secret := range map[string]bool{
		"{http.request.header.X-API-Key}": true, "{http.request.header.authorization}": true, "{http.request.header.X-Node-Token}": true,
		"{http.request.header.Cookie}": true, "{http.request.cookie.laravel_session}": true, "{http.request.uri.query.api_key}": true,
		"a {http.request.header.X-Enrollment-Secret}": true,
		"{http.request.header.X-Team}":                false, "{http.request.host}": false, "everybody-key": false, "{http.request.uri.query.q}": false,
	} {
		p := &Policy{Name: "p", Limit: 1, Window: caddy.Duration(time.Minute), Key: key}
		if err := p.provision(); err != nil || p.secret != secret {
			t.Errorf("%s: secret %v, %v", key, p.secret, err)
		}
	}
	g := serve(t, "policy p {\n limit 1 1m\nkey {http.request.header.X-API-Key}\n}", "")
	r := request(t, http.MethodGet, "/")
	r.Header.Set("X-API-Key", "k")
	if got := string(g.handler.Policies[0].appendKey(nil, r, replacer(r))); got != "p:sha256=8254c329a92850f6d539dd376f4816ee" {
		t.Errorf("the key is %s", got)
	}
	r.Header.Del("X-API-Key")
	if got := string(g.handler.Policies[0].appendKey(nil, r, replacer(r))); got != "p:ip=203.0.113.9" {
		t.Errorf("without a credential the key is %s", got)
	}
}
