package balancer

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

func TestRoundRobinIsEvenFromTheFirstRequest(t *testing.T) {
	var addresses []string
	var asked [3]*atomic.Int64
	for i := range asked {
		var address string
		address, asked[i] = counted(t, 200)
		addresses = append(addresses, address)
	}
	p := serve(t, strings.Replace(static("round_robin", addresses...), `"round_robin"`, `"round_robin","slow_start":200000000`, 1))
	for round := int64(1); round <= 100; round++ {
		for range asked {
			p.get(http.MethodGet)
		}
		if a, b, c := asked[0].Load(), asked[1].Load(), asked[2].Load(); a != round || b != round || c != round {
			t.Fatalf("after %d rounds the upstreams were asked %d, %d and %d times", round, a, b, c)
		}
	}
}
