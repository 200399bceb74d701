package integration

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// TestAPingTellsTheStatusOfTheHealthAnswer: an old node may have no manifest and
// no collections to tell of, which is no news.
func TestAPingTellsTheStatusOfTheHealthAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		health, rest, exit int
		want               fleet.Ping
	}{
		"healthy, without a manifest":     {200, 404, 0, fleet.Ping{Outcome: fleet.OutcomeOK, HTTPStatus: 200, Health: fleet.HealthHealthy}},
		"not ready, without a manifest":   {503, 404, 6, fleet.Ping{Outcome: fleet.OutcomeOK, HTTPStatus: 503, Health: fleet.HealthUnhealthy}},
		"not ready, with a manifest":      {503, 200, 6, fleet.Ping{Outcome: fleet.OutcomeOK, HTTPStatus: 503, Health: fleet.HealthUnhealthy}},
		"healthy, with a broken manifest": {200, 502, 6, fleet.Ping{Outcome: fleet.OutcomeHard, HTTPStatus: 502, Health: fleet.HealthUnhealthy}},
	} {
		t.Run(name, func(t *testing.T) {
			old := node(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if !strings.HasSuffix(r.URL.Path, "/health") {
					w.WriteHeader(c.rest)
					_, _ = w.Write([]byte(`{"message":""}`))
					return
				}
				w.WriteHeader(c.health)
				if c.health == 200 {
					_, _ = w.Write([]byte(`{"status":"healthy","version":"1.0.0"}`))
				} else {
					_, _ = w.Write([]byte(`{"status":"unhealthy","version":"1.0.0"}`))
				}
			})
			o := operate(t, "", "node old "+old+" {\n dialect laravel\n}")
			var answer struct{ Pings []fleet.Ping }
			if r := o.expect(c.exit, "", "nodes", "ping", "old", "-o", "json"); json.Unmarshal([]byte(r.out), &answer) != nil || len(answer.Pings) != 1 {
				t.Fatal(r.out, r.errout)
			}
			if p := answer.Pings[0]; p.Outcome != c.want.Outcome || p.HTTPStatus != c.want.HTTPStatus || p.Health != c.want.Health {
				t.Errorf("%+v, expected %+v", p, c.want)
			}
		})
	}
}
