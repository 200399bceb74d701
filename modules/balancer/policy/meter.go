package policy

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Meter is what one gateway has learnt of one node's answers. Times are
// durations since any fixed moment, the same for all calls. Its zero value is a
// node of which nothing is known.
type Meter struct {
	mu       sync.Mutex    // held to write what follows; reading needs no lock
	latency  atomic.Uint64 // float64 bits: the moving average, in seconds
	sampled  atomic.Int64  // when the last success came
	failures atomic.Int64  // how many more failures than successes lately
	free     atomic.Int64  // until when the node is charged for its failures
	charge   atomic.Int64  // the last charge
	joined   atomic.Int64  // when the node came, or came back; 0: never
	away     atomic.Bool   // it may not be chosen
}

// The moving average of the latency. A sample counts by how old the average is,
// but at least sampleWeight: the average follows some 20 samples or ten seconds,
// whichever is sooner. A slower sample counts a quarter more (the peak rule),
// so that a node that slows down is noticed sooner than one that recovers.
// Jumping to every peak, as Finagle's peak EWMA does, costs a tenth of the p99 in
// the simulation: the tail of a healthy node is then taken for a slow one.
const (
	sampleWeight = 0.05
	peakFactor   = 1.25
	sampleAge    = 10 * time.Second
)

// What a failure is charged at least: the first one second, doubled with each
// that follows, up to five.
const (
	firstCharge   = time.Second
	longestCharge = 5 * time.Second
)

// forget is how long a node that gets no request keeps its latency: after that
// it decays, or a node that was slow once would never be tried again.
const forget = 10 * time.Second

// Success records how long the node took to answer, to its first byte.
func (m *Meter) Success(now, took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	sample := max(took, time.Microsecond).Seconds()
	old := math.Float64frombits(m.latency.Load())
	mean := sample
	if old > 0 {
		age := now - time.Duration(m.sampled.Load())
		weight := max(sampleWeight, 1-math.Exp(-float64(age)/float64(sampleAge)))
		if sample > old {
			weight = min(1, peakFactor*weight)
		}
		mean = old + weight*(sample-old)
	}
	m.latency.Store(math.Float64bits(mean))
	m.sampled.Store(int64(now))
	m.failures.Store(max(0, m.failures.Load()-1))
}

// Failure records an attempt that failed, and charges the node what it took,
// what it asked to be left alone for (its Retry-After), or one second doubled
// with each failure up to five, whichever is most. While it is charged, it
// counts as a node that takes as long as is left of the charge. Without that,
// a node that fails fast looks like the fastest of all.
func (m *Meter) Failure(now, took, retryAfter time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	failures := m.failures.Load()
	least := longestCharge
	if failures < 3 {
		least = min(firstCharge<<failures, longestCharge)
	}
	m.failures.Store(min(failures+1, 3))
	charge := max(took, retryAfter, least)
	m.charge.Store(int64(charge))
	m.free.Store(max(m.free.Load(), int64(now+charge)))
}

// See notes whether the node may be chosen now. One that comes, and one that
// comes back, starts slowly.
func (m *Meter) See(now time.Duration, available bool) {
	if !available {
		if !m.away.Load() {
			m.away.Store(true)
		}
		return
	}
	if m.joined.Load() == 0 || m.away.Load() && m.away.CompareAndSwap(true, false) {
		m.joined.Store(max(1, int64(now)))
	}
}

// leastRamp is what a node that starts slowly gets at first.
const leastRamp = 0.1

// Candidate is the node as it is now, with what it has in flight. slowStart is how
// long a node takes to get its full share; 0: none.
func (m *Meter) Candidate(now time.Duration, inFlight, weight float64, slowStart time.Duration) Candidate {
	c := Candidate{Latency: m.expected(now, inFlight), InFlight: inFlight, Weight: weight, Ramp: 1}
	if slowStart > 0 {
		if up := now - time.Duration(m.joined.Load()); up < slowStart {
			c.Ramp = max(leastRamp, float64(up)/float64(slowStart))
		}
	}
	return c
}

// expected is the latency that a request has to expect.
func (m *Meter) expected(now time.Duration, inFlight float64) float64 {
	latency := math.Float64frombits(m.latency.Load())
	if idle := now - time.Duration(m.sampled.Load()) - forget; idle > 0 && latency > 0 && inFlight == 0 {
		latency *= math.Exp(-float64(idle) / float64(forget))
	}
	if m.failures.Load() == 0 && m.free.Load() <= int64(now) {
		return latency
	}
	left := time.Duration(m.free.Load()) - now
	if inFlight > 0 && m.failures.Load() > 0 {
		left = max(left, time.Duration(m.charge.Load())) // one trial at a time
	}
	return max(latency, left.Seconds())
}
