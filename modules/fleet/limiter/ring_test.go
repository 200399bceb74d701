package limiter

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
)

// rings is what limiters do that remember the time of every event, as most
// plugins do: a ring of times for each key, as long as the limit.
type rings struct {
	mu     sync.RWMutex
	keys   map[string]*ring
	limit  int
	window time.Duration
}

type ring struct {
	mu     sync.Mutex
	times  []time.Time
	oldest int
}

func (r *rings) allow(key []byte) bool {
	r.mu.RLock()
	k := r.keys[string(key)]
	r.mu.RUnlock()
	if k == nil {
		r.mu.Lock()
		if k = r.keys[string(key)]; k == nil {
			k = &ring{times: make([]time.Time, r.limit)}
			r.keys[string(key)] = k
		}
		r.mu.Unlock()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	if now.Sub(k.times[k.oldest]) < r.window {
		return false
	}
	k.times[k.oldest] = now
	k.oldest = (k.oldest + 1) % len(k.times)
	return true
}

// BenchmarkBesideRings compares a decision and a key with those of a limiter
// that keeps a ring of times, in one run. The ratios are ours by theirs.
func BenchmarkBesideRings(b *testing.B) {
	for _, limit := range []int{60, 1000} {
		b.Run(fmt.Sprint(limit, " a minute"), func(b *testing.B) {
			const keys = 10_000
			names := make([][]byte, keys)
			for i := range names {
				names[i] = fmt.Appendf(nil, "policy:ip=198.51.%d.%d", i/256, i%256)
			}
			policy := newPolicy(b, limit, time.Minute, 0)
			theirs := &rings{keys: make(map[string]*ring), limit: limit, window: time.Minute}
			ours := New(MaxKeys)
			defer ours.Close()
			charges, states := make([]Charge, 1), make([]store.LimitState, 1)
			decide := func(key []byte) {
				charges[0] = Charge{policy, key, 1}
				ours.Take(b.Context(), charges, states, Local)
			}
			empty := heapNow()
			for _, name := range names {
				decide(name)
			}
			oursFull := heapNow()
			for _, name := range names {
				theirs.allow(name)
			}
			theirsFull := heapNow()

			var oursCPU, theirsCPU time.Duration
			b.ResetTimer()
			for done := 0; done < b.N; { // in turn, so that both have the same company
				n := min(b.N-done, 20_000)
				begin := cpu(b)
				for i := range n {
					decide(names[(done+i)%keys])
				}
				between := cpu(b)
				for i := range n {
					theirs.allow(names[(done+i)%keys])
				}
				oursCPU, theirsCPU = oursCPU+between-begin, theirsCPU+cpu(b)-between
				done += n
			}
			b.ReportMetric(float64(oursFull-empty)/keys, "bytes/key")
			b.ReportMetric(float64(oursFull-empty)/float64(theirsFull-oursFull), "bytes-ratio")
			b.ReportMetric(float64(oursCPU)/float64(b.N), "cpu-ns/decision")
			b.ReportMetric(float64(oursCPU)/float64(max(theirsCPU, 1)), "cpu-ratio")
			runtime.KeepAlive(theirs)
		})
	}
}

func heapNow() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
