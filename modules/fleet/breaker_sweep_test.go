package fleet

import (
	"encoding/json"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/memory"
)

// TestTheBreakersOfNodesThatLeftAreForgotten, after a week, and of no others.
func TestTheBreakersOfNodesThatLeftAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shift := -forgetBreaker - time.Minute
		opened, err := memory.New(func() time.Time { return time.Now().Add(shift) }, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		defer opened.Close()
		write := func(slug string) {
			data, err := json.Marshal(breaker.Shared{State: breaker.State{Phase: breaker.ForcedOpen, Since: time.Now()}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := opened.Breakers().Transition(t.Context(), store.BreakerRecord{Node: slug, State: string(breaker.ForcedOpen), Data: data}); err != nil {
				t.Fatal(err)
			}
		}
		write("a") // which the gateway has
		write("left")
		write("registered")
		if _, err := opened.Nodes().Put(t.Context(), store.NodeRecord{Slug: "registered", Data: []byte("{}")}); err != nil {
			t.Fatal(err)
		}
		shift = breakerSweep + time.Minute - forgetBreaker
		write("fresh") // a week old only after the sweep
		shift = 0
		p := join(t, &brittle{Store: opened}, new(BreakerConfig))
		defer p.stop()
		kept := func() []string {
			records, err := opened.Breakers().List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var slugs []string
			for _, r := range records {
				slugs = append(slugs, r.Node)
			}
			slices.Sort(slugs)
			return slugs
		}
		time.Sleep(breakerSweep - time.Minute)
		if got := kept(); len(got) != 4 {
			t.Errorf("before the first sweep: %v", got)
		}
		time.Sleep(90 * time.Second)
		synctest.Wait()
		if got, expected := kept(), []string{"a", "fresh", "registered"}; !slices.Equal(got, expected) {
			t.Errorf("%v are kept, expected %v", got, expected)
		}
	})
}
