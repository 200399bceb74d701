package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
)

func TestBreakerOff(t *testing.T) {
	a := group(t, &BreakerConfig{Off: true}, "a", "b")[0]
	if n := a.calls(1000, hard); n != 1000 || a.Refusal() != "" || a.Share() != 1 || a.TrialDue() || a.Breaker().State != breaker.Closed {
		t.Errorf("%d of 1000: %+v", n, a.Breaker())
	}
	if a.Force("open", "", "", 0) == nil {
		t.Error("a breaker that is off was forced")
	}
}

func TestBulkheadOfAGate(t *testing.T) {
	g, err := LoadGates(t.Name(), nil, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	a := g.Gate("a")
	first, err1 := a.Admit(t.Context(), time.Now())
	_, err2 := a.Admit(t.Context(), time.Now())
	_, err3 := a.Admit(t.Context(), time.Now())
	if err1 != nil || err2 != nil || !errors.Is(err3, errRefusedBulkhead) || a.Refusal() != "bulkhead" {
		t.Errorf("%v, %v, %v, %q", err1, err2, err3, a.Refusal())
	}
	first.Done(fine)
	if a.Refusal() != "" || a.Load().InFlight != 1 {
		t.Errorf("%q, %+v", a.Refusal(), a.Load())
	}
	var none Ticket
	none.Done(fine)
	none.Cancel()
}

func TestGatesAreBounded(t *testing.T) {
	g, err := LoadGates(t.Name(), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	busy := g.Gate("busy")
	ticket, err := busy.Admit(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 * maxUpstreams {
		g.Gate(fmt.Sprint("u", i))
	}
	if n := len(*g.gates.Load()); n > maxUpstreams || len(g.shared.members) > maxUpstreams {
		t.Errorf("%d upstreams are kept", n)
	}
	if g.Gate("busy") != busy {
		t.Error("an upstream with a call was forgotten")
	}
	ticket.Done(fine)
}

// What a group has seen stays while a config reloads.
func TestGatesOutliveAReload(t *testing.T) {
	old, err := LoadGates(t.Name(), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	old.Gate("b")
	old.Gate("a").Force("open", "", "", 0)
	next, err := LoadGates(t.Name(), &BreakerConfig{Consecutive: 1}, 0)
	if err != nil {
		t.Fatal(err)
	}
	old.Close()
	old.Close()
	expect(t, next.Gate("a"), breaker.ForcedOpen)
	next.Close()
	last, err := LoadGates(t.Name(), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, last.Gate("a"), breaker.Closed)
	last.Close()
}

func TestResultOf(t *testing.T) {
	gone, leave := context.WithCancel(t.Context())
	leave()
	for _, c := range []struct {
		result  Result
		outcome Outcome
		refused bool
		verdict breaker.Verdict
	}{
		{ResultOfError(t.Context(), nil, 0), OutcomeOK, false, breaker.Success},
		{ResultOfError(t.Context(), fmt.Errorf("x: %w", syscall.ECONNREFUSED), 0), OutcomeHard, true, breaker.Hard},
		{ResultOfError(t.Context(), syscall.ECONNRESET, 0), OutcomeHard, false, breaker.Hard},
		{ResultOfError(gone, syscall.ECONNREFUSED, 0), OutcomeNeutral, false, breaker.Neutral},
		{ResultOfError(t.Context(), &StatusError{Status: 404, Header: http.Header{}}, 0), OutcomeNeutral, false, breaker.Success},
		{ResultOfResponse(answer(302, ""), 0), OutcomeOK, false, breaker.Success},
		{ResultOfResponse(answer(101, ""), 0), OutcomeOK, false, breaker.Success},
		{ResultOfResponse(answer(404, ""), 0), OutcomeNeutral, false, breaker.Success},
		{ResultOfResponse(answer(429, "7"), 0), OutcomeThrottled, false, breaker.Failure},
		{ResultOfResponse(answer(500, ""), 0), OutcomeSoft, false, breaker.Failure},
		{ResultOfResponse(answer(502, ""), 0), OutcomeHard, false, breaker.Hard},
	} {
		if c.result.Outcome != c.outcome || c.result.Refused != c.refused || c.result.verdict() != c.verdict {
			t.Errorf("%+v, expected %+v", c.result, c)
		}
	}
	if r := ResultOfResponse(answer(503, "7"), 0); r.RetryAfter != 7*time.Second {
		t.Errorf("retry after %v", r.RetryAfter)
	}
}

func answer(status int, retryAfter string) *http.Response {
	response := &http.Response{StatusCode: status, Header: http.Header{}}
	if retryAfter != "" {
		response.Header.Set("Retry-After", retryAfter)
	}
	return response
}

// What it costs to be let through and counted while all is well.
func BenchmarkBreakerAllowed(b *testing.B) {
	gates := group(b, nil, "a", "b")
	ctx, start := b.Context(), time.Now()
	b.Run("breaker", func(b *testing.B) {
		c, r := gates[0].member.circuit, fine
		b.ReportAllocs()
		for b.Loop() {
			e := c.era.Load()
			if !e.free() {
				b.Fatal("not free")
			}
			c.finish(&Ticket{gate: gates[0], era: e, start: start.Sub(epoch)}, &r)
		}
	})
	b.Run("gate", func(b *testing.B) { // with bulkhead, load and latency
		b.ReportAllocs()
		for b.Loop() {
			ticket, err := gates[0].Admit(ctx, start)
			if err != nil {
				b.Fatal(err)
			}
			ticket.Done(fine)
		}
	})
	b.Run("refused", func(b *testing.B) {
		gates[1].Force("open", "", "", 0)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := gates[1].Admit(ctx, start); err == nil {
				b.Fatal("let through")
			}
		}
	})
	b.Run("baseline/atomic", func(b *testing.B) { // what one atomic addition costs here
		var n atomic.Int64
		for b.Loop() {
			n.Add(1)
		}
	})
}

func TestAllowedPathDoesNotAllocate(t *testing.T) {
	a := group(t, nil, "a", "b")[0]
	ctx, start := t.Context(), time.Now()
	if n := testing.AllocsPerRun(1000, func() {
		ticket, err := a.Admit(ctx, start)
		if err != nil {
			t.Fatal(err)
		}
		ticket.Done(fine)
	}); n != 0 {
		t.Errorf("%v allocations per call", n)
	}
}
