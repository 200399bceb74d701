//go:build !race

package limiter

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
)

// The race detector would make this take minutes, and has nothing to find in
// one goroutine.

// A million keys take a bounded room, and give it back.
func TestAMillionKeysAreBoundedAndGivenBack(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	synctest.Test(t, func(t *testing.T) {
		l := newGateways(t, 1, nil)[0]
		policy := newPolicy(t, 60, time.Minute, 0)
		before := heap()
		var key []byte
		for i := range 1_000_000 {
			key = fmt.Appendf(key[:0], "policy\x00203.0.113.%d", i)
			var states [1]store.LimitState
			l.Take(t.Context(), []Charge{{policy, key, 1}}, states[:], Local)
		}
		full := heap()
		if keys := l.Keys(); keys > MaxKeys || keys < MaxKeys*9/10 {
			t.Errorf("%d keys are kept", keys)
		}
		perKey := float64(full-before) / float64(l.Keys())
		t.Logf("%d keys take %.0f bytes each", l.Keys(), perKey)
		if perKey > 300 {
			t.Errorf("a key takes %.0f bytes", perKey)
		}
		time.Sleep(time.Second + 2*sweepEvery)
		if keys := l.Keys(); keys != 0 {
			t.Errorf("%d keys are left", keys)
		}
		if after := heap(); after > before+(full-before)/20 {
			t.Errorf("%d bytes of %d are left", after-before, full-before)
		}
		runtime.KeepAlive(l)
	})
}
