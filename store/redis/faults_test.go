package redis

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/redistest"
)

// take is what a request does at most: one step on the limits.
func take(ctx context.Context, s *Store) error {
	_, _, err := s.Limits().Take(ctx, []store.LimitPolicy{{Key: "k", Emission: time.Microsecond, Burst: 1000, Cost: 1}})
	return err
}

// isDown expects that calls are refused, and that they tell why in words.
func isDown(t *testing.T, s *Store, says string) {
	t.Helper()
	var last error
	redistest.Eventually(t, "calls are refused", func() bool {
		last = take(t.Context(), s)
		return last != nil && s.fault() != nil
	})
	if last = take(t.Context(), s); !errors.Is(last, store.ErrUnavailable) || !strings.Contains(last.Error(), says) {
		t.Errorf("error is %v, expected one with %q", last, says)
	}
	tellsNothing(t, last)
	if err := s.Ping(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("pinging says %v", err)
	}
}

// worker calls the store all the time, as requests do.
type worker struct {
	calls, failed atomic.Int64
	longest       atomic.Int64
	stop          func()
}

func startWorkers(t *testing.T, s *Store) *worker {
	w := new(worker)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			for ctx.Err() == nil {
				start := time.Now()
				err := take(ctx, s)
				took := int64(time.Since(start))
				w.calls.Add(1)
				if err != nil {
					w.failed.Add(1)
					pause(ctx, time.Millisecond)
				}
				for was := w.longest.Load(); took > was && !w.longest.CompareAndSwap(was, took); was = w.longest.Load() {
				}
			}
		})
	}
	w.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(w.stop)
	return w
}

// TestFaults breaks the server while requests go on, and expects words, no
// waiting, and the store back within 2s. The module faults breaks the way to it,
// and looks at whole gateways.
func TestFaults(t *testing.T) {
	for name, c := range map[string]struct {
		begin, end func(*redistest.Server)
		says       string
	}{
		"hung": {
			(*redistest.Server).Hang, (*redistest.Server).Continue, "did not answer in time"},
		"killed and empty": {
			(*redistest.Server).Kill, (*redistest.Server).Restart, "redis"},
		"read-only": {
			func(s *redistest.Server) { s.Do("REPLICAOF", "127.0.0.1", "1") },
			func(s *redistest.Server) { s.Do("REPLICAOF", "NO", "ONE") }, "read-only replica"},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			s := must(t, settings{Addresses: []string{server.Addr}, Timeout: 250 * time.Millisecond})
			if err := useAll(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			identity, err := s.Identity(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			workers := startWorkers(t, s)
			redistest.Eventually(t, "requests are served", func() bool { return workers.calls.Load() > 100 })
			c.begin(server)
			isDown(t, s, c.says)
			before := workers.calls.Load()
			redistest.Eventually(t, "requests do not wait", func() bool { return workers.calls.Load() > before+200 })
			c.end(server)
			recovers(t, s, time.Now())
			workers.stop()
			t.Logf("%d calls, %d failed, the longest took %v", workers.calls.Load(), workers.failed.Load(), time.Duration(workers.longest.Load()))
			if again, err := s.Identity(t.Context()); err != nil || again != identity {
				t.Errorf("identity was %s and is %s: %v", identity, again, err)
			}
			if stored := server.Do("GET", s.key(meta, ":identity")); stored != identity {
				t.Errorf("the server holds the identity %q, expected %q", stored, identity)
			}
			// changes are pushed again, and no connection was left behind
			redistest.Eventually(t, "changes are pushed again", func() bool { return changeHeard(t, s, s) < pollInterval/4 })
			redistest.Eventually(t, "every connection is one of the pool's, or listens", func() bool {
				return server.Clients() <= int(s.client.PoolStats().TotalConns)+1
			})
		})
	}
}

// TestAHungServerCostsTheFirstCallsOneTimeout measures what nobody may wait
// for: calls after the gate has shut.
func TestAHungServerCostsTheFirstCallsOneTimeout(t *testing.T) {
	server := redistest.Start(t)
	s := must(t, settings{Addresses: []string{server.Addr}, Timeout: defaultTimeout})
	redistest.Eventually(t, "the server is used", func() bool { return take(t.Context(), s) == nil })
	server.Hang()
	defer server.Continue()
	var waited []time.Duration
	for s.allOpen() {
		start := time.Now()
		if err := take(t.Context(), s); err == nil {
			t.Fatal("a hung server answered")
		}
		waited = append(waited, time.Since(start))
		if len(waited) > 10*gateFailures {
			t.Fatal("the gate does not shut")
		}
	}
	// later ones do not come near the server: a thousand take less than one that waits
	const calls = 1000
	start := time.Now()
	for range calls {
		if err := take(t.Context(), s); !errors.Is(err, store.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	later := time.Since(start)
	t.Logf("the first %d calls took %v, later ones %v each", len(waited), waited, later/calls)
	if later > calls*time.Millisecond {
		t.Errorf("%d later calls took %v", calls, later)
	}
}

func TestAFullServerKeepsWhatItHas(t *testing.T) {
	server := redistest.Start(t)
	s := must(t, settings{Addresses: []string{server.Addr}})
	if err := useAll(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	put := func(slug string) error {
		_, err := s.Nodes().Put(t.Context(), store.NodeRecord{Slug: slug, Data: []byte("{}")})
		return err
	}
	if err := put("before"); err != nil {
		t.Fatal(err)
	}
	server.Do("CONFIG", "SET", "maxmemory", "1")
	for range 2 * gateFailures {
		err := put("after")
		if !errors.Is(err, store.ErrFull) {
			t.Fatalf("error is %v, expected %v", err, store.ErrFull)
		}
		tellsNothing(t, err)
	}
	if err := s.Ping(t.Context()); !errors.Is(err, store.ErrFull) || !s.allOpen() {
		t.Errorf("pinging a full server says %v; it is read: %v", err, s.allOpen())
	}
	list, err := s.Nodes().List(t.Context())
	if err != nil || len(list) != 1 || list[0].Slug != "before" {
		t.Errorf("nodes are %v: %v", list, err)
	}
	// nothing of a refused step was done
	if ids, err := s.Nodes().AssignIDs(t.Context(), []string{"before"}); err != nil || ids["before"] != list[0].ID {
		t.Errorf("ids are %v: %v", ids, err)
	}
	server.Do("CONFIG", "SET", "maxmemory", "0")
	if err := put("after"); err != nil {
		t.Error(err)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestTheStoreOpensWithoutItsServer(t *testing.T) {
	server := redistest.Start(t)
	server.Kill()
	s := must(t, settings{Addresses: []string{server.Addr}, Timeout: time.Second})
	if _, err := s.Identity(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("identity without a server: %v", err)
	}
	isDown(t, s, "redis refuses the connection")
	changes, err := s.Nodes().Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	server.Restart()
	recovers(t, s, time.Now())
	<-changes // whoever watches reads again
	if id, err := s.Identity(t.Context()); err != nil || len(id) != 32 {
		t.Errorf("identity is %q: %v", id, err)
	}
}

// TestACallerWhoLeavesShutsNoGate: only the server's own failures count.
func TestACallerWhoLeavesShutsNoGate(t *testing.T) {
	server := redistest.Start(t)
	s := must(t, settings{Addresses: []string{server.Addr}, Timeout: unhurried})
	server.Hang()
	for range 10 * gateFailures {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		if err := take(ctx, s); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v", err)
		}
		cancel()
		ctx, cancel = context.WithCancel(t.Context())
		cancel()
		if err := take(ctx, s); !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v", err)
		}
	}
	server.Continue()
	if !s.allOpen() {
		t.Errorf("the gate is shut: %v", s.fault())
	}
	if err := take(t.Context(), s); err != nil {
		t.Error(err)
	}
}

// A server that wants a password for a while is used again when it wants none,
// over the connections that were made meanwhile too: HELLO alone asks of them
// that they have proved themselves.
func TestAPasswordThatIsTakenBack(t *testing.T) {
	server := redistest.Start(t)
	s := must(t, settings{Addresses: []string{server.Addr}})
	if err := useAll(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	server.Do("CONFIG", "SET", "requirepass", "hunter2")
	server.As("default", "hunter2")
	server.Do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	redistest.Eventually(t, "the store wants a password", func() bool {
		err := take(t.Context(), s)
		return errors.Is(err, store.ErrUnavailable) && strings.Contains(err.Error(), "wants a password") && !s.allOpen()
	})
	kept := s.client.PoolStats().TotalConns
	redistest.Eventually(t, "the keeper has tried", func() bool { return s.client.PoolStats().Hits > kept })
	isDown(t, s, "redis wants a password")
	server.Do("CONFIG", "SET", "requirepass", "")
	recovers(t, s, time.Now())
}
