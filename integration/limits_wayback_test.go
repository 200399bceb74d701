package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
	"github.com/caddy-federation/caddy-federation/store/redistest"
)

// TestTheWayBackFromALostRedis: what one gateway admitted by itself is debited
// when the server is back with its data, with no request of that gateway, so
// the budget over both holds.
func TestTheWayBackFromALostRedis(t *testing.T) {
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	var operators []operator
	var urls []string
	for range 2 {
		o := operator{t, fmt.Sprintf("127.0.0.1:%d", loopback.FreePort(t))}
		port := loopback.FreePort(t)
		text := limited(port, "federation back {\n store redis "+server.URL()+" {\n timeout 2s\n}\n}", "policy team {\n limit 100 1h\n key reds\n}", "respond hello")
		another(t, strings.Replace(text, "admin off", "admin "+o.address, 1))
		operators, urls = append(operators, o), append(urls, fmt.Sprintf("http://127.0.0.1:%d/", port))
	}
	within(t, time.Minute, "both gateways know each other", func() bool {
		for _, o := range operators {
			if r := o.caddy("", "health", "-o", "json"); !strings.Contains(strings.Join(strings.Fields(r.out), ""), `"observedValue":2,"observedUnit":"gateways"`) {
				return false
			}
		}
		return true
	})
	passed := func(url string, n int) (passed int) {
		t.Helper()
		seen, _, _ := statuses(t, url, n)
		for _, status := range seen {
			if status == http.StatusOK {
				passed++
			}
		}
		return passed
	}
	if n := passed(urls[0], 10); n != 10 {
		t.Fatalf("%d of 10 passed", n)
	}
	server.Kill()
	alone := passed(urls[0], 100)
	if alone < 40 || alone > 46 { // half of the 90 that are left
		t.Errorf("%d passed at the first gateway while the store was lost", alone)
	}
	server.Restart()
	within(t, 10*time.Second, "the store is back", func() bool { return !operators[0].shown().Lost })
	if n := passed(urls[1], 110); n+alone+10 != 100 {
		t.Errorf("%d passed in all of 100: 10, %d alone, %d at the other gateway afterwards", n+alone+10, alone, n)
	}
}
