package integration

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
	"github.com/caddy-federation/caddy-federation/store/redistest"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// pausing is a gateway that signs what it proxies below /ours, and passes on
// what callers send below /theirs, to a node each.
func pausing(port int, redis, node string) string {
	return fmt.Sprintf(`{
	admin off
	auto_https off
	grace_period 2s
	log {
		level ERROR
	}
	federation test {
		store redis %s {
			timeout 500ms
		}
		health off
		breaker off
		node_defaults {
			credentials bearer gateway
		}
		node ours %[2]s
		node theirs %[2]s
	}
}
http://127.0.0.1:%[3]d {
	handle /ours {
		reverse_proxy {
			dynamic federation {
				nodes ours
			}
			lb_policy federation
			transport federation {
				credentials on
			}
		}
	}
	handle /theirs {
		reverse_proxy {
			dynamic federation {
				nodes theirs
			}
			lb_policy federation
			transport federation
		}
	}
}
`, redis, node, port)
}

// TestAProxiedRetryAfterPausesEverywhere: a node that has enough of the
// gateways is left alone by all of them, and one that has enough of a caller
// by nobody else.
func TestAProxiedRetryAfterPausesEverywhere(t *testing.T) {
	server := redistest.Start(t)
	var asked [2]atomic.Int64 // by the gateways, by callers
	var full atomic.Bool
	url := node(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method != http.MethodPost: // a check, which a paused node still gets
		case r.Header.Get("Authorization") == "Bearer gateway":
			asked[0].Add(1)
		default:
			asked[1].Add(1)
		}
		if full.Load() {
			w.Header().Set("Retry-After", "120")
			w.WriteHeader(http.StatusTooManyRequests)
		}
	})
	ports := [2]int{loopback.FreePort(t), loopback.FreePort(t)}
	another(t, pausing(ports[1], server.URL(), url))
	load(t, pausing(ports[0], server.URL(), url))
	ask := func(gateway int, path string) int {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, fmt.Sprintf("http://127.0.0.1:%d%s", ports[gateway], path), strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer caller")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return 0 // it is still starting
		}
		defer response.Body.Close()
		_, _ = io.Copy(io.Discard, response.Body)
		return response.StatusCode
	}
	within(t, time.Minute, "both gateways serve", func() bool {
		return ask(0, "/ours") == 200 && ask(1, "/ours") == 200 && ask(0, "/theirs") == 200 && ask(1, "/theirs") == 200
	})
	full.Store(true)
	if theirs, ours := ask(0, "/theirs"), ask(0, "/ours"); theirs != 429 || ours != 429 {
		t.Fatalf("the answers of the node became %d and %d", theirs, ours)
	}
	if status := ask(0, "/ours"); status != 503 {
		t.Errorf("the gateway that was told to wait goes on: %d", status)
	}
	within(t, 30*time.Second, "the other gateway pauses too", func() bool { return ask(1, "/ours") == 503 })
	before := asked[0].Load()
	for gateway := range 2 {
		if ours, theirs := ask(gateway, "/ours"), ask(gateway, "/theirs"); ours != 503 || theirs != 429 {
			t.Errorf("gateway %d: %d to calls of the gateways, and %d to a caller", gateway, ours, theirs)
		}
	}
	if asked[0].Load() != before {
		t.Error("a paused node was asked")
	}
}

// TestABudgetThatIsUsedUpSaysNothingOfTheNode: a proxied request that it refuses
// was not sent, and leaves the node's accounts and breaker as they were.
func TestABudgetThatIsUsedUpSaysNothingOfTheNode(t *testing.T) {
	url := node(t, func(http.ResponseWriter, *http.Request) {})
	port := loopback.FreePort(t)
	load(t, proxying(port, "health off\nkey main hs256 a-secret-of-more-than-thirty-two-bytes\nnode bud "+url+" {\ndialect json {\npath /x\n}\nbudget 3 1h\nmax_requests 2\n}\nnode free "+url+" {\ndialect json {\npath /x\n}\n}",
		"{\ndynamic federation {\nnodes bud\n}\nlb_policy federation\ntransport federation {\ncredentials on\n}\n}",
		"{\ndynamic federation\nlb_policy federation\nlb_retries 2\ntransport federation {\ncredentials on\n}\n}"))
	n := fleet.Running("proxied").Snapshot().Node("bud")
	statuses := make(map[int]int)
	for range 15 {
		response, err := http.Get(address(port, "/a/x"))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		statuses[response.StatusCode]++
	}
	load := n.Gate().Load()
	if statuses[200] != 3 || statuses[503] != 12 || n.Gate().InFlight() != 0 || load.Calls[fleet.OutcomeHard] != 0 || n.Gate().Breaker().Opens != 0 || n.Refusal() != "" {
		t.Errorf("%v, %d in flight, calls %v, breaker %+v, refusal %q", statuses, n.Gate().InFlight(), load.Calls, n.Gate().Breaker(), n.Refusal())
	}
	for range 10 { // and another node answers where there is one
		response, err := http.Get(address(port, "/b/x"))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != 200 {
			t.Errorf("with another node: status %d", response.StatusCode)
		}
	}
	if n.Gate().InFlight() != 0 {
		t.Errorf("%d in flight", n.Gate().InFlight())
	}
}
