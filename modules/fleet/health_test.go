package fleet

import (
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet/monitor"
)

// TestAVerdictHoldsUntilThereIsAnother: a node that others found down stays down
// when they fall silent, and whoever takes it over needs as many checks as they
// would have.
func TestAVerdictHoldsUntilThereIsAnother(t *testing.T) {
	rules, _ := (*HealthConfig)(nil).rules()
	now := time.Now()
	h := new(health)
	settle := func(peers peersOfNode, judged bool) HealthStatus {
		_, to := h.settle(peers, false, judged, now, false)
		return to
	}
	expect := func(when string, got HealthStatus, state Health, reason string) {
		t.Helper()
		if got.State != state || got.Reason != reason {
			t.Errorf("%s: %s (%s), expected %s (%s)", when, got.State, got.Reason, state, reason)
		}
	}
	nobody := peersOfNode{}
	expect("in the beginning", settle(nobody, true), HealthUnknown, "")
	down := peersOfNode{health: map[Health]int{HealthUnhealthy: 2}}
	expect("others find it down", settle(down, true), HealthUnhealthy, "other gateways say so")
	expect("they fall silent", settle(nobody, true), HealthUnhealthy, "other gateways say so")
	h.sample(rules, now, monitor.Bad, "refused", false)
	expect("taken over, down", settle(nobody, true), HealthUnhealthy, "refused")
	h.sample(rules, now, monitor.Good, "", false)
	expect("one good check", settle(nobody, true), HealthUnhealthy, "")
	h.sample(rules, now, monitor.Good, "", false)
	expect("two", settle(nobody, true), HealthHealthy, "")
	h.yield()
	expect("handed on", settle(nobody, true), HealthHealthy, "")
	h.sample(rules, now, monitor.Bad, "refused", false)
	expect("taken back, one bad check", settle(nobody, true), HealthHealthy, "")
	h.yield()
	expect("down again", settle(down, true), HealthUnhealthy, "other gateways say so")
	expect("nobody judges any more", settle(nobody, false), HealthUnknown, "")
}
