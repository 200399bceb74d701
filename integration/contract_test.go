package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// recordedExchange is what an old client sent and what the old master answered.
type recordedExchange struct {
	Name    string `json:"name"`
	Request struct {
		Method  string            `json:"method"`
		Path    string            `json:"path"`
		Headers map[string]string `json:"headers"`
		Body    json.RawMessage   `json:"body"`
	} `json:"request"`
	Response struct {
		Status  int               `json:"status"`
		Headers map[string]string `json:"headers"`
		Body    any               `json:"body"`
	} `json:"response"`
}

func recordings(t *testing.T, name string) []recordedExchange {
	t.Helper()
	text, err := os.ReadFile("../testdata/contract/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var fixture struct {
		Exchanges []recordedExchange `json:"exchanges"`
	}
	if err := json.Unmarshal(text, &fixture); err != nil || len(fixture.Exchanges) == 0 {
		t.Fatalf("%s: %v", name, err)
	}
	return fixture.Exchanges
}

// deviations are what we answer otherwise, and why.
var deviations = map[string]struct {
	status int
	why    string
}{
	"dec_register duplicate_name":                           {200, "the same name and URL is the same node that comes back"},
	"dec_status api_key_query":                              {401, "keys in a query end up in logs"},
	"dec_refresh_token needs_a_valid_access_token_too":      {200, "a refresh token is for when the access token is over"},
	"dec_refresh_token expired_access_token_blocks_refresh": {200, "the same"},
	"dec_auth_errors x_node_token_not_read_in_dec":          {200, "newer nodes send it, and one gateway serves them all"},
}

// TestRecordedExchanges sends what old clients sent. Every answer has the
// recorded status, members and literal texts.
func TestRecordedExchanges(t *testing.T) {
	url := node(t, answers(`{"status":"healthy","version":"2.7.0"}`))
	g := registryGateway(t, fmt.Sprintf("node orchard-shop %s {\nname \"Orchard Shop\"\nweight 2\n}\nnode mill %s\nnode paused %s {\nadmin_state maintenance\n}", url, url, url), openNodes)
	register := func(name string) (access, refresh, id string) {
		r := g.expects(200, g.call(http.MethodPost, "/v1/nodes", fmt.Sprintf(`{"name":%q,"url":%q}`, name, url), "X-Enrollment-Secret", enrollSecret))
		return r.text("tokens", "access_token"), r.text("tokens", "refresh_token"), r.text("node", "id")
	}
	access, _, id := register("Orchard Shop")
	mill, refresh, _ := register("Mill")
	paused, _, _ := register("Paused")
	key := g.expects(201, g.call("POST", "/v1/nodes/orchard-shop/api-key", "", "Authorization", "Bearer "+access)).text("api_key")
	minted := func(sub any, expires time.Duration) string {
		now := time.Now()
		signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
			"iss": "http://gateway.orchard.test", "sub": sub, "node_slug": "orchard-shop", "node_name": "Orchard Shop",
			"iat": now.Add(-2 * time.Minute).Unix(), "exp": now.Add(expires).Unix(), "capabilities": []string{"search"}, "type": "child",
		}).SignedString([]byte(fleetSecret))
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	fill := strings.NewReplacer("{{JWT}}", access, "{{JWT_MILL}}", mill, "{{JWT_PAUSED}}", paused, "{{APIKEY}}", key, "{{SECRET}}", fleetSecret,
		"{{REFRESH}}", refresh, "{{JWT_UNKNOWN}}", minted(4711, time.Minute), "{{JWT_EXPIRED}}", minted(json.Number(id), -5*time.Second),
		"http://seeds.test", url, "orchardkey00000000000000000000000000000000000000000000000000000a1", key).Replace

	for _, file := range []string{"dec_health", "dec_register", "dec_status", "dec_refresh_token", "dec_auth_errors"} {
		for _, e := range recordings(t, file) {
			t.Run(file+" "+e.Name, func(t *testing.T) {
				g := gateway{t, g.url}
				var headers []string
				for name, value := range e.Request.Headers {
					headers = append(headers, name, fill(value))
				}
				if strings.HasSuffix(e.Request.Path, "/register") {
					headers = append(headers, "X-Enrollment-Secret", enrollSecret)
				}
				r := g.call(e.Request.Method, fill(e.Request.Path), fill(string(e.Request.Body)), headers...)
				expected := e.Response.Status
				if other, ok := deviations[file+" "+e.Name]; ok {
					if g.expects(other.status, r); other.status != expected {
						return
					}
				}
				g.expects(expected, r)
				holds(t, "", e.Response.Body, r.body)
				if !strings.HasPrefix(r.header.Get("Content-Type"), "application/json") {
					t.Errorf("the answer is %s", r.header.Get("Content-Type"))
				}
				for _, secret := range []string{fleetSecret, enrollSecret} {
					if strings.Contains(r.raw, secret) {
						t.Errorf("a secret got out: %s", r.raw)
					}
				}
			})
		}
	}
}

// holds compares members, kinds and literal texts.
func holds(t *testing.T, path string, expected, got any) {
	t.Helper()
	switch expected := expected.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok {
			t.Errorf("%s is %v, expected an object", path, got)
			return
		}
		for name, value := range expected {
			member, there := object[name]
			if !there {
				t.Errorf("%s/%s is missing", path, name)
				continue
			}
			holds(t, path+"/"+name, value, member)
		}
	case []any:
		if list, ok := got.([]any); !ok || len(list) == 0 && len(expected) > 0 {
			t.Errorf("%s is %v, expected a list", path, got)
		}
	case string:
		text, ok := got.(string)
		literal := expected != "" && !strings.HasPrefix(expected, "<") && !strings.HasPrefix(expected, "{{") && !strings.ContainsAny(expected, "0123456789")
		if !ok || literal && text != expected {
			t.Errorf("%s is %v, expected %q", path, got, expected)
		}
	case float64:
		if _, ok := got.(float64); !ok {
			t.Errorf("%s is %v, expected a number", path, got)
		}
	case bool:
		if _, ok := got.(bool); !ok {
			t.Errorf("%s is %v, expected a boolean", path, got)
		}
	}
}
