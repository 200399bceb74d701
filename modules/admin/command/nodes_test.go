package command

import (
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
)

func TestWhatIsKnownOfANodeInWords(t *testing.T) {
	at := time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC)
	rate := 0.975
	for want, got := range map[string]string{
		"": breakerInWords(fleet.BreakerStatus{State: breaker.Closed, Share: 1}) + lastHour(fleet.Recent{}) + lastError(nil),
		"open: 5 hard failures in a row, until 2026-11-25T08:00:00Z":                             breakerInWords(fleet.BreakerStatus{State: breaker.Open, Reason: "5 hard failures in a row", Until: at}),
		"open, but called because too few nodes are available (panic): 5 hard failures in a row": breakerInWords(fleet.BreakerStatus{State: breaker.Open, Share: 1, Panic: true, Reason: "5 hard failures in a row"}),
		"called in a panic: open, 5 hard failures in a row":                                      whyOf(fleet.NodeView{Breaker: fleet.BreakerStatus{State: breaker.Open, Share: 1, Panic: true, Reason: "5 hard failures in a row"}}),
		"not called: open, 5 hard failures in a row":                                             whyOf(fleet.NodeView{AdminState: "enabled", Refusal: "open", Breaker: fleet.BreakerStatus{State: breaker.Open, Reason: "5 hard failures in a row"}}),
		"closed, lets 10% of the calls through":                                                  breakerInWords(fleet.BreakerStatus{State: breaker.Closed, Share: 0.1}),
		"97.5% of 40 calls ok, p50 1.0 ms, p95 2.5 ms, p99 3.0 ms": lastHour(fleet.Recent{
			SuccessRate: &rate, Calls: 40, Latency: &fleet.Quantiles{P50: 1, P95: 2.5, P99: 3},
		}),
		"the node refused the connection (hard, a health check) at 2026-11-25T08:00:00Z": lastError(&fleet.CallError{At: at, Outcome: fleet.OutcomeHard, Reason: "the node refused the connection", Check: true}),
		"the node refused the connection (hard, a request) at 2026-11-25T08:00:00Z":      lastError(&fleet.CallError{At: at, Outcome: fleet.OutcomeHard, Reason: "the node refused the connection"}),
	} {
		if got != want {
			t.Errorf("%q, expected %q", got, want)
		}
	}
}
