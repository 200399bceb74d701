package fleet

import (
	"math"
	"slices"
	"sync/atomic"
	"time"
)

// Load is what the calls to one node have cost so far, since the process started.
type Load struct {
	// InFlight is how many calls are running now.
	InFlight int64 `json:"in_flight"`
	// Latency is the moving average over calls that succeeded, in
	// milliseconds; 0 before the first.
	Latency float64 `json:"latency_ms"`
	// Calls counts the finished calls by their outcome.
	Calls map[Outcome]uint64 `json:"calls"`
}

// countedOutcomes have a counter each. Calls that succeeded are the sum of their
// durations' counters.
var countedOutcomes = [...]Outcome{OutcomeHard, OutcomeSoft, OutcomeThrottled, OutcomeNeutral, OutcomeBadPayload}

// latencyWeight is the weight of a new sample in the moving average: high
// enough to follow a change within ten calls, low enough to ride out one.
const latencyWeight = 0.2

// loadMeter counts without a lock.
type loadMeter struct {
	inFlight atomic.Int64
	latency  atomic.Uint64 // float64 bits, milliseconds
	calls    [len(countedOutcomes)]atomic.Uint64
	// how long the calls that succeeded took, for the metrics
	durations [len(durationBounds) + 1]atomic.Uint64
	duration  atomic.Int64 // the sum
}

// durationBounds are the upper bounds of the classes that durations are
// counted in; the last class has none.
var durationBounds = [...]time.Duration{
	5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond,
	500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// begin takes a place of the bulkhead, or refuses when all limit are taken. 0
// is no limit.
func (l *loadMeter) begin(limit int64) bool {
	if l.inFlight.Add(1) > limit && limit > 0 {
		l.inFlight.Add(-1)
		return false
	}
	return true
}

// leave gives the place back.
func (l *loadMeter) leave() { l.inFlight.Add(-1) }

func (l *loadMeter) end(outcome Outcome, took time.Duration) {
	l.leave()
	l.record(outcome, took)
}

func (l *loadMeter) record(outcome Outcome, took time.Duration) {
	if outcome != OutcomeOK {
		if i := slices.Index(countedOutcomes[:], outcome); i >= 0 {
			l.calls[i].Add(1)
		}
		return
	}
	class := 0
	for class < len(durationBounds) && took > durationBounds[class] {
		class++
	}
	l.durations[class].Add(1)
	l.duration.Add(int64(took))
	sample := float64(took) / float64(time.Millisecond)
	for {
		old := l.latency.Load()
		mean := sample
		if old != 0 {
			mean = (1-latencyWeight)*math.Float64frombits(old) + latencyWeight*sample
		}
		if l.latency.CompareAndSwap(old, math.Float64bits(mean)) {
			return
		}
	}
}

// succeeded counts the calls that did.
func (l *loadMeter) succeeded() (n uint64) {
	for i := range l.durations {
		n += l.durations[i].Load()
	}
	return n
}

// total counts the finished calls.
func (l *loadMeter) total() uint64 {
	n := l.succeeded()
	for i := range l.calls {
		n += l.calls[i].Load()
	}
	return n
}

func (l *loadMeter) read() Load {
	load := Load{
		InFlight: l.inFlight.Load(),
		Latency:  math.Float64frombits(l.latency.Load()),
		Calls:    map[Outcome]uint64{OutcomeOK: l.succeeded()},
	}
	for i, outcome := range countedOutcomes {
		load.Calls[outcome] = l.calls[i].Load()
	}
	return load
}
