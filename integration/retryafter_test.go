package integration

import (
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// TestWhoNobodyCanAnswerIsToldWhenToComeAgain: a proxied request that a budget, a
// pause or open breakers refuse has a Retry-After, and one that another node
// answers has none.
func TestWhoNobodyCanAnswerIsToldWhenToComeAgain(t *testing.T) {
	pausing := node(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "120")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	url := node(t, func(http.ResponseWriter, *http.Request) {})
	speaks := "dialect json {\npath /x\n}\n"
	const signed = "\nlb_policy federation\ntransport federation {\ncredentials on\n}\n}"
	port := loopback.FreePort(t)
	load(t, proxying(port, "health off\nkey main hs256 a-secret-of-more-than-thirty-two-bytes\nnode bud "+url+" {\n"+speaks+"budget 3 1h\n}\nnode paused "+pausing+" {\n"+speaks+"}\nnode free "+url+" {\n"+speaks+"}",
		"{\ndynamic federation {\nnodes bud\n}"+signed, "{\ndynamic federation {\nnodes paused\n}"+signed))
	ask := func(path string) (status, after int) {
		t.Helper()
		response, err := http.Get(address(port, path))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		after, _ = strconv.Atoi(response.Header.Get("Retry-After"))
		if all := response.Header.Values("Retry-After"); len(all) > 1 {
			t.Errorf("Retry-After is there more than once: %q", all)
		}
		return response.StatusCode, after
	}
	for range 3 {
		if status, after := ask("/a/x"); status != 200 || after != 0 {
			t.Errorf("within its budget the node's answer is %d, and the caller to come again after %d", status, after)
		}
	}
	if status, after := ask("/a/x"); status != 503 || after < 1100 || after > 1200 { // 3 in an hour: one in 1,200 s
		t.Errorf("without budget: %d, Retry-After %d", status, after)
	}
	if status, after := ask("/b/x"); status != 429 || after != 120 {
		t.Fatalf("the node's own refusal became %d, Retry-After %d", status, after)
	}
	if status, after := ask("/b/x"); status != 503 || after < 100 || after > 120 {
		t.Errorf("while the node wants no calls: %d, Retry-After %d", status, after)
	}
	// a node that refuses connections, and others that answer
	load(t, proxying(port, "health off\nkey main hs256 a-secret-of-more-than-thirty-two-bytes\nnode bud "+url+" {\n"+speaks+"budget 3 1h\n}\nnode free "+url+" {\n"+speaks+"}\nnode refuses "+fmt.Sprintf("http://127.0.0.1:%d", loopback.FreePort(t))+" {\n"+speaks+"}",
		"{\ndynamic federation {\nnodes bud free\n}\nlb_retries 3"+signed, "{\ndynamic federation {\nnodes refuses\n}"+signed))
	for range 10 {
		if status, after := ask("/a/x"); status != 200 || after != 0 {
			t.Errorf("where another node answers: %d, Retry-After %d", status, after)
		}
	}
	if status, after := ask("/b/x"); status != 502 || after != 0 {
		t.Errorf("the node that refuses connections: %d, Retry-After %d", status, after)
	}
	within(t, 10*time.Second, "its breaker is open", func() bool {
		status, after := ask("/b/x")
		return status == 503 && after >= 1 && after <= 300
	})
	for _, n := range fleet.Running("proxied").Snapshot().Nodes {
		if err := n.Gate().Force("open", "a test", "somebody", time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if status, after := ask("/a/x"); status != 503 || after != 0 {
		t.Errorf("while an operator holds the breakers open: %d, Retry-After %d: nobody knows for how long", status, after)
	}
}
