package fleet

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestTheLastHourCounts(t *testing.T) {
	h := new(history)
	start := 1000 * time.Hour
	if r := recent(start, h); r.SuccessRate != nil || r.Latency != nil || r.LastError != nil || r.Calls != 0 {
		t.Errorf("nothing at all is %+v", r)
	}
	for i := range 600 { // ten minutes, one call a second, every tenth fails
		outcome := OutcomeOK
		if i%10 == 0 {
			outcome = OutcomeHard
		}
		h.add(outcome, 20*time.Millisecond, start+time.Duration(i)*time.Second)
		h.add(OutcomeNeutral, time.Hour, start+time.Duration(i)*time.Second)
	}
	now := start + 600*time.Second
	r := recent(now, h)
	if r.Calls != 600 || r.Failed != 60 || *r.SuccessRate != 0.9 || r.RequestsPerSecond != 1 {
		t.Errorf("after ten minutes: %+v", r)
	}
	if r := recent(now+55*time.Minute, h); r.Calls < 290 || r.Calls > 310 {
		t.Errorf("55 minutes later: %+v", r)
	}
	if r := recent(now+time.Hour, h); r.Calls != 0 || r.SuccessRate != nil || r.Latency != nil {
		t.Errorf("an hour later: %+v", r)
	}
	h.add(OutcomeOK, time.Millisecond, now+time.Hour) // in a bucket that was used before
	if r := recent(now+time.Hour, h); r.Calls != 1 || *r.SuccessRate != 1 {
		t.Errorf("one call an hour later: %+v", r)
	}
}

func TestQuantilesAreWithinTheirError(t *testing.T) {
	a, b := new(history), new(history)
	random := rand.New(rand.NewPCG(1, 2))
	var all []float64
	for i := range 20_000 {
		ms := math.Exp(random.NormFloat64()) * 10
		all = append(all, ms)
		one := []*history{a, b}[i%2]
		one.add(OutcomeOK, time.Duration(ms*float64(time.Millisecond)), time.Hour+time.Duration(i)*100*time.Millisecond)
	}
	slices.Sort(all)
	r := recent(time.Hour+2000*time.Second, a, b)
	for q, got := range map[float64]float64{0.5: r.Latency.P50, 0.95: r.Latency.P95, 0.99: r.Latency.P99} {
		if expected := all[int(q*float64(len(all)-1))]; math.Abs(got-expected) > 0.021*expected+0.01 {
			t.Errorf("quantile %v is %v, expected %v", q, got, expected)
		}
	}
}

func TestManyAddAtOnce(t *testing.T) {
	h := new(history)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for i := range 5000 {
				h.add(OutcomeOK, time.Millisecond, time.Hour+time.Duration(i)*time.Microsecond)
			}
		})
	}
	group.Wait()
	if r := recent(time.Hour, h); r.Calls != 40_000 {
		t.Errorf("%d of 40000 were counted", r.Calls)
	}
}

func TestTheLatestErrorIsTold(t *testing.T) {
	a, b := new(history), new(history)
	at := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	a.fail(OutcomeHard, "the node refused the connection", at, false)
	b.fail(OutcomeSoft, "the node answered HTTP 500", at.Add(time.Second), true)
	if e := recent(0, a, b).LastError; e == nil || e.Outcome != OutcomeSoft || e.Reason != "the node answered HTTP 500" || !e.Check || !e.At.Equal(at.Add(time.Second)) {
		t.Errorf("the last error is %+v", e)
	}
}

func BenchmarkHistory(b *testing.B) {
	h := new(history)
	b.ReportAllocs()
	for i := range b.N {
		h.add(OutcomeOK, time.Duration(i%1000)*time.Microsecond, time.Hour+time.Duration(i)*time.Microsecond)
	}
}

// TestTheLastErrorSaysWhatFailed: a request or a check of the gateway's own.
func TestTheLastErrorSaysWhatFailed(t *testing.T) {
	f := run(t, "health {\ninterval 1h\nfast 1h\n}\nnode shop http://127.0.0.1:1 {\ndialect gateway\n}")
	shop := f.node("shop")
	f.app.Ping(t.Context(), shop)
	if e := shop.Recent().LastError; e == nil || !e.Check {
		t.Errorf("after a ping the last error is %+v", e)
	}
	if _, call := f.app.Search(t.Context(), shop, &SearchQuery{Text: "x", Limit: 1}); call.Err == nil {
		t.Fatal("the node answered")
	}
	if e := shop.Recent().LastError; e == nil || e.Check {
		t.Errorf("after a request the last error is %+v", e)
	}
}
