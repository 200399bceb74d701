package policy

import (
	"math"
	"sync"
	"testing"
	"time"
)

func (m *Meter) at(now time.Duration, inFlight float64) Candidate {
	return m.Candidate(now, inFlight, 1, 10*time.Second)
}

func near(got float64, expected time.Duration) bool {
	return math.Abs(got-expected.Seconds()) <= 1e-6+expected.Seconds()/1000
}

func TestLatencyIsAMovingAverage(t *testing.T) {
	var m Meter
	if got := m.at(0, 0).Latency; got != 0 {
		t.Errorf("before the first answer it is %v", got)
	}
	m.Success(time.Second, 100*time.Millisecond)
	if got := m.at(time.Second, 1).Latency; !near(got, 100*time.Millisecond) {
		t.Errorf("after one answer it is %v", got)
	}
	m.Success(time.Second, 200*time.Millisecond) // slower: counts 6.25 %
	if got := m.at(time.Second, 1).Latency; !near(got, 106250*time.Microsecond) {
		t.Errorf("after a slower answer it is %v", got)
	}
	m.Success(time.Second, 6250*time.Microsecond) // faster: 5 %
	if got := m.at(time.Second, 1).Latency; !near(got, 101250*time.Microsecond) {
		t.Errorf("after a faster answer it is %v", got)
	}
	// an old average counts for less: after ten seconds 1/e
	m.Success(11*time.Second, 0)
	if got := m.at(11*time.Second, 1).Latency; !near(got, 37248*time.Microsecond) {
		t.Errorf("after ten seconds and an instant answer it is %v", got)
	}
}

func TestIdleNodeIsForgottenSlowly(t *testing.T) {
	var m Meter
	m.Success(0, time.Second)
	for _, c := range []struct{ at, expected time.Duration }{
		{9 * time.Second, time.Second}, {20 * time.Second, 367879 * time.Microsecond}, {60 * time.Second, 6738 * time.Microsecond},
	} {
		if got := m.at(c.at, 0).Latency; !near(got, c.expected) {
			t.Errorf("idle until %v it is %v, expected %v", c.at, got, c.expected)
		}
		if got := m.at(c.at, 1).Latency; !near(got, time.Second) {
			t.Errorf("busy at %v it is %v", c.at, got)
		}
	}
}

func TestFailuresAreCharged(t *testing.T) {
	var m Meter
	m.Success(0, 10*time.Millisecond)
	now := time.Second
	for i, expected := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 5 * time.Second, 5 * time.Second} {
		m.Failure(now, time.Millisecond, 0)
		if got := m.at(now, 0).Latency; !near(got, expected) {
			t.Errorf("failure %d is charged %v, expected %v", i+1, got, expected)
		}
		if got := m.at(now+expected/2, 0).Latency; !near(got, expected/2) {
			t.Errorf("half of the charge later it is %v", got)
		}
		now += expected
		if got := m.at(now, 0).Latency; got > 0.0101 {
			t.Errorf("after the charge it is %v", got)
		}
		if got := m.at(now, 1).Latency; !near(got, expected) {
			t.Errorf("while one request tries it, it is %v, expected %v", got, expected)
		}
	}
	for range 3 {
		m.Success(now, 10*time.Millisecond)
	}
	if got := m.at(now, 1).Latency; !near(got, 10*time.Millisecond) {
		t.Errorf("after as many successes it is %v", got)
	}
	m.Failure(now, 30*time.Second, 0)
	if got := m.at(now, 0).Latency; !near(got, 30*time.Second) {
		t.Errorf("a failure after 30 s is charged %v", got)
	}
	m.Failure(now, time.Millisecond, time.Minute)
	if got := m.at(now+10*time.Second, 0).Latency; !near(got, 50*time.Second) {
		t.Errorf("ten seconds into a Retry-After of a minute it is %v", got)
	}
}

func TestSlowStart(t *testing.T) {
	var m Meter
	at := func(now time.Duration, expected float64) {
		t.Helper()
		m.See(now, true)
		if got := m.at(now, 0).Ramp; math.Abs(got-expected) > 1e-6 {
			t.Errorf("at %v it is %v, expected %v", now, got, expected)
		}
	}
	at(time.Minute, 0.1)
	at(time.Minute+500*time.Millisecond, 0.1)
	at(time.Minute+5*time.Second, 0.5)
	var newcomer Meter
	newcomer.See(time.Minute+5*time.Second, true) // does not disturb it
	at(time.Minute+10*time.Second, 1)
	m.See(2*time.Minute, false)
	m.See(3*time.Minute, false)
	at(4*time.Minute, 0.1) // back: from the start
	at(4*time.Minute+7*time.Second, 0.7)
	if got := m.Candidate(4*time.Minute, 0, 1, 0).Ramp; got != 1 {
		t.Errorf("without slow start it is %v", got)
	}
}

func TestMeterIsForManyGoroutines(t *testing.T) {
	var m Meter
	var group sync.WaitGroup
	for g := range 4 {
		group.Go(func() {
			for i := range 1000 {
				now := time.Duration(i) * time.Millisecond
				m.See(now, i%50 != 0)
				if (i+g)%10 == 0 {
					m.Failure(now, time.Millisecond, 0)
				} else {
					m.Success(now, 10*time.Millisecond)
				}
				if c := m.at(now, 1); !(c.Latency >= 0) || !(c.Ramp > 0) {
					t.Errorf("%+v", c)
				}
			}
		})
	}
	group.Wait()
}
