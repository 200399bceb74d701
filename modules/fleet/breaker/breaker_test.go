package breaker

import (
	"math/rand/v2"
	"testing"
	"time"
)

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// A node that fails one call in a hundred is well. The breaker of the library
// alone opens after about 358 such calls.
func TestNoTripInTenMillionRequestsAtOnePercentErrors(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	rules, window := Default, new(Window)
	at := time.Duration(0)
	for i := range 10_000_000 {
		at += 100 * time.Microsecond
		if random.IntN(100) > 0 {
			window.Success(&rules, at)
			continue
		}
		verdict := Hard
		if i%2 == 0 {
			verdict = Failure
		}
		if trip := window.Record(&rules, at, verdict, false, false); trip != nil {
			t.Fatalf("opened at request %d: %s", i, trip.Reason)
		}
	}
	if counts := window.Counts(&rules, at); counts.Total < 90_000 || counts.Total > 100_001 || counts.Failed < 700 || counts.Failed > 1300 {
		t.Errorf("the window holds %+v of the last 100,000 calls", counts)
	}
}

func TestWindow(t *testing.T) {
	type call struct {
		verdict Verdict
		slow    bool
		refused bool
		times   int
		gap     time.Duration
	}
	rules := Default
	for name, c := range map[string]struct {
		calls []call
		cause Cause
		at    int // which call opens
	}{
		"five hard failures in a row": {[]call{{Hard, false, false, 10, time.Second}}, CauseConsecutive, 5},
		"hours apart":                 {[]call{{Hard, false, false, 10, time.Hour}}, CauseConsecutive, 5},
		"the last one refused":        {[]call{{Hard, false, true, 10, time.Second}}, CauseRefused, 5},
		"a success between":           {[]call{{Hard, false, false, 4, 0}, {Success, false, false, 1, 0}, {Hard, false, false, 4, 0}}, "", 0},
		"a slow success between":      {[]call{{Hard, false, false, 4, 0}, {Success, true, false, 1, 0}, {Hard, false, false, 4, 0}}, "", 0},
		"soft ones are in no row":     {[]call{{Failure, false, false, 19, 0}}, "", 0},
		"twenty soft ones":            {[]call{{Failure, false, false, 30, 0}}, CauseFailureRatio, 20},
		"half of twenty":              {[]call{{Success, false, false, 10, 0}, {Failure, false, false, 10, 0}}, CauseFailureRatio, 20},
		"less than half":              {[]call{{Success, false, false, 31, 0}, {Failure, false, false, 30, 0}}, "", 0},
		"forgotten after the window":  {[]call{{Failure, false, false, 19, 0}, {Success, false, false, 1, 11 * time.Second}, {Failure, false, false, 1, 0}}, "", 0},
		"thinly spread":               {[]call{{Failure, false, false, 100, 600 * time.Millisecond}}, "", 0},
		"slow ones":                   {[]call{{Success, false, false, 5, 0}, {Success, true, false, 20, 0}}, CauseSlowRatio, 25},
		"not slow enough":             {[]call{{Success, false, false, 10, 0}, {Success, true, false, 39, 0}}, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			window, n, at := new(Window), 0, time.Duration(0)
			for _, call := range c.calls {
				for range call.times {
					n++
					at += call.gap
					if call.verdict == Success && !call.slow {
						window.Success(&rules, at)
						continue
					}
					trip := window.Record(&rules, at, call.verdict, call.slow, call.refused)
					if trip == nil {
						continue
					}
					if trip.Cause != c.cause || n != c.at || trip.Reason == "" {
						t.Fatalf("call %d opened: %+v", n, trip)
					}
					return
				}
			}
			if c.cause != "" {
				t.Fatalf("did not open: %+v", window.Counts(&rules, at))
			}
		})
	}
}

func TestWindowRulesThatAreOff(t *testing.T) {
	rules := Default
	rules.Consecutive, rules.FailureRatio, rules.SlowRatio = 0, 0, 0
	window := new(Window)
	for range 1000 {
		if trip := window.Record(&rules, 0, Hard, rules.Slow(time.Hour), true); trip != nil {
			t.Fatalf("opened: %+v", trip)
		}
	}
}

func TestState(t *testing.T) {
	rules := Default
	s, ok := New().Opened(&rules, t0, Trip{Cause: CauseConsecutive, Reason: "x"}, 0, 0)
	if !ok || s.Phase != Open || !s.Until.Equal(t0.Add(5*time.Second)) || s.Opens != 1 {
		t.Fatalf("opened is %+v", s)
	}
	if s.At(t0.Add(4*time.Second)) != Open || s.At(t0.Add(5*time.Second)) != HalfOpen {
		t.Error("the open time is not 5 s")
	}
	if _, ok := s.Opened(&rules, t0, Trip{}, 0, 0); ok {
		t.Error("an open breaker opened")
	}
	// trials that fail double the time, up to the longest
	now := t0
	for _, expected := range []time.Duration{10, 20, 40, 80, 160, 300, 300} {
		now = s.Until
		if _, ok := s.Failed(&rules, now, s.Opens-1, "x", 0, 0); ok {
			t.Fatal("a trial of an older opening counted")
		}
		if s, ok = s.Failed(&rules, now, s.Opens, "x", 0, 0); !ok || s.Until.Sub(now) != expected*time.Second || s.Successes != 0 {
			t.Fatalf("after a trial that failed: %+v, expected %ds", s, expected)
		}
	}
	// two successes close
	opening := s.Opens
	if s, ok = s.Succeeded(&rules, s.Until, opening); !ok || s.Phase != Open || s.Successes != 1 {
		t.Fatalf("after one success: %+v", s)
	}
	if s, ok = s.Succeeded(&rules, now, opening); !ok || s.Phase != Closed || s.OpenFor != 300*time.Second {
		t.Fatalf("after two successes: %+v", s)
	}
	if _, ok := s.Succeeded(&rules, now, opening); ok {
		t.Error("a late success counted")
	}
	// opened again soon, the time goes on; after a minute it begins anew
	soon, _ := s.Opened(&rules, s.Since.Add(59*time.Second), Trip{}, 0, 0)
	later, _ := s.Opened(&rules, s.Since.Add(60*time.Second), Trip{}, 0, 0)
	if soon.OpenFor != 300*time.Second || later.OpenFor != 5*time.Second {
		t.Errorf("open for %v and %v", soon.OpenFor, later.OpenFor)
	}
	// what the node asked for goes before; the next time doubles from ours
	asked, _ := s.Opened(&rules, s.Since.Add(time.Hour), Trip{}, 42*time.Second, 1)
	if open := asked.Until.Sub(asked.Since); open < 42*time.Second || open > 47*time.Second || asked.OpenFor != 5*time.Second {
		t.Errorf("open for %v, then double %v", open, asked.OpenFor)
	}
}

func TestForce(t *testing.T) {
	rules := Default
	s, _ := New().Forced(ForcedOpen, t0, t0.Add(time.Minute), "upgrade", "kim")
	if s.At(t0.Add(59*time.Second)) != ForcedOpen || s.At(t0.Add(time.Minute)) != HalfOpen {
		t.Errorf("forced open is %+v", s)
	}
	if _, ok := s.Opened(&rules, t0, Trip{}, 0, 0); ok {
		t.Error("a forced breaker opened")
	}
	freed, ok := s.Freed(t0.Add(time.Second), "done", "kim")
	if !ok || freed.Phase != Open || freed.At(t0.Add(time.Second)) != HalfOpen || freed.Opens != s.Opens+1 {
		t.Errorf("freed is %+v", freed)
	}
	if _, ok := freed.Freed(t0, "", ""); ok {
		t.Error("what is not forced was freed")
	}
	s, _ = s.Forced(ForcedClosed, t0, t0.Add(time.Minute), "", "")
	if s.At(t0) != ForcedClosed || s.At(t0.Add(time.Minute)) != Closed {
		t.Errorf("forced closed is %+v", s)
	}
	if freed, ok = s.Freed(t0, "", ""); !ok || freed.Phase != Closed {
		t.Errorf("freed is %+v", freed)
	}
}

func TestGuards(t *testing.T) {
	rules := Default
	for _, c := range []struct {
		total, ejected int
		may            bool
	}{
		{1, 0, false}, {2, 0, true}, {2, 1, false}, {3, 0, true}, {3, 1, false}, {4, 1, true}, {4, 2, false}, {10, 4, true}, {10, 5, false}, {0, 0, false},
	} {
		if got := rules.MayEject(c.total, c.ejected); got != c.may {
			t.Errorf("%d of %d out: %v", c.ejected, c.total, got)
		}
	}
	rules.MaxEjected = 1
	if !rules.MayEject(3, 1) || rules.MayEject(3, 2) {
		t.Error("without a limit all but the last may go")
	}
	if rules.Panicking(10, 5) || !rules.Panicking(10, 4) || rules.Panicking(0, 0) {
		t.Error("panic is not below half")
	}
	for after, share := range map[time.Duration]float64{-time.Second: 0.1, 0: 0.1, 5 * time.Second: 0.55, 10 * time.Second: 1, time.Hour: 1} {
		if got := rules.Share(after); got < share-1e-9 || got > share+1e-9 {
			t.Errorf("%v after closing: %v, expected %v", after, got, share)
		}
	}
}

func TestShared(t *testing.T) {
	s := Shared{State: New(), URL: "http://x"}
	s, votes := s.Vote("a", t0, t0.Add(time.Second))
	if votes != 1 || Quorum(votes, 2) || !Quorum(votes, 1) {
		t.Errorf("%d votes", votes)
	}
	if s, votes = s.Vote("b", t0, t0.Add(time.Minute)); votes != 2 || Quorum(votes, 4) || !Quorum(votes, 3) {
		t.Errorf("%d votes", votes)
	}
	if _, votes := s.Vote("c", t0.Add(time.Second), t0.Add(time.Minute)); votes != 2 {
		t.Errorf("%d votes after one is forgotten", votes)
	}
	s, retracted := s.Retract("b")
	if _, again := s.Retract("b"); !retracted || again || len(s.Votes) != 1 {
		t.Errorf("votes are %v", s.Votes)
	}
	for i := range 2 * MaxHistory {
		next := s.State
		next.Phase, next.Opens, next.Since = Open, uint64(i+1), t0.Add(time.Duration(i)*time.Second)
		s = s.Become(next)
	}
	if len(s.History) != MaxHistory || !s.History[MaxHistory-1].Time.Equal(s.Since) || s.Votes != nil {
		t.Errorf("history is %+v", s.History)
	}
}

func BenchmarkWindowSuccess(b *testing.B) {
	rules, window, at := Default, new(Window), time.Duration(0)
	for b.Loop() {
		at += time.Microsecond
		window.Success(&rules, at)
	}
}
