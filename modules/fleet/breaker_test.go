package fleet

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
)

var (
	fine    = Result{Outcome: OutcomeOK, Status: 200, Latency: time.Millisecond}
	hard    = Result{Outcome: OutcomeHard, Latency: time.Millisecond}
	soft    = Result{Outcome: OutcomeSoft, Status: 500, Latency: time.Millisecond}
	left    = Result{Outcome: OutcomeNeutral, Latency: time.Millisecond}
	refused = Result{Outcome: OutcomeHard, Latency: time.Millisecond, Refused: true}
)

// group returns gates that belong together and to this test.
func group(t testing.TB, config *BreakerConfig, upstreams ...string) (gates []*Gate) {
	t.Helper()
	g, err := LoadGates(t.Name(), config, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	for _, u := range upstreams {
		gates = append(gates, g.Gate(u))
	}
	return gates
}

// call makes one call with the result, and tells whether it was let through.
func (g *Gate) call(r Result) bool {
	ticket, err := g.Admit(context.Background(), time.Now())
	if err != nil {
		return false
	}
	ticket.Done(r)
	return true
}

// calls makes n calls and counts those let through.
func (g *Gate) calls(n int, r Result) (through int) {
	for range n {
		if g.call(r) {
			through++
		}
	}
	return through
}

func expect(t testing.TB, g *Gate, phase breaker.Phase) {
	t.Helper()
	if s := g.Breaker(); s.State != phase {
		t.Fatalf("the breaker is %+v, expected %s", s, phase)
	}
}

func TestBreakerWayThroughItsPhases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := group(t, nil, "a", "b")[0]
		if n := a.calls(10, hard); n != 5 {
			t.Fatalf("%d hard failures in a row were let through", n)
		}
		expect(t, a, breaker.Open)
		if a.Refusal() != "open" || a.Share() != 0 || a.TrialDue() {
			t.Errorf("open: %q, %v", a.Refusal(), a.Share())
		}
		var refusal *RefusalError
		if _, err := a.Admit(t.Context(), time.Now()); !errors.As(err, &refusal) || refusal.Reason != "open" {
			t.Errorf("refused with %v", err)
		}
		time.Sleep(5600 * time.Millisecond) // the longest first open time
		expect(t, a, breaker.HalfOpen)
		if !a.TrialDue() || a.Refusal() != "" || a.Breaker().Share != 0 {
			t.Errorf("half-open: %q, share %v", a.Refusal(), a.Breaker().Share)
		}
		trial, err := a.Admit(t.Context(), time.Now())
		if err != nil || !trial.Trial() {
			t.Fatalf("the first call is no trial: %v", err)
		}
		if a.calls(100, fine) != 0 || a.TrialDue() || a.Refusal() != "open" {
			t.Error("more than one trial at once")
		}
		trial.Done(fine)
		expect(t, a, breaker.HalfOpen)
		time.Sleep(trialDenied)
		if !a.call(fine) {
			t.Fatal("the second trial was refused")
		}
		expect(t, a, breaker.Closed)
		// the ramp
		for _, at := range []struct {
			wait     time.Duration
			from, to int
		}{{0, 50, 170}, {5 * time.Second, 450, 650}, {5 * time.Second, 1000, 1000}} {
			time.Sleep(at.wait)
			share := a.Share()
			if n := a.calls(1000, fine); n < at.from || n > at.to || float64(at.from) > share*1000 || float64(at.to) < share*1000 {
				t.Errorf("ramp: %d of 1000 were let through, the share is %v", n, share)
			}
		}
		if h := a.Breaker().History; len(h) != 2 || h[0].To != breaker.Open || h[1].To != breaker.Closed || h[0].Reason != "5 hard failures in a row" {
			t.Errorf("history is %+v", h)
		}
	})
}

func TestBreakerTrialThatFailsDoublesTheOpenTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := group(t, &BreakerConfig{SlowAfter: second}, "a", "b")[0]
		a.calls(5, hard)
		for _, open := range []time.Duration{10, 20, 40} {
			for a.Breaker().State != breaker.HalfOpen {
				time.Sleep(time.Second)
			}
			time.Sleep(time.Second)
			r := soft
			if open == 20 {
				r = Result{Outcome: OutcomeOK, Status: 200, Latency: 2 * time.Second} // too slow to come back
			}
			if !a.call(r) {
				t.Fatal("the trial was refused")
			}
			s := a.Breaker()
			if got := s.Until.Sub(s.Since); s.State != breaker.Open || got < open*time.Second || got > open*time.Second*11/10 {
				t.Fatalf("open for %v, expected %v: %+v", got, open*time.Second, s)
			}
		}
		time.Sleep(time.Minute)
	})
}

const second = 1_000_000_000

func TestBreakerRetryAfterIsTheOpenTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := group(t, nil, "a", "b")[0]
		throttled := Result{Outcome: OutcomeThrottled, Status: 429, RetryAfter: 60 * time.Second}
		if n := a.calls(100, throttled); n != 20 {
			t.Fatalf("%d calls were throttled before it opened", n)
		}
		s := a.Breaker()
		if open := s.Until.Sub(s.Since); open < time.Minute || open > 66*time.Second || s.Cause != breaker.CauseFailureRatio {
			t.Errorf("open for %v: %+v", open, s)
		}
		time.Sleep(67 * time.Second)
		throttled.RetryAfter = time.Hour
		if !a.call(throttled) {
			t.Fatal("the trial was refused")
		}
		s = a.Breaker()
		if open := s.Until.Sub(s.Since); open < 300*time.Second || open > 330*time.Second {
			t.Errorf("open for %v", open)
		}
		time.Sleep(time.Hour)
	})
}

// A late answer says nothing about what came after.
func TestBreakerResultsOfOlderGenerationsAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := group(t, nil, "a", "b")[0]
		var late []Ticket
		for range 20 {
			ticket, err := a.Admit(t.Context(), time.Now())
			if err != nil {
				t.Fatal(err)
			}
			late = append(late, ticket)
		}
		a.calls(5, hard)
		time.Sleep(6 * time.Second)
		trial, err := a.Admit(t.Context(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for _, ticket := range late[:10] {
			ticket.Done(fine)
		}
		expect(t, a, breaker.HalfOpen)
		trial.Done(fine)
		time.Sleep(time.Second)
		if !a.call(fine) {
			t.Fatal("the second trial was refused")
		}
		expect(t, a, breaker.Closed)
		for _, ticket := range late[10:] {
			ticket.Done(hard)
		}
		expect(t, a, breaker.Closed)
		trial.gate.member.load.inFlight.Add(1)
		trial.Done(hard) // and a trial of an opening that is over
		expect(t, a, breaker.Closed)
	})
}

// Clients that leave say nothing about the node, and a trial that they took
// goes to the next caller.
func TestTenThousandClientAbortsOpenNothing(t *testing.T) {
	f := run(t, "health off\nnode a "+hanging(t)+" {\n dialect gateway\n}\nnode b "+hanging(t)+" {\n dialect gateway\n}")
	n := f.node("a")
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 10_000 / 8 {
				ctx, leave := context.WithCancel(t.Context())
				go leave()
				_, call := f.app.Search(ctx, n, &SearchQuery{Text: "x", Limit: 1})
				if call.Outcome != OutcomeNeutral {
					t.Errorf("the outcome is %s: %v", call.Outcome, call.Err)
				}
			}
		})
	}
	group.Wait()
	if s := n.Breaker(); s.State != breaker.Closed || s.Window.Failed != 0 || len(s.History) != 0 {
		t.Errorf("the breaker is %+v", s)
	}
	if load := n.Load(); load.InFlight != 0 || load.Calls[OutcomeNeutral] != 10_000 {
		t.Errorf("load is %+v", load)
	}
}

func TestBreakerClientWhoLeavesGivesTheTrialBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := group(t, nil, "a", "b")[0]
		a.calls(5, hard)
		time.Sleep(6 * time.Second)
		for range 1000 {
			if !a.call(left) {
				t.Fatal("the trial was lost")
			}
		}
		ticket, err := a.Admit(t.Context(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		ticket.Cancel()
		expect(t, a, breaker.HalfOpen)
		a.calls(2, fine)
		expect(t, a, breaker.Closed)
	})
}

// hanging serves a node that never answers.
func hanging(t *testing.T) string {
	return serveNode(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // before that, the server does not look whether the client left
		<-r.Context().Done()
	})
}

func TestBreakerShadow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := group(t, &BreakerConfig{Shadow: true}, "a", "b")[0]
		if n := a.calls(100, hard); n != 100 || a.Refusal() != "" {
			t.Fatalf("%d of 100 were let through", n)
		}
		expect(t, a, breaker.Open)
		time.Sleep(6 * time.Second)
		if n := a.calls(100, fine); n != 100 {
			t.Fatalf("%d of 100 were let through", n)
		}
		expect(t, a, breaker.Closed)
		if n := a.calls(100, fine); n != 100 {
			t.Fatalf("%d of 100 were let through on the ramp", n)
		}
		a.Force("open", "", "", 0)
		if n := a.calls(100, fine); n != 0 {
			t.Error("shadow beats the operator")
		}
	})
}

func TestBreakerForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := group(t, nil, "a", "b")[0]
		if err := a.Force("open", "upgrade", "kim", time.Minute); err != nil {
			t.Fatal(err)
		}
		if s := a.Breaker(); s.State != breaker.ForcedOpen || s.Actor != "kim" || s.Reason != "upgrade" || s.Until.Sub(s.Since) != time.Minute || a.call(fine) {
			t.Errorf("forced open: %+v", s)
		}
		time.Sleep(time.Minute)
		for range 2 { // trials, and then it is closed
			if !a.call(fine) {
				t.Error("the force did not end")
			}
		}
		expect(t, a, breaker.Closed)
		a.Force("closed", "", "kim", time.Minute)
		if n := a.calls(100, hard); n != 100 {
			t.Errorf("forced closed: %d of 100", n)
		}
		time.Sleep(time.Minute)
		if n := a.calls(100, hard); n != 5 {
			t.Errorf("after the force, %d of 100", n)
		}
		a.Force("reset", "", "kim", 0)
		if n := a.calls(1, fine); n != 1 && a.Breaker().State != breaker.Closed {
			t.Errorf("after the reset it is %+v", a.Breaker())
		}
		a.Force("open", "", "kim", 0)
		a.Force("auto", "", "kim", 0)
		expect(t, a, breaker.HalfOpen)
		for _, word := range []string{"", "Open", "half_open"} {
			if err := a.Force(word, "", "", 0); err == nil {
				t.Errorf("%q was taken", word)
			}
		}
		if a.Force("open", "", "", -1) == nil {
			t.Error("a negative duration was taken")
		}
		time.Sleep(time.Hour)
	})
}
