package fleet

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
)

// header is a call that was answered well so far.
func (g *Gate) header(t testing.TB, r Result) Answer {
	t.Helper()
	ticket, err := g.Admit(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return ticket.Answered(r, false)
}

// TestAnswersThatBreakOff count once, as failures: for the row, the ratio and
// the accounts.
func TestAnswersThatBreakOff(t *testing.T) {
	slow := Result{Outcome: OutcomeOK, Status: 200, Latency: 3 * time.Second}
	ratio := &BreakerConfig{Consecutive: -1, FailureRatio: 0.5, MinRequests: 10}
	for _, c := range []struct {
		name          string
		config        *BreakerConfig
		header        Result
		ended, broken int
		phase         breaker.Phase
	}{
		{"row", &BreakerConfig{Consecutive: 4, FailureRatio: -1}, fine, 20, 4, breaker.Open},
		{"row too short", &BreakerConfig{Consecutive: 4, FailureRatio: -1}, fine, 20, 3, breaker.Closed},
		{"slow row", &BreakerConfig{Consecutive: 4, FailureRatio: -1}, slow, 20, 4, breaker.Open},
		{"ratio", ratio, fine, 6, 6, breaker.Open},
		{"ratio too low", ratio, fine, 11, 9, breaker.Closed},
		{"slow ratio too low", ratio, slow, 11, 9, breaker.Closed},
	} {
		t.Run(c.name, func(t *testing.T) {
			gate := group(t, c.config, "a", "b")[0]
			for range c.ended {
				gate.header(t, c.header).End()
			}
			for range c.broken {
				gate.header(t, c.header).Broke(hard)
			}
			expect(t, gate, c.phase)
			load := gate.Load()
			if load.InFlight != 0 || load.Calls[OutcomeOK] != uint64(c.ended) || load.Calls[OutcomeHard] != uint64(c.broken) {
				t.Errorf("%d ended, %d broke: %+v", c.ended, c.broken, load)
			}
			if c.phase == breaker.Open {
				return
			}
			counts := gate.member.circuit.era.Load().window.Counts(gate.rules, time.Since(epoch))
			if expected := (breaker.Counts{Total: c.ended + c.broken, Failed: c.broken, Row: c.broken}); counts.Total != expected.Total || counts.Failed != expected.Failed || counts.Row != expected.Row {
				t.Errorf("the window has %+v, expected %+v", counts, expected)
			}
		})
	}
}

// TestAnAnswerThatBeganEndsARow, unless it breaks off.
func TestAnAnswerThatBeganEndsARow(t *testing.T) {
	gate := group(t, &BreakerConfig{Consecutive: 3, FailureRatio: -1}, "a", "b")[0]
	gate.calls(2, hard)
	stream := gate.header(t, fine)
	gate.calls(2, hard)
	expect(t, gate, breaker.Closed)
	stream.End()
	gate.calls(1, hard)
	expect(t, gate, breaker.Open)
}

// TestAFailureThatBreaksOff is one failure.
func TestAFailureThatBreaksOff(t *testing.T) {
	gate := group(t, &BreakerConfig{Consecutive: 2, FailureRatio: -1}, "a", "b")[0]
	gate.header(t, Result{Outcome: OutcomeHard, Status: 502}).Broke(hard)
	expect(t, gate, breaker.Closed)
	if load := gate.Load(); load.Calls[OutcomeHard] != 1 || load.InFlight != 0 {
		t.Errorf("%+v", load)
	}
}

// TestATrialIsDecidedByItsAnswer and not by its header alone.
func TestATrialIsDecidedByItsAnswer(t *testing.T) {
	for _, c := range []struct {
		name  string
		then  func(Answer)
		phase breaker.Phase
	}{
		{"it ends", func(a Answer) { a.End() }, breaker.Closed},
		{"it breaks off", func(a Answer) { a.Broke(hard) }, breaker.Open},
		{"it goes on", func(Answer) { time.Sleep(trialAnswer) }, breaker.Closed},
		{"it goes on, and ends", func(a Answer) { time.Sleep(2 * trialAnswer); a.End() }, breaker.Closed},
		{"it has only begun", func(Answer) { time.Sleep(trialAnswer / 2) }, breaker.HalfOpen},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				gate := group(t, &BreakerConfig{Consecutive: 1, Successes: 1, Open: caddy.Duration(time.Second)}, "a", "b")[0]
				gate.call(hard)
				time.Sleep(1200 * time.Millisecond)
				answer := gate.header(t, fine)
				expect(t, gate, breaker.HalfOpen)
				c.then(answer)
				synctest.Wait()
				expect(t, gate, c.phase)
				if c.phase == breaker.HalfOpen {
					answer.End()
				}
				time.Sleep(time.Minute) // its timers are over
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		gate := group(t, &BreakerConfig{Consecutive: 1, Successes: 1, Open: caddy.Duration(time.Second)}, "a", "b")[0]
		gate.call(hard)
		time.Sleep(1200 * time.Millisecond)
		gate.header(t, Result{Outcome: OutcomeOK, Status: http.StatusSwitchingProtocols})
		expect(t, gate, breaker.Closed)
		time.Sleep(time.Minute)
	})
}

// TestATrialThatWaitsHoldsNobodyForever: after a while another call is one.
func TestATrialThatWaitsHoldsNobodyForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := group(t, &BreakerConfig{Consecutive: 1, Successes: 1, Open: caddy.Duration(time.Second)}, "a", "b")[0]
		gate.call(hard)
		time.Sleep(1200 * time.Millisecond)
		waiting, err := gate.Admit(t.Context(), time.Now())
		if err != nil || !waiting.Trial() {
			t.Fatal(err)
		}
		time.Sleep(trialHold - time.Second)
		if gate.call(fine) || gate.TrialDue() {
			t.Error("a second trial before its time")
		}
		time.Sleep(2 * time.Second)
		if !gate.TrialDue() {
			t.Error("no other trial is due")
		}
		second, err := gate.Admit(t.Context(), time.Now())
		if err != nil || !second.Trial() {
			t.Fatal(err)
		}
		waiting.Done(left) // it frees no place that is another's
		if gate.call(fine) {
			t.Error("a third one beside the second")
		}
		second.Done(fine)
		expect(t, gate, breaker.Closed)
		time.Sleep(time.Minute)
	})
}
