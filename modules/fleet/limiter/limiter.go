package limiter

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/caddy-federation/caddy-federation/store"
)

// MaxCharges is how many policies one request can be charged by.
const MaxCharges = 16

// MaxKeys is how many keys a limiter remembers. Of more, those that are
// closest to being unused are forgotten.
const MaxKeys = 1 << 17

// Limiter decides on rate limits. Without a store it decides wholly by
// itself; see [Limiter.Attach]. All its methods may be called by many
// goroutines.
type Limiter struct {
	table      *table
	home       atomic.Pointer[home]
	operations atomic.Uint64
}

// New returns a limiter that remembers at most about maxKeys keys.
func New(maxKeys int) *Limiter { return &Limiter{table: newTable(maxKeys)} }

// Close ends what the limiter does by itself. It can still decide after that.
func (l *Limiter) Close() { l.table.close() }

// Charge is what one request costs by one policy.
type Charge struct {
	Policy *Policy
	// Key tells whose events are counted together: at most [store.MaxKey]
	// bytes, not empty. The limiter does not keep the slice.
	Key []byte
	// Cost is how many events the request counts for, at least 1.
	Cost int
}

// Failure is what a limiter does when the store it shares cannot be used.
type Failure uint8

// ParseFailure reads local, open or closed.
func ParseFailure(word string) (Failure, error) {
	switch word {
	case "local":
		return Local, nil
	case "open":
		return Open, nil
	case "closed":
		return Closed, nil
	default:
		return Local, fmt.Errorf("%q is not local, open or closed", word)
	}
}

const (
	// Local admits the limit divided by the number of gateways last seen.
	Local Failure = iota
	// Open admits everything.
	Open
	// Closed admits nothing.
	Closed
)

// String is the word that [ParseFailure] reads.
func (f Failure) String() string { return [...]string{"local", "open", "closed"}[f] }

// Decision is the answer to a request.
type Decision uint8

const (
	// Allowed: all policies agreed and were debited.
	Allowed Decision = iota
	// Refused: a policy refused, and none was debited.
	Refused
	// Unchecked: the store cannot be used and the request is let through.
	Unchecked
	// Unavailable: the store cannot be used and the request is refused.
	Unavailable
	// Left: the caller's context ended first, and nothing was debited.
	Left
)

// Take checks all charges, which have distinct keys, and debits them when all
// policies agree, in one step. states, as long as charges, receives what each
// policy says then; after Unchecked, Unavailable and Left they say nothing.
func (l *Limiter) Take(ctx context.Context, charges []Charge, states []store.LimitState, failure Failure) Decision {
	h := l.home.Load()
	if h == nil {
		return l.takeLocal(charges, states, 1, false)
	}
	if h.lost.Load() {
		return l.takeLost(h, charges, states, failure)
	}
	return l.takeShared(ctx, h, charges, states, failure)
}

// takeLocal decides by what this process knows, as one of several gateways.
func (l *Limiter) takeLocal(charges []Charge, states []store.LimitState, gateways int, owe bool) Decision {
	var where [MaxCharges]uint8
	var found [MaxCharges]*entry
	var next [MaxCharges]int64
	held := l.table.lock(charges, &where)
	defer l.table.unlock(held)
	now := l.table.now()
	allowed := true
	for i := range charges {
		c := &charges[i]
		var arrival int64
		if found[i] = l.table.shards[where[i]].keys[string(c.Key)]; found[i] != nil {
			arrival = found[i].arrival
		}
		next[i], states[i] = store.GCRA(arrival, now, c.Policy.share(gateways, c.Cost))
		allowed = allowed && states[i].RetryAfter == 0
	}
	for i := range charges {
		c, e := &charges[i], found[i]
		if e == nil {
			if !allowed {
				continue
			}
			e = l.table.insert(&l.table.shards[where[i]], c.Key, c.Policy)
		}
		e.policy = c.Policy
		if !allowed {
			e.refused++
			continue
		}
		e.allowed++
		if e.arrival = next[i]; owe {
			e.owed = int32(min(int64(e.owed)+int64(c.Cost), int64(c.Policy.Burst)))
			e.recheck = 0
		}
	}
	if allowed {
		return Allowed
	}
	for i := range charges {
		if states[i].RetryAfter == 0 { // it agreed, and was not debited
			var arrival int64
			if found[i] != nil {
				arrival = found[i].arrival
			}
			states[i] = charges[i].Policy.state(arrival, now, 0, 0)
		}
	}
	return Refused
}

// takeLost decides while the store cannot be used.
func (l *Limiter) takeLost(h *home, charges []Charge, states []store.LimitState, failure Failure) Decision {
	switch failure {
	case Open:
		return Unchecked
	case Closed:
		return Unavailable
	default:
		return l.takeLocal(charges, states, max(h.gateways(), 1), true)
	}
}

// Reset forgets a key, here and in the store, and tells whether it was known.
// Other gateways see it within a second, apart from what they have leased.
// When the store fails, or is lost, the key is forgotten here alone: also when
// a store that takes nothing more could still forget it, because the others
// go on without the store then.
func (l *Limiter) Reset(ctx context.Context, key string) (known bool, err error) {
	if h := l.home.Load(); h != nil {
		known, err = h.limits.Reset(ctx, key)
		if err == nil && h.lost.Load() {
			err = store.ErrUnavailable
		}
		if err != nil {
			err = fmt.Errorf("resetting a key of the rate limits: %w", err)
		}
	}
	return l.table.forget(key) || known, err
}

// Top returns the n keys about which this gateway decided most, of those it
// remembers and that wanted, unless it is nil, agrees to. It looks at all of
// them: do not call it per request.
func (l *Limiter) Top(n int, wanted func(policy string) bool) []Usage { return l.table.top(n, wanted) }

// Keys is how many keys the limiter remembers.
func (l *Limiter) Keys() int { return l.table.size() }

// Lost tells whether there is a shared store that cannot be used now.
func (l *Limiter) Lost() bool {
	h := l.home.Load()
	return h != nil && h.lost.Load()
}

// Operations is how often a shared store was asked.
func (l *Limiter) Operations() uint64 { return l.operations.Load() }
