package balancer

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
)

// once has a request sent once: no retry hides what was chosen.
const once = `{"dynamic_upstreams":{"source":"federation"},"transport":{"protocol":"federation","credentials":true},
	"load_balancing":{"selection_policy":{"policy":"federation","algorithm":%q}}}`

// limited is a node with a budget that no other test has spent, which would be
// remembered for the same subject.
func limited(slug, url, budget string) string {
	return node(slug, url, fmt.Sprintf(`"subject":%q,"credentials":{"type":"bearer","value":"secret"},"budget":{%s}`, url, budget))
}

// TestANodeWithoutBudgetIsNotChosen: no caller is refused while another node has
// room, and nothing goes to a node above what it lets us do.
func TestANodeWithoutBudgetIsNotChosen(t *testing.T) {
	for _, algorithm := range []string{"latency", "least_conn", "round_robin", "weighted", "random"} {
		t.Run(algorithm, func(t *testing.T) {
			var spent, free atomic.Int64
			count := func(n *atomic.Int64) string {
				return "http://" + upstream(t, func(http.ResponseWriter, *http.Request) { n.Add(1) })
			}
			p := serve(t, fmt.Sprintf(once, algorithm),
				limited("limited", count(&spent), `"limit":5,"window":"1h"`),
				node("free", count(&free), `"credentials":{"type":"bearer","value":"secret"}`))
			var group sync.WaitGroup
			for range 4 {
				group.Go(func() {
					for range 15 {
						if status := p.get(http.MethodPost); status != 200 {
							t.Errorf("status %d while a node is free", status)
						}
					}
				})
			}
			group.Wait()
			// latency may like the other node better before five are sent
			if got := spent.Load(); got > 5 || got < 5 && algorithm != "latency" || got+free.Load() != 60 {
				t.Errorf("%d requests reached the node that takes 5, %d the other", got, free.Load())
			}
		})
	}
}

// TestABudgetPerPath: a node that has no room for one path has some for others.
func TestABudgetPerPath(t *testing.T) {
	var spent atomic.Int64
	url := "http://" + upstream(t, func(http.ResponseWriter, *http.Request) { spent.Add(1) })
	p := serve(t, fmt.Sprintf(once, "latency"),
		limited("limited", url+"/app", `"limit":2,"window":"1h","per_path":true`))
	for i, expected := range []int{200, 200, 503, 503} {
		for _, path := range []string{"/one", "/two?q=" + strconv.Itoa(i)} {
			response, err := http.Post(p.url+path, "", nil)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			after, _ := strconv.Atoi(response.Header.Get("Retry-After"))
			if response.StatusCode != expected || (after >= 1700 && after <= 1800) != (expected == 503) {
				t.Errorf("request %d to %s: status %d, Retry-After %d", i+1, path, response.StatusCode, after)
			}
		}
	}
	if spent.Load() != 4 {
		t.Errorf("%d requests reached the node", spent.Load())
	}
}

// TestWhoDoesNotSignSpendsNothing: a caller's own request is in no budget of
// the gateway.
func TestWhoDoesNotSignSpendsNothing(t *testing.T) {
	url := "http://" + upstream(t, func(http.ResponseWriter, *http.Request) {})
	p := serve(t, fmt.Sprintf(together, "", "", ""), limited("limited", url, `"limit":2,"window":"1h"`))
	for i := range 5 {
		if status := p.get(http.MethodPost); status != 200 {
			t.Errorf("request %d: status %d", i+1, status)
		}
	}
}

// TestABudgetBesideCaddysPolicy: what is known to be used up is no upstream.
func TestABudgetBesideCaddysPolicy(t *testing.T) {
	var free atomic.Int64
	url := "http://" + upstream(t, func(http.ResponseWriter, *http.Request) {})
	other := "http://" + upstream(t, func(http.ResponseWriter, *http.Request) { free.Add(1) })
	p := serve(t, `{"transport":{"protocol":"federation","credentials":true},"dynamic_upstreams":{"source":"federation"},"load_balancing":{"selection_policy":{"policy":"first"}}}`,
		limited("a-limited", url, `"limit":2,"window":"1h"`),
		node("free", other, `"credentials":{"type":"bearer","value":"secret"}`))
	for i, expected := range []int{200, 200, 503, 200, 200} { // the third finds out
		if status := p.get(http.MethodPost); status != expected {
			t.Errorf("request %d: status %d, expected %d", i+1, status, expected)
		}
	}
	if free.Load() != 2 {
		t.Errorf("%d requests reached the other node", free.Load())
	}
}
