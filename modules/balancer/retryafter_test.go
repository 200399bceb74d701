package balancer

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// comeAgain asks the proxy and returns the status, and the seconds of the one
// Retry-After, 0 without.
func (p *proxy) comeAgain() (status, after int) {
	p.Helper()
	response, err := http.Get(p.url)
	if err != nil {
		p.Fatal(err)
	}
	response.Body.Close()
	all := response.Header.Values("Retry-After")
	if len(all) > 1 {
		p.Errorf("Retry-After is there more than once: %q", all)
	}
	if len(all) == 1 {
		if after, err = strconv.Atoi(all[0]); err != nil {
			p.Errorf("Retry-After is %q", all[0])
		}
	}
	return response.StatusCode, after
}

// pausing is an upstream that wants no calls for some seconds.
func pausing(t *testing.T, seconds int) string {
	return "http://" + upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
		w.WriteHeader(http.StatusTooManyRequests)
	})
}

const bearer = `"credentials":{"type":"bearer","value":"secret"}`

// TestRetryAfterIsOfTheNodeThatCanBeAskedFirst, in whole seconds and not too soon.
func TestRetryAfterIsOfTheNodeThatCanBeAskedFirst(t *testing.T) {
	for _, seconds := range [][2]int{{30, 300}, {300, 30}} {
		p := serve(t, fmt.Sprintf(together, "", `,"credentials":true`, `,"algorithm":"round_robin"`),
			node("a", pausing(t, seconds[0]), bearer), node("b", pausing(t, seconds[1]), bearer))
		begin := time.Now()
		for range seconds {
			if status, after := p.comeAgain(); status != http.StatusTooManyRequests || after != 30 && after != 300 {
				t.Fatalf("a node's own answer became %d, Retry-After %d", status, after)
			}
		}
		status, after := p.comeAgain()
		if least := 30 - int(time.Since(begin).Seconds()); status != http.StatusServiceUnavailable || after < least || after > 30 {
			t.Errorf("nodes that pause for %v s: %d, Retry-After %d, expected %d to 30", seconds, status, after, least)
		}
	}
}

// TestAnAnswerHasNoRetryAfterOfTheWait: while Caddy tries again, the pause of the
// only node ends, and it answers.
func TestAnAnswerHasNoRetryAfterOfTheWait(t *testing.T) {
	var asked atomic.Int64
	paused := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		}
	})
	handler := strings.Replace(fmt.Sprintf(together, "", `,"credentials":true`, ""), `"retries":1`, `"try_duration":60000000000,"try_interval":20000000`, 1)
	p := serve(t, handler, node("a", "http://"+paused, bearer))
	if status, after := p.comeAgain(); status != http.StatusTooManyRequests || after != 1 {
		t.Fatalf("the node's own answer became %d, Retry-After %d", status, after)
	}
	begin := time.Now()
	if status, after := p.comeAgain(); status != http.StatusOK || after != 0 || asked.Load() != 2 {
		t.Errorf("after %v the answer is %d with Retry-After %d, and the node was asked %d times", time.Since(begin), status, after, asked.Load())
	}
}

// TestARefusalThatKnowsWhenIsTold: that of a node which lost its room between the
// choice and the call.
func TestARefusalThatKnowsWhenIsTold(t *testing.T) {
	answer := httptest.NewRecorder()
	a := new(attempts)
	a.writes(answer)
	a.refused(fmt.Errorf("a call: %w", &fleet.RefusalError{Reason: fleet.ReasonBudget, RetryAfter: 1500 * time.Millisecond}))
	if after := answer.Header().Values("Retry-After"); !slices.Equal(after, []string{"2"}) {
		t.Errorf("Retry-After is %q, expected 2", after)
	}
	a.goOn()
	if after := answer.Header().Values("Retry-After"); len(after) != 0 {
		t.Errorf("after a request was sent, Retry-After is %q", after)
	}
}
