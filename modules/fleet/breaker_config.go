package fleet

import (
	"fmt"
	"math"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
)

// BreakerConfig is when a node's circuit breaker opens and how it closes
// again. A field that is -1 turns its rule off; 0 is the default.
type BreakerConfig struct {
	// Off lets every call through and counts nothing. Default: false.
	Off bool `json:"off,omitempty"`
	// Consecutive is how many hard failures in a row open the breaker.
	// Default: 5.
	Consecutive int `json:"consecutive,omitempty"`
	// FailureRatio is the share of failed calls in the window that opens it,
	// above 0 and at most 1. Default: 0.5.
	FailureRatio float64 `json:"failure_ratio,omitempty"`
	// SlowRatio is the share of slow calls in the window that opens it, above
	// 0 and at most 1. Default: 0.8.
	SlowRatio float64 `json:"slow_ratio,omitempty"`
	// SlowAfter is how long a call takes that counts as slow. Default: 5s.
	SlowAfter caddy.Duration `json:"slow_after,omitempty"`
	// Window is how far back the ratios look, from 1s to 10m. Default: 10s.
	Window caddy.Duration `json:"window,omitempty"`
	// MinRequests is how many calls the window must hold for the ratios.
	// Default: 20.
	MinRequests int `json:"min_requests,omitempty"`
	// Open is how long it stays open first, and MaxOpen how long at most; the
	// time doubles with each opening until the breaker was closed for a
	// minute. Default: 5s and 5m.
	Open    caddy.Duration `json:"open,omitempty"`
	MaxOpen caddy.Duration `json:"max_open,omitempty"`
	// Probes is how many trial calls run at once, in the whole federation,
	// when the open time is over. Default: 1.
	Probes int `json:"probes,omitempty"`
	// Successes is how many trial calls in a row close it. Default: 2.
	Successes int `json:"successes,omitempty"`
	// Ramp is how long it takes after closing until all calls are let
	// through again, from one in ten on. Default: 10s.
	Ramp caddy.Duration `json:"ramp,omitempty"`
	// MaxEjected is the largest share of the nodes that may be out, counted
	// after the ejection; -1: all but one. Default: 0.5.
	MaxEjected float64 `json:"max_ejected,omitempty"`
	// Panic is the share of available nodes below which verdicts on traffic
	// are ignored. Default: 0.5.
	Panic float64 `json:"panic,omitempty"`
	// Shadow counts and reports, and never refuses a call unless an operator
	// forced the breaker open. Default: false.
	Shadow bool `json:"shadow,omitempty"`
}

// Validate checks the values. The error names the field and what was expected.
func (c *BreakerConfig) Validate() error {
	for _, ratio := range []struct {
		name  string
		value float64
	}{{"failure_ratio", c.FailureRatio}, {"slow_ratio", c.SlowRatio}, {"max_ejected", c.MaxEjected}, {"panic", c.Panic}} {
		if math.IsNaN(ratio.value) || ratio.value > 1 || ratio.value < 0 && ratio.value != -1 {
			return fmt.Errorf("%s %v is not a share above 0 and at most 1, or -1", ratio.name, ratio.value)
		}
	}
	for _, count := range []struct {
		name  string
		value int
		off   bool
	}{{"consecutive", c.Consecutive, true}, {"min_requests", c.MinRequests, false}, {"probes", c.Probes, false}, {"successes", c.Successes, false}} {
		if count.value < 0 && (!count.off || count.value != -1) || count.value > 1_000_000 {
			return fmt.Errorf("%s %d is not from 1 to 1000000", count.name, count.value)
		}
	}
	if c.Window != 0 && (c.Window < caddy.Duration(time.Second) || c.Window > caddy.Duration(10*time.Minute)) {
		return fmt.Errorf("window %v is not from 1s to 10m", time.Duration(c.Window))
	}
	for _, duration := range []struct {
		name  string
		value caddy.Duration
	}{{"slow_after", c.SlowAfter}, {"open", c.Open}, {"max_open", c.MaxOpen}} {
		if duration.value < 0 || duration.value > caddy.Duration(24*time.Hour) {
			return fmt.Errorf("%s %v is not above 0 and at most 24h", duration.name, time.Duration(duration.value))
		}
	}
	if c.Ramp < 0 && c.Ramp != -1 || c.Ramp > caddy.Duration(24*time.Hour) {
		return fmt.Errorf("ramp %v is not above 0 and at most 24h, or -1", time.Duration(c.Ramp))
	}
	if r := c.rules(); r != nil && r.OpenFirst > r.OpenLongest {
		return fmt.Errorf("open: the first time %v is longer than the longest %v", r.OpenFirst, r.OpenLongest)
	}
	return nil
}

// rules are the values with the defaults filled in; nil for a breaker that is
// off, and for a nil config the defaults.
func (c *BreakerConfig) rules() *breaker.Rules {
	r := breaker.Default
	if c == nil {
		return &r
	}
	if c.Off {
		return nil
	}
	r.Consecutive = orDefault(c.Consecutive, r.Consecutive)
	r.FailureRatio = orDefault(c.FailureRatio, r.FailureRatio)
	r.SlowRatio = orDefault(c.SlowRatio, r.SlowRatio)
	r.SlowAfter = orDefault(time.Duration(c.SlowAfter), r.SlowAfter)
	r.Window = orDefault(time.Duration(c.Window), r.Window)
	r.MinRequests = orDefault(c.MinRequests, r.MinRequests)
	r.OpenFirst = orDefault(time.Duration(c.Open), r.OpenFirst)
	r.OpenLongest = max(r.OpenLongest, r.OpenFirst)
	if c.MaxOpen != 0 {
		r.OpenLongest = time.Duration(c.MaxOpen)
	}
	r.Probes = orDefault(c.Probes, r.Probes)
	r.Successes = orDefault(c.Successes, r.Successes)
	r.Ramp = orDefault(time.Duration(c.Ramp), r.Ramp)
	r.Panic = orDefault(c.Panic, r.Panic)
	if c.MaxEjected != 0 {
		if r.MaxEjected = c.MaxEjected; c.MaxEjected < 0 {
			r.MaxEjected = 1
		}
	}
	r.Shadow = c.Shadow
	return &r
}

// orDefault is the value, the default when it is 0, and 0 when it is off.
func orDefault[T int | float64 | time.Duration](value, byDefault T) T {
	switch {
	case value == 0:
		return byDefault
	case value < 0:
		return 0
	default:
		return value
	}
}
