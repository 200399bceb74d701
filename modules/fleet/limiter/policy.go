// Package limiter decides on rate limits: by GCRA in this process, and for
// gateways that share a store with leases of it, so that hardly any request
// waits for the store.
package limiter

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/caddy-federation/caddy-federation/store"
)

// Policy is one limit, for any number of keys. It is never changed.
type Policy struct {
	// Name is for people, headers and metrics. Two policies that are to count
	// apart have keys that differ.
	Name string
	// Limit is how many events a window allows.
	Limit int
	// Window is what Limit is counted over.
	Window time.Duration
	// Burst is how many events fit at once.
	Burst int

	emission int64 // microseconds in which one event is forgotten
}

// Bounds of a policy. Stores count in whole microseconds, rounded up: above
// 10,000 events a second the rounding takes up to a hundredth or more of them.
const (
	maxRate   = 100_000 // events a second
	maxWindow = 366 * 24 * time.Hour
	maxBurst  = 1 << 30
)

// NewPolicy checks a policy. A burst of 0 is the limit.
func NewPolicy(name string, limit int, window time.Duration, burst int) (*Policy, error) {
	switch {
	case limit < 1 || limit > maxBurst:
		return nil, fmt.Errorf("the limit %d is not from 1 to %d", limit, maxBurst)
	case window < time.Millisecond || window > maxWindow:
		return nil, fmt.Errorf("the window %v is not from 1ms to 8784h", window)
	case float64(limit) > maxRate*window.Seconds():
		return nil, fmt.Errorf("%d events in %v are more than %d a second", limit, window, maxRate)
	case burst < 0 || burst > maxBurst:
		return nil, fmt.Errorf("the burst %d is not from 1 to %d", burst, maxBurst)
	}
	if burst == 0 {
		burst = limit
	}
	micros := (window + time.Microsecond - 1).Microseconds()
	p := &Policy{Name: name, Limit: limit, Window: window, Burst: burst}
	p.emission = (micros + int64(limit) - 1) / int64(limit)
	if int64(burst) > int64(10*maxWindow/time.Microsecond)/p.emission {
		return nil, fmt.Errorf("a burst of %d takes longer than ten years to be forgotten", burst)
	}
	return p, nil
}

// order is what a store is asked for.
func (p *Policy) order(key string, cost int) store.LimitPolicy {
	return store.LimitPolicy{Key: key, Emission: time.Duration(p.emission) * time.Microsecond, Burst: p.Burst, Cost: cost}
}

// share is what one of several gateways may admit by itself. What was used
// before is the same share of it: a key whose theoretical arrival time is
// known stays as full as it was.
func (p *Policy) share(gateways, cost int) store.LimitPolicy {
	own := p.order("", cost)
	if gateways > 1 {
		own.Emission *= time.Duration(gateways)
		own.Burst = max(p.Burst/gateways, min(cost, p.Burst), 1)
	}
	return own
}

// state is a key's state when nothing is taken, with leased events in hand.
// need is how many more a request waits for; 0 when it does not wait.
func (p *Policy) state(arrival, now int64, leased, need int) store.LimitState {
	used := max(arrival-now, 0)
	tolerance := p.emission * int64(p.Burst)
	s := store.LimitState{
		Remaining: leased + int(max(tolerance-used, 0)/p.emission),
		Reset:     time.Duration(max(used-p.emission*int64(leased), 0)) * time.Microsecond,
	}
	if need > p.Burst {
		s.RetryAfter = -1
	} else if need > 0 {
		s.RetryAfter = time.Duration(max(used+p.emission*int64(need)-tolerance, 1)) * time.Microsecond
	}
	return s
}

// have is how many events fit now.
func (p *Policy) have(arrival, now int64) int {
	return int(max(p.emission*int64(p.Burst)-max(arrival-now, 0), 0) / p.emission)
}

// MaxKey is how long a key may be.
const MaxKey = store.MaxKey

// maxKeyText is how long the part of a key that others choose may be.
const maxKeyText = 192

// ShortenKey makes sure that a key is neither too long for a store nor takes
// much room, and that it is UTF-8, so that people and programs can name it: of
// what stands after begin, at most 192 bytes stay, and of a longer text, or
// one that is no UTF-8, the rest is its hash. What stands before must be short.
func ShortenKey(key []byte, begin int) []byte {
	text := key[begin:]
	if len(text) <= maxKeyText && utf8.Valid(text) {
		return key
	}
	sum := sha256.Sum256(text)
	kept := bytes.ToValidUTF8(text[:min(len(text), maxKeyText/2)], nil)
	key = append(append(key[:begin], kept...), '~')
	return hex.AppendEncode(key, sum[:16])
}
