package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/golang-jwt/jwt/v5"

	"github.com/caddy-federation/caddy-federation/modules/fleet/token"
)

func TestClassify(t *testing.T) {
	left, leave := context.WithCancel(t.Context())
	leave()
	status := func(code int, retryAfter string) error {
		header := http.Header{}
		if retryAfter != "" {
			header.Set("Retry-After", retryAfter)
		}
		return fmt.Errorf("wrapped: %w", &StatusError{Status: code, Header: header})
	}
	for _, c := range []struct {
		ctx     context.Context
		err     error
		outcome Outcome
	}{
		{t.Context(), nil, OutcomeOK},
		{t.Context(), status(500, ""), OutcomeSoft},
		{t.Context(), status(501, ""), OutcomeSoft},
		{t.Context(), status(502, ""), OutcomeHard},
		{t.Context(), status(503, ""), OutcomeHard},
		{t.Context(), status(503, "3"), OutcomeThrottled},
		{t.Context(), status(504, ""), OutcomeHard},
		{t.Context(), status(429, ""), OutcomeThrottled},
		{t.Context(), status(401, ""), OutcomeNeutral},
		{t.Context(), status(302, ""), OutcomeBadPayload},
		{t.Context(), status(101, ""), OutcomeBadPayload},
		{t.Context(), BadPayload("x"), OutcomeBadPayload},
		{t.Context(), &RefusalError{Reason: "bulkhead"}, OutcomeNeutral},
		{t.Context(), errors.New("reset"), OutcomeHard},
		{t.Context(), context.DeadlineExceeded, OutcomeHard},
		{t.Context(), context.Canceled, OutcomeHard}, // not the caller: it has not left
		{left, context.Canceled, OutcomeNeutral},
		{left, errors.New("reset"), OutcomeNeutral},
		{left, status(500, ""), OutcomeSoft},
	} {
		if got := Classify(c.ctx, c.err); got != c.outcome {
			t.Errorf("%v: %s, expected %s", c.err, got, c.outcome)
		}
	}
}

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for value, expected := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-1": 0, "999999": MaxRetryAfter, "9223372036854775807": MaxRetryAfter, "99999999999999999999": MaxRetryAfter, "-99999999999999999999": 0, "soon": 0, "1.5": 0,
		"Thu, 01 Jan 2026 12:00:30 GMT": 30 * time.Second, "Thu, 01 Jan 2026 11:00:00 GMT": 0, "Fri, 02 Jan 2026 12:00:00 GMT": MaxRetryAfter,
	} {
		if got := parseRetryAfter(value, now); got != expected {
			t.Errorf("%q: %v, expected %v", value, got, expected)
		}
	}
}

func TestCheckJSON(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for body, good := range map[string]bool{
		`{}`: true, ` [1]`: true, deep(MaxJSONDepth): true, deep(MaxJSONDepth + 1): false, `{"a":"[[[[{{{{\"]]"}`: true, `{"a":"\\"}`: true,
		"": false, "  ": false, "<html>": false, `"text"`: false, "7": false, `{"a":"`: false, `{"a":"\"`: false, `[`: false, `{"a":[}`: false,
		strings.Repeat(`{"a":`, 10_000): false,
	} {
		if err := CheckJSON([]byte(body)); (err == nil) != good {
			t.Errorf("%.40q: error is %v", body, err)
		}
	}
}

func TestTraceFromRequest(t *testing.T) {
	const id = "0af7651916cd43dd8448eb211c80319c"
	for _, c := range []struct{ name, value, id, flags string }{
		{"Traceparent", "00-" + id + "-b7ad6b7169203331-01", id, "01"},
		{"Traceparent", "cc-" + id + "-b7ad6b7169203331-01-more", id, "01"},
		{"Traceparent", "00-" + id + "-b7ad6b7169203331-01-more", "", ""},
		{"Traceparent", "ff-" + id + "-b7ad6b7169203331-01", "", ""},
		{"Traceparent", "00-" + strings.Repeat("0", 32) + "-b7ad6b7169203331-01", "", ""},
		{"Traceparent", "00-" + id + "-0000000000000000-01", "", ""},
		{"Traceparent", "00-" + strings.ToUpper(id) + "-b7ad6b7169203331-01", "", ""},
		{"Traceparent", "00-" + id + "-b7ad6b7169203331-0", "", ""},
		{"X-Trace-Id", id, id, "00"},
		{"X-Trace-Id", strings.ToUpper(id), id, "00"},
		{"X-Request-Id", "0af76519-16cd-43dd-8448-eb211c80319c", id, "00"},
		{"X-Trace-Id", "short\r\n", "", ""},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		r.Header.Set(c.name, c.value)
		got := TraceFromRequest(r)
		if c.id == "" {
			if got.ID == id || !isTraceID(got.ID) {
				t.Errorf("%s: trace is %+v", c.value, got)
			}
		} else if got.ID != c.id || got.Flags != c.flags {
			t.Errorf("%s: trace is %+v", c.value, got)
		}
	}
}

func FuzzTraceparent(f *testing.F) {
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	f.Fuzz(func(t *testing.T, value string) {
		if id, flags, ok := parseTraceparent(value); ok && (!isTraceID(id) || len(flags) != 2) {
			t.Errorf("%q: %q %q", value, id, flags)
		}
	})
}

func FuzzCheckJSON(f *testing.F) {
	f.Add([]byte(`{"a":["\"",{}]}`))
	f.Fuzz(func(t *testing.T, body []byte) { _ = CheckJSON(body) })
}

// The recorded nodes accept what we mint: HS256, the claims the old masters
// sent, an iat in the past and a life of minutes.
func TestMintedTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key, err := KeyConfig{ID: "main", Algorithm: "hs256", Secret: "orchard-gateway-fixture-secret-2026-0001"}.load(caddy.NewReplacer())
		if err != nil || key.Short() {
			t.Fatal(err, key)
		}
		keys, err := token.NewKeySet(key)
		if err != nil {
			t.Fatal(err)
		}
		credential, err := newCredential(nil, "laravel", keys, "orchard-shop", "http://gateway.orchard.test", func() string { return "" }, caddy.NewReplacer())
		if err != nil {
			t.Fatal(err)
		}
		node := &Node{ID: 1, Slug: "orchard-shop", Name: "Orchard Shop", Type: "child", Capabilities: []string{"search", "actions"}}
		mint := func() string {
			header := make(http.Header)
			if err := credential.apply(header, TokenBoth, node); err != nil {
				t.Fatal(err)
			}
			if header.Get("Authorization") != "Bearer "+header.Get("X-Node-Token") {
				t.Errorf("headers are %v", header)
			}
			return header.Get("X-Node-Token")
		}
		first := mint()
		claims := jwt.MapClaims{}
		parsed, err := jwt.ParseWithClaims(first, claims, func(*jwt.Token) (any, error) {
			return []byte("orchard-gateway-fixture-secret-2026-0001"), nil
		}, jwt.WithValidMethods([]string{"HS256"}), jwt.WithIssuedAt(), jwt.WithExpirationRequired())
		if err != nil || !parsed.Valid {
			t.Fatal(err)
		}
		now := float64(time.Now().Unix())
		if claims["sub"] != 1.0 || claims["iat"] != now-45 || claims["exp"] != now+300 || claims["node_slug"] != "orchard-shop" ||
			fmt.Sprint(claims["capabilities"]) != "[search actions]" || claims["type"] != "child" {
			t.Errorf("claims are %v", claims)
		}
		time.Sleep(200 * time.Second)
		if mint() != first {
			t.Error("a token with 100 s left was thrown away")
		}
		time.Sleep(20 * time.Second)
		if mint() == first {
			t.Error("a token with 80 s left was used")
		}
	})
}

func TestCredentials(t *testing.T) {
	for _, c := range []struct {
		config CredentialsConfig
		where  TokenHeader
		header string
	}{
		{CredentialsConfig{Type: "bearer", Value: "t"}, TokenAuthorization, "map[Authorization:[Bearer t]]"},
		{CredentialsConfig{Type: "shared_secret", Value: "t"}, TokenBoth, "map[Authorization:[Bearer t] X-Node-Token:[t]]"},
		{CredentialsConfig{Type: "api_key", Value: "t"}, TokenXNodeToken, "map[X-Node-Token:[t]]"},
		{CredentialsConfig{Type: "bearer", Value: "t"}, TokenNone, "map[]"},
		{CredentialsConfig{Type: "basic", User: "u", Value: "p"}, TokenBoth, "map[Authorization:[Basic dTpw]]"},
		{CredentialsConfig{Type: "header", Header: "x-key", Value: "k"}, TokenAuthorization, "map[X-Key:[k]]"},
		{CredentialsConfig{Type: "none"}, TokenBoth, "map[]"},
	} {
		credential, err := newCredential(&c.config, "laravel", nil, "", "", nil, caddy.NewReplacer())
		if err != nil {
			t.Fatal(err)
		}
		header := make(http.Header)
		if err := credential.apply(header, c.where, &Node{}); err != nil || fmt.Sprint(header) != c.header {
			t.Errorf("%+v: %v, %v", c.config, header, err)
		}
	}
	for _, config := range []CredentialsConfig{
		{Type: "bearer", Value: "a\nb"}, {Type: "basic", User: "a:b", Value: "c"}, {Type: "header", Header: "a b", Value: "c"}, {Type: "magic", Value: "x"},
	} {
		if _, err := newCredential(&config, "laravel", nil, "", "", nil, caddy.NewReplacer()); err == nil {
			t.Errorf("%+v was taken", config)
		}
	}
}

func TestLoad(t *testing.T) {
	var l loadMeter
	first, second, third := l.begin(2), l.begin(2), l.begin(2)
	if !first || !second || third {
		t.Fatal("the bulkhead of 2 does not hold 2")
	}
	l.end(OutcomeOK, 100*time.Millisecond)
	l.end(OutcomeHard, 5*time.Second)
	if got := l.read(); got.InFlight != 0 || got.Latency != 100 || got.Calls[OutcomeOK] != 1 || got.Calls[OutcomeHard] != 1 {
		t.Errorf("load is %+v", got)
	}
	l.begin(2)
	l.end(OutcomeOK, 200*time.Millisecond)
	if got := l.read().Latency; got < 119.9 || got > 120.1 {
		t.Errorf("latency is %v", got)
	}
}

func TestAddress(t *testing.T) {
	for _, c := range [][3]string{
		{"http://x", "/v1/search", "http://x/v1/search"},
		{"http://x/app/", "/v1/search?q=a%20b", "http://x/app/v1/search?q=a%20b"},
		{"http://x/a%2Fb", "/c", "http://x/a%2Fb/c"},
		{"http://x/app", "/c%2Fd", "http://x/app/c%2Fd"},
	} {
		u, err := parseNodeURL(c[0])
		if err != nil {
			t.Fatal(err)
		}
		got, err := (&Node{URL: u}).address(c[1])
		if err != nil || got.String() != c[2] {
			t.Errorf("%s + %s: %v, %v", c[0], c[1], got, err)
		}
	}
}
