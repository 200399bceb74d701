package redis

import (
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/redistest"
)

// TestAMillionKeysAreBoundedAndGivenBack: of a million keys no more are kept
// than [store.MaxLimits], and none when their time is over, though nobody asks.
func TestAMillionKeysAreBoundedAndGivenBack(t *testing.T) {
	server := redistest.StartWithClock(t)
	s := must(t, settings{Addresses: []string{server.Addr}})
	memory := func() int {
		used := regexp.MustCompile(`used_memory:(\d+)`).FindStringSubmatch(server.Do("INFO", "memory"))
		n, err := strconv.Atoi(used[1])
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if err := take(t.Context(), s); err != nil { // the script is known
		t.Fatal(err)
	}
	before := memory()
	const keys, each, callers = 1_000_000, 200, 4
	var running sync.WaitGroup
	for caller := range callers {
		running.Go(func() {
			policies := make([]store.LimitPolicy, each)
			for i := caller * each; i < keys; i += callers * each {
				for j := range policies {
					policies[j] = store.LimitPolicy{Key: fmt.Sprintf("policy:ip=203.0.113.%d", i+j), Emission: time.Second, Burst: 60, Cost: 1}
				}
				if allowed, _, err := s.Limits().Take(t.Context(), policies); err != nil || !allowed {
					t.Errorf("allowed is %v: %v", allowed, err)
					return
				}
			}
		})
	}
	running.Wait()
	kept, err := strconv.Atoi(server.Do("ZCARD", s.key(limitsAt, "")))
	full := memory() - before
	if err != nil || kept > store.MaxLimits {
		t.Errorf("%d keys are kept: %v", kept, err)
	}
	t.Logf("%d keys are kept and take %d bytes each", kept, full/kept)
	if full > store.MaxLimits*250 {
		t.Errorf("%d bytes are used", full)
	}
	server.Advance(5 * time.Second)
	redistest.Eventually(t, "all keys are given back", func() bool { return server.Do("EXISTS", s.key(limitsAt, "")) == "0" })
	if left := memory() - before; left > full/10 {
		t.Errorf("%d bytes of %d are left", left, full)
	}
}
