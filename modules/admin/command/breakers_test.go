package command

import (
	"bytes"
	"testing"

	"github.com/caddy-federation/caddy-federation/modules/admin"
	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
)

func TestABreakerThatIsIgnoredInAPanicSaysSo(t *testing.T) {
	var out bytes.Buffer
	s := &session{printer: &printer{out: &out}}
	err := s.printBreakers(admin.BreakerList{Breakers: []fleet.NodeBreaker{
		{Node: "a", BreakerStatus: fleet.BreakerStatus{State: breaker.Open, Share: 1, Panic: true, Opens: 1, Reason: "5 hard failures in a row"}},
		{Node: "b", BreakerStatus: fleet.BreakerStatus{State: breaker.Open, Opens: 1, Reason: "nobody listens"}},
		{Node: "c", BreakerStatus: fleet.BreakerStatus{State: breaker.Open, Share: 1, Shadow: true, Opens: 1}},
	}, Count: 3})
	const want = `NODE  STATE          SHARE  SINCE  OPENS  NEXT  FORCED BY  GUARDED  WHY
a     open (panic)   100%   -      1      -     -          0        5 hard failures in a row
b     open           0%     -      1      -     -          0        nobody listens
c     open (shadow)  100%   -      1      -     -          0        -
`
	if err != nil || out.String() != want {
		t.Errorf("%v, it shows\n%s", err, out.String())
	}
}
