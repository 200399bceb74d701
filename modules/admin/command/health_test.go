package command

import (
	"bytes"
	"testing"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

func TestModesOfALostStoreHaveLinesOfTheirOwn(t *testing.T) {
	var out bytes.Buffer
	s := &session{printer: &printer{out: &out}}
	err := s.printHealth(fleet.HealthDocument{Federation: "test", Status: fleet.HealthWarn, Output: "gone", Checks: map[string][]fleet.HealthCheck{
		"gateways:count": {{Status: fleet.HealthPass, ObservedValue: 2, ObservedUnit: "gateways"}},
		"store": {{Status: fleet.HealthWarn, Output: "gone", ObservedUnit: "mode per feature", ObservedValue: map[string]any{
			"rate_limit caller": "local", "events": "wait in memory",
		}}},
	}})
	const want = `CHECK                     STATUS  VALUE           WHY
federation test           warn    -               gone
gateways:count            pass    2 gateways      -
store                     warn    -               gone
store: events             -       wait in memory  -
store: rate_limit caller  -       local           -
`
	if err != nil || out.String() != want {
		t.Errorf("%v, it shows\n%s", err, out.String())
	}
}
