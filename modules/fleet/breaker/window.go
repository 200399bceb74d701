package breaker

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Verdict is what one finished call says to the breaker.
type Verdict uint8

const (
	// Neutral says nothing about the node.
	Neutral Verdict = iota
	// Success is an answer, whatever it says.
	Success
	// Begun is a success so far: an answer of which the header has come.
	Begun
	// Failure counts for the ratio, and ends no row of hard failures.
	Failure
	// Hard is a node that could not be reached or gave up: it counts for the
	// ratio and for the row.
	Hard
)

// Cause is the rule that opened a breaker.
type Cause string

// The causes.
const (
	CauseConsecutive  Cause = "consecutive"
	CauseFailureRatio Cause = "failure_ratio"
	CauseSlowRatio    Cause = "slow_ratio"
	// CauseRefused is a row of hard failures that ended with a refused
	// connection: nobody listens there, so no panic makes it worth trying.
	CauseRefused Cause = "connection_refused"
	// CauseTrial is a trial call that failed.
	CauseTrial Cause = "trial"
	// CauseForced is the operator's word.
	CauseForced Cause = "forced"
)

// Trip is why a breaker should open.
type Trip struct {
	Cause  Cause
	Reason string // in words
}

// Window is the detector: what the calls of one generation of a breaker said
// lately. The zero value is empty. Successes are counted without a lock, the
// rest under one. Times are of any clock that does not run backwards.
type Window struct {
	// fast holds the successes of each bucket: its tick in the upper half of
	// the word, the count in the lower one, so that one swap clears a bucket.
	fast [Buckets]atomic.Uint64
	// row is how many hard failures there were in a row. Below 0 it would be
	// over, had an answer that has begun also ended.
	row atomic.Int64

	mu   sync.Mutex
	slow [Buckets]bucket
}

// bucket is one tenth of a window.
type bucket struct {
	tick                uint32
	total, failed, late int
}

// Counts is what a window holds.
type Counts struct {
	Total  int `json:"total"`
	Failed int `json:"failed"`
	Slow   int `json:"slow"`
	// Row is how many hard failures there were since the last success.
	Row int `json:"consecutive"`
}

func (r *Rules) tick(at time.Duration) uint32 {
	return uint32(int64(at) / max(int64(r.Window)/Buckets, 1))
}

// Success counts a call that went well and was not slow.
func (w *Window) Success(r *Rules, at time.Duration) {
	w.succeed(r, at)
	if w.row.Load() != 0 {
		w.row.Store(0)
	}
}

// Begin counts a call that goes well so far and was not slow. What comes of it
// is told by [Window.Ended], or by [Window.Retract] and [Window.Record].
func (w *Window) Begin(r *Rules, at time.Duration) {
	w.succeed(r, at)
	w.suspend()
}

// Ended tells that an answer that had begun has come to its end.
func (w *Window) Ended() {
	if row := w.row.Load(); row < 0 {
		w.row.CompareAndSwap(row, 0)
	}
}

// Retract takes back what was counted at a time of an answer that had begun
// well, and broke off.
func (w *Window) Retract(r *Rules, at time.Duration, slow bool) {
	if row := w.row.Load(); row < 0 {
		w.row.CompareAndSwap(row, -row)
	}
	tick := r.tick(at)
	if slow {
		w.mu.Lock()
		defer w.mu.Unlock()
		if b := &w.slow[tick%Buckets]; b.tick == tick && b.total > b.failed && b.late > 0 {
			b.total--
			b.late--
		}
		return
	}
	count := &w.fast[tick%Buckets]
	for {
		was := count.Load()
		if uint32(was>>32) != tick || uint32(was) == 0 || count.CompareAndSwap(was, was-1) {
			return
		}
	}
}

// suspend ends a row of failures for as long as nothing breaks off.
func (w *Window) suspend() {
	if row := w.row.Load(); row > 0 {
		w.row.CompareAndSwap(row, -row)
	}
}

// fail makes the row one longer. An answer that has begun and not broken off
// has ended the one before.
func (w *Window) fail() int64 {
	for {
		row := w.row.Load()
		if next := max(row, 0) + 1; w.row.CompareAndSwap(row, next) {
			return next
		}
	}
}

func (w *Window) succeed(r *Rules, at time.Duration) {
	tick := r.tick(at)
	count := &w.fast[tick%Buckets]
	for {
		was := count.Load()
		if uint32(was>>32) == tick {
			count.Add(1)
			break
		}
		if count.CompareAndSwap(was, uint64(tick)<<32|1) {
			break
		}
	}
}

// Slow tells whether a call took so long that it counts as slow.
func (r *Rules) Slow(took time.Duration) bool {
	return r.SlowRatio > 0 && r.SlowAfter > 0 && took >= r.SlowAfter
}

// Record counts a call that failed, was slow or both, and returns why the
// breaker should open, or nil. refused is set for a refused connection.
func (w *Window) Record(r *Rules, at time.Duration, verdict Verdict, slow, refused bool) *Trip {
	tick := r.tick(at)
	var row int64
	switch verdict {
	case Success:
		w.row.Store(0)
	case Begun:
		w.suspend()
	case Hard:
		row = w.fail()
	}
	failed := verdict == Failure || verdict == Hard
	w.mu.Lock()
	defer w.mu.Unlock()
	b := &w.slow[tick%Buckets]
	if b.tick != tick {
		*b = bucket{tick: tick}
	}
	b.total++
	if failed {
		b.failed++
	}
	if slow {
		b.late++
	}
	if r.Consecutive > 0 && row >= int64(r.Consecutive) {
		if refused {
			return &Trip{CauseRefused, fmt.Sprintf("%d hard failures in a row, the last one a refused connection", row)}
		}
		return &Trip{CauseConsecutive, fmt.Sprintf("%d hard failures in a row", row)}
	}
	counts := w.count(tick)
	if counts.Total < max(r.MinRequests, 1) {
		return nil
	}
	if r.FailureRatio > 0 && failed && float64(counts.Failed) >= r.FailureRatio*float64(counts.Total) {
		return &Trip{CauseFailureRatio, fmt.Sprintf("%d of %d calls failed", counts.Failed, counts.Total)}
	}
	if r.SlowRatio > 0 && slow && float64(counts.Slow) >= r.SlowRatio*float64(counts.Total) {
		return &Trip{CauseSlowRatio, fmt.Sprintf("%d of %d calls took %v or longer", counts.Slow, counts.Total, r.SlowAfter)}
	}
	return nil
}

// Row is how many hard failures there were since the last success.
func (w *Window) Row() int { return int(max(w.row.Load(), 0)) }

// Counts is what the window holds now.
func (w *Window) Counts(r *Rules, at time.Duration) Counts {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.count(r.tick(at))
}

func (w *Window) count(now uint32) Counts {
	counts := Counts{Row: w.Row()}
	for i := range Buckets {
		if fast := w.fast[i].Load(); now-uint32(fast>>32) < Buckets {
			counts.Total += int(uint32(fast))
		}
		if b := &w.slow[i]; now-b.tick < Buckets {
			counts.Total += b.total
			counts.Failed += b.failed
			counts.Slow += b.late
		}
	}
	return counts
}
