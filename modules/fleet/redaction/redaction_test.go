package redaction

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func TestCredentialsInAQuery(t *testing.T) {
	for query, expected := range map[string]string{
		"":                                 "",
		"a=1&b_c=2":                        "a=1&b_c=2",
		"api_key=k":                        "api_key=REDACTED",
		"api_key":                          "api_key=REDACTED",
		"a=1&api%5Fkey=k=k&access_token=t": "a=1&api%5Fkey=REDACTED&access_token=REDACTED",
		"api_key=k;access_token=t;&&x_=":   "api_key=REDACTED;access_token=REDACTED;&&x_=",
		"api_key[]=k&api_key[0][x]=k":      "api_key[]=REDACTED&api_key[0][x]=REDACTED",
		"my_api_key=1&token=2":             "my_api_key=1&token=2", // nobody reads these
		"API_KEY=k&api.key=k&api+key=k":    "API_KEY=REDACTED&api.key=REDACTED&api+key=REDACTED",
		"%20api_key=k&api_key%00x=k":       "%20api_key=REDACTED&api_key%00x=REDACTED",
		"api[key=k&access%5Btoken=t":       "api[key=REDACTED&access%5Btoken=REDACTED", // PHP takes an open [ for an underscore
		"refresh[token[=1&api[key]=2":      "refresh[token[=1&api[key]=2",              // and these for other names
		"refresh_token=t":                  "refresh_token=REDACTED",
		"api_key%zz=1":                     "api_key%zz=1",
	} {
		if got := Query(query); got != expected {
			t.Errorf("%q becomes %q, expected %q", query, got, expected)
		}
		if CredentialInQuery(query) != (query != expected) {
			t.Errorf("%q: a credential in it: %v", query, CredentialInQuery(query))
		}
	}
}

func TestCredentialsInAnAddress(t *testing.T) {
	for address, expected := range map[string]string{
		"/x?a=1": "/x?a=1", "/x": "/x", "/x@y?a=b@c": "/x@y?a=b@c", "mail a@b": "mail a@b",
		"/x??api_key=k": "/x??api_key=REDACTED", "/x#api_key=k": "/x#api_key=REDACTED", "/x?a=1?access_token=t&b": "/x?a=1?access_token=REDACTED&b",
		"http://u:secret@host/x?a": "http://REDACTED@host/x?a", "see http://a/ and https://u@b": "see http://a/ and https://REDACTED@b",
	} {
		if got := Address(address); got != expected {
			t.Errorf("%s becomes %s, expected %s", address, got, expected)
		}
	}
}

// FuzzQuery holds that nothing that Go's parser takes for a credential is left.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{"api.key=k", "api_key=k", "a=1&access_token=t", "api%5fkey=k", "api_key=k;x=1", "%zz&api_key=1", "api_key[=1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		values, _ := url.ParseQuery(query) // as far as it comes
		secret := values.Has("api_key") || values.Has("access_token")
		if secret && !CredentialInQuery(query) {
			t.Errorf("no credential found in %q", query)
		}
		shown, _ := url.ParseQuery(Query(query))
		for _, name := range []string{"api_key", "access_token"} {
			for _, value := range shown[name] {
				if value != Hidden {
					t.Errorf("%q becomes %q", query, Query(query))
				}
			}
		}
	})
}

func TestWhichLoggersAHostHas(t *testing.T) {
	logs := &caddyhttp.ServerLogConfig{
		DefaultLoggerName: "rest", SkipHosts: []string{"quiet.example.com", "*.quiet.example.com"},
		LoggerNames: map[string]caddyhttp.StringArray{"a.example.com": {"a", "all"}, "*.example.com": {"wild"}},
	}
	for host, expected := range map[string][]string{
		"a.example.com": {"a", "all"}, "A.Example.com:8443": {"a", "all"}, "b.example.com": {"wild"}, "b.c.example.com": {"rest"},
		"example.org": {"rest"}, "[::1]:80": {"rest"}, "": {"rest"},
	} {
		if names := loggerNames(logs, host); !slices.Equal(names, expected) {
			t.Errorf("%s is logged to %v, expected %v", host, names, expected)
		}
		if !logged(logs, host) {
			t.Errorf("%s is not logged", host)
		}
	}
	logs.LoggerNames = map[string]caddyhttp.StringArray{"a.example.com": {"a"}}
	if logged(logs, "quiet.example.com") || logged(logs, "x.quiet.example.com:80") || !logged(logs, "loud.example.com") || logged(nil, "a.example.com") {
		t.Error("the hosts that are not logged are others")
	}
	logs.SkipUnmappedHosts = true
	if logged(logs, "loud.example.com") || !logged(logs, "a.example.com") {
		t.Error("hosts without a logger are logged")
	}
}

// BenchmarkUnconcerned is what all other requests pay.
func BenchmarkUnconcerned(b *testing.B) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: b.Context()})
	defer cancel()
	guard := NewGuard(ctx)
	request := httptest.NewRequest(http.MethodPost, "/v1/search?limit=10", strings.NewReader("{}"))
	request.Header.Set("Authorization", "Bearer x")
	for b.Loop() {
		if guard.Concerns(request) {
			b.Fatal("it carries a credential")
		}
	}
}
