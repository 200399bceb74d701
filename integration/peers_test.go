package integration

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/store/redistest"
)

// balancing is a gateway that sends what comes below /first to the node first
// alone, and balances the rest by requests in flight, with and without what the
// other gateways have.
func balancing(port int, redis, first, second string) string {
	return fmt.Sprintf(`{
	admin off
	auto_https off
	grace_period 1s
	log {
		level ERROR
	}
	federation proxied {
		store redis %s {
			timeout 500ms
		}
		health off
		node first %s
		node second %s
	}
}
http://127.0.0.1:%d {
	handle /first {
		reverse_proxy {
			dynamic federation {
				nodes first
			}
			lb_policy federation
			transport federation
		}
	}
	handle /peers {
		reverse_proxy {
			dynamic federation
			lb_policy federation least_conn {
				peers on
			}
			transport federation
		}
	}
	handle {
		reverse_proxy {
			dynamic federation
			lb_policy federation least_conn
			transport federation
		}
	}
}
`, redis, first, second, port)
}

// TestLeastConnCountsPeers: the node that another gateway keeps busy gets nothing
// from a policy that counts it, and its share from one that does not.
func TestLeastConnCountsPeers(t *testing.T) {
	server := redistest.Start(t)
	release := make(chan struct{})
	var asked [2]atomic.Int64
	var urls [2]string
	for i := range urls {
		urls[i] = node(t, func(_ http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/first" {
				select {
				case <-release:
				case <-r.Context().Done():
				}
				return
			}
			asked[i].Add(1)
		})
	}
	ports := [2]int{loopback.FreePort(t), loopback.FreePort(t)}
	another(t, balancing(ports[1], server.URL(), urls[0], urls[1]))
	load(t, balancing(ports[0], server.URL(), urls[0], urls[1]))
	defer close(release)
	client := &http.Client{Timeout: time.Minute}
	get := func(gateway int, path string) int {
		response, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d%s", ports[gateway], path))
		if err != nil {
			return 0 // it is still starting
		}
		response.Body.Close()
		return response.StatusCode
	}
	within(t, time.Minute, "both gateways serve", func() bool { return get(0, "/") == 200 && get(1, "/") == 200 })
	const busy = 3
	for range busy {
		go get(1, "/first")
	}
	first := fleet.Running("proxied").Snapshot().Node("first")
	within(t, time.Minute, "the other gateway's requests are known", func() bool { return first.PeersInFlight() == busy })
	for path, shares := range map[string][2]int64{"/peers": {0, 0}, "/": {5, 35}} { // of 40, to the first node
		before := asked[0].Load()
		for range 40 {
			if status := get(0, path); status != 200 {
				t.Fatalf("%s: status %d", path, status)
			}
		}
		if got := asked[0].Load() - before; got < shares[0] || got > shares[1] {
			t.Errorf("%s: %d of 40 requests went to the busy node, expected %d to %d", path, got, shares[0], shares[1])
		}
	}
}
