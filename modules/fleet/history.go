package fleet

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/DataDog/sketches-go/ddsketch"
	"github.com/DataDog/sketches-go/ddsketch/mapping"
	sketches "github.com/DataDog/sketches-go/ddsketch/store"
)

// The history of a node covers an hour: calls are counted in ten-second
// buckets, latencies in sketches of ten minutes that are merged when somebody
// asks (DDSketch, Masson, Rim and Lee, VLDB 2019).
const (
	bucketSpan = 10 * time.Second
	bucketsOf  = 360
	sketchSpan = 10 * time.Minute
	sketchesOf = 6
	// sketchAccuracy is the relative error of a quantile.
	sketchAccuracy = 0.02
	// sketchBins bound the memory of a sketch: with the accuracy they span
	// eight decades, below which the shortest latencies are taken for one.
	sketchBins = 512
)

// history is what the calls of the last hour said of a node. It outlives
// config reloads.
type history struct {
	buckets [bucketsOf]bucket

	mu       sync.Mutex
	sketches [sketchesOf]*latencySketch
	last     lastError
}

// bucket counts ten seconds.
type bucket struct {
	ok, failed bucketCount
}

// bucketCount is a count with the number of the ten seconds that it is for, so that
// whoever finds an older one takes it over and counts in one step.
type bucketCount struct {
	word atomic.Uint64 // number, count: 32 bits each
}

// add counts one, and returns how many there are.
func (t *bucketCount) add(number uint32) uint32 {
	for {
		word := t.word.Load()
		next := word + 1
		if uint32(word>>32) != number {
			next = uint64(number)<<32 | 1
		}
		if t.word.CompareAndSwap(word, next) {
			return uint32(next)
		}
	}
}

// read returns the count, and how many buckets ago it is from.
func (t *bucketCount) read(current uint32) (count uint64, age uint32) {
	word := t.word.Load()
	return uint64(uint32(word)), current - uint32(word>>32)
}

type latencySketch struct {
	number int64
	*ddsketch.DDSketch
}

// lastError is the last call that failed.
type lastError struct {
	at      time.Time
	outcome Outcome
	reason  string
	check   bool
}

// Of a busy node a share of the latencies is enough for its quantiles.
const (
	sketchAll   = 256 // calls in a bucket of which every latency is noted
	sketchEvery = 8   // then one in so many
)

// add counts a call that ended at a time since [epoch]. It waits for nobody: a
// latency that comes while another is noted is left out of the quantiles.
func (h *history) add(outcome Outcome, latency, ended time.Duration) {
	if outcome == OutcomeNeutral {
		return
	}
	number := uint32(ended / bucketSpan)
	b := &h.buckets[number%bucketsOf]
	if outcome != OutcomeOK {
		b.failed.add(number)
		return
	}
	if n := b.ok.add(number); n > sketchAll && n%sketchEvery != 0 || !h.mu.TryLock() {
		return
	}
	defer h.mu.Unlock()
	_ = h.sketch(int64(ended / sketchSpan)).Add(float64(latency) / float64(time.Millisecond)) // only NaN is refused
}

var latencyMapping = func() mapping.IndexMapping {
	m, err := mapping.NewLogarithmicMapping(sketchAccuracy)
	if err != nil {
		panic(err) // the accuracy is a constant
	}
	return m
}()

func newSketch() *ddsketch.DDSketch {
	return ddsketch.NewDDSketch(latencyMapping, sketches.NewCollapsingLowestDenseStore(sketchBins), sketches.NewCollapsingLowestDenseStore(1))
}

func (h *history) sketch(number int64) *ddsketch.DDSketch {
	s := h.sketches[number%sketchesOf]
	switch {
	case s == nil:
		s = &latencySketch{number, newSketch()}
		h.sketches[number%sketchesOf] = s
	case s.number != number:
		s.number = number
		s.Clear()
	}
	return s.DDSketch
}

// note adds a call that ended at a time since [epoch], and why it failed.
func (h *history) note(r *Result, ended time.Duration) {
	h.add(r.Outcome, r.Latency, ended)
	if r.Reason != "" {
		h.fail(r.Outcome, r.Reason, epoch.Add(ended), false)
	}
}

// fail notes why a call failed, in words. check: it was a health check or a ping.
func (h *history) fail(outcome Outcome, reason string, at time.Time, check bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = lastError{at, outcome, reason, check}
}

// Recent is what the last hour of calls to a node says of it.
type Recent struct {
	// Calls and Failed count the calls of the last hour that say something of
	// the node: neither those that the caller left nor those that were refused.
	Calls  uint64 `json:"calls"`
	Failed uint64 `json:"failed"`
	// SuccessRate is the share that succeeded, from 0 to 1; null without a call.
	SuccessRate *float64 `json:"success_rate"`
	// RequestsPerSecond is the rate of the last minute.
	RequestsPerSecond float64 `json:"requests_per_second"`
	// Latency is how long the calls that succeeded took; null without one.
	Latency *Quantiles `json:"latency"`
	// LastError is the last call or health check that failed, whenever that
	// was; null without one.
	LastError *CallError `json:"last_error"`
}

// Quantiles of a latency, each with a relative error of 2 %.
type Quantiles struct {
	P50 float64 `json:"p50_ms"`
	P95 float64 `json:"p95_ms"`
	P99 float64 `json:"p99_ms"`
}

// CallError is a call that failed.
type CallError struct {
	At      time.Time `json:"at"`
	Outcome Outcome   `json:"outcome"`
	Reason  string    `json:"reason"`
	// Check is true when it was a health check or a ping, and no request.
	Check bool `json:"check"`
}

// recent sums up several histories at a time since [epoch].
func recent(now time.Duration, histories ...*history) Recent {
	var r Recent
	merged := newSketch()
	var minute uint64
	for _, h := range histories {
		current := uint32(now / bucketSpan)
		for i := range h.buckets {
			for _, t := range []*bucketCount{&h.buckets[i].ok, &h.buckets[i].failed} {
				count, age := t.read(current)
				if age >= bucketsOf { // also of one that is ahead
					continue
				}
				r.Calls += count
				if t == &h.buckets[i].failed {
					r.Failed += count
				}
				if age >= 1 && age <= 6 { // the last whole minute
					minute += count
				}
			}
		}
		h.mergeInto(merged, int64(now/sketchSpan))
		if e := h.lastError(); e != nil && (r.LastError == nil || e.At.After(r.LastError.At)) {
			r.LastError = e
		}
	}
	r.RequestsPerSecond = float64(minute) / 60
	if r.Calls > 0 {
		rate := float64(r.Calls-r.Failed) / float64(r.Calls)
		r.SuccessRate = &rate
	}
	if at, err := merged.GetValuesAtQuantiles([]float64{0.5, 0.95, 0.99}); err == nil {
		r.Latency = &Quantiles{P50: rounded(at[0]), P95: rounded(at[1]), P99: rounded(at[2])}
	}
	return r
}

func (h *history) mergeInto(merged *ddsketch.DDSketch, current int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.sketches {
		if s != nil && current-s.number < sketchesOf {
			_ = merged.MergeWith(s.DDSketch) // they have one mapping
		}
	}
}

func (h *history) lastError() *CallError {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last.at.IsZero() {
		return nil
	}
	return &CallError{At: h.last.at.UTC().Truncate(time.Millisecond), Outcome: h.last.outcome, Reason: h.last.reason, Check: h.last.check}
}

// rounded keeps two decimals of a number of milliseconds.
func rounded(ms float64) float64 { return float64(int64(ms*100+0.5)) / 100 }

// Recent is what the last hour of calls to the node says of it.
func (n *Node) Recent() Recent { return recent(time.Since(epoch), &n.gate.member.history) }
