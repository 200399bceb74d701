package redis

import (
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/redistest"
	"github.com/caddy-federation/caddy-federation/store/storetest"
)

// TestMain gives goroutines of the client library that sleep for a second
// between two attempts to connect the time to see that they are not needed.
func TestMain(m *testing.M) {
	code := m.Run()
	for until := time.Now().Add(5 * time.Second); code == 0 && time.Now().Before(until) && goleak.Find() != nil; {
	}
	goleak.VerifyTestMain(ran(code))
}

// ran are tests that ran.
type ran int

// Run implements [goleak.TestingM].
func (r ran) Run() int { return int(r) }

// unhurried is a timeout that no busy machine exceeds.
const unhurried = 10 * time.Second

// testOpen opens a store for a federation of the test's name.
func testOpen(t *testing.T, config settings) (*Store, error) {
	t.Helper()
	if config.Prefix == "" {
		config.Prefix = defaultPrefix
	}
	if config.Timeout == 0 {
		config.Timeout = unhurried
	}
	return openNamed(t, config, t.Name())
}

func openNamed(t *testing.T, config settings, federation string) (*Store, error) {
	t.Helper()
	return open(t.Context(), config, federation, zap.NewNop())
}

func TestConformance(t *testing.T) {
	server := redistest.StartWithClock(t)
	last := settings{Addresses: []string{server.Addr}}
	openLast := func(t *testing.T) store.Store {
		s, err := testOpen(t, last)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	storetest.Run(t, storetest.Backend{
		Open: func(t *testing.T) store.Store {
			server.Do("FLUSHALL")
			return openLast(t)
		},
		Reopen:  openLast,
		Advance: server.Advance,
		Shared:  true,
	})
}
