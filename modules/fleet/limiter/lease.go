package limiter

import (
	"context"
	"errors"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
)

// A key that is in demand takes events ahead of it, so that most requests need
// not ask the store. What is leased has been debited, so all gateways together
// never admit more than the budget; what is not used within leaseTime is lost
// to it. A block holds what the gateway itself used up within leaseSpan, at
// most what the rate allows in that time, so a key that is asked for rarely,
// or whose limit is low, has blocks of one and is exact.
const (
	leaseSpan = 50 * time.Millisecond
	leaseTime = 250 * time.Millisecond
	maxBlock  = 64
	// maxWaiting is how many waiting events one step asks for: they are not ahead.
	maxWaiting = 4096
	// refusalTime is how long a refusal is remembered at most, so that a key
	// that was reset elsewhere is free here soon.
	refusalTime = time.Second
	// maxFlights is how often one request asks the store while others take
	// away what it asked for.
	maxFlights = 4
)

// slow is how long a block lasted that was not used up in time.
const slow = int64(time.Hour / time.Microsecond)

// flight is one step in the store that is under way. There is at most one for
// a key; other requests for the key wait for it.
type flight struct {
	done   chan struct{}
	failed bool // before done is closed
}

// pass is one request under way.
type pass struct {
	where [MaxCharges]uint8
	found [MaxCharges]*entry
	least [MaxCharges]int32 // what the store must give
}

// takeShared decides by leases, and asks the store where there is none.
func (l *Limiter) takeShared(ctx context.Context, h *home, charges []Charge, states []store.LimitState, failure Failure) Decision {
	var p pass
	held := l.table.lock(charges, &p.where)
	for flights := 0; ; {
		now := l.table.now()
		lacking, refused := l.inspect(&p, charges, now)
		if refused || lacking != 0 && flights == maxFlights {
			p.refuse(charges, states, now)
			l.table.unlock(held)
			return Refused
		}
		if lacking == 0 {
			l.debit(h, &p, charges, states, now)
			l.table.unlock(held)
			return Allowed
		}
		if i := p.flying(lacking, len(charges)); i >= 0 {
			e := p.found[i]
			f, cost := e.flight, int32(min(charges[i].Cost, maxWaiting))
			e.waiting += cost
			l.table.unlock(held)
			select {
			case <-f.done:
			case <-ctx.Done():
			}
			l.table.hold(held)
			e.waiting -= cost
			if ctx.Err() != nil {
				l.table.unlock(held)
				return Left
			}
			if f.failed {
				l.table.unlock(held)
				return l.takeLost(h, charges, states, failure)
			}
			continue
		}
		flights++
		err := l.fly(ctx, h, &p, charges, lacking, held, now)
		if err == nil {
			continue
		}
		l.table.unlock(held)
		if errors.Is(err, store.ErrClosed) && l.home.Load() != h { // a reload: there is another
			return l.Take(ctx, charges, states, failure)
		}
		return l.takeLost(h, charges, states, failure)
	}
}

// inspect finds out which charges have no lease to be paid from, and whether
// one is known to be refused.
func (l *Limiter) inspect(p *pass, charges []Charge, now int64) (lacking uint16, refused bool) {
	for i := range charges {
		c := &charges[i]
		s := &l.table.shards[p.where[i]]
		e := s.keys[string(c.Key)]
		if e == nil {
			e = l.table.insert(s, c.Key, c.Policy)
		}
		p.found[i], e.policy = e, c.Policy
		if e.leased > 0 && now >= e.expires {
			e.leased, e.block, e.lasted = 0, 1, slow
		}
		if now-e.seen > leaseTime.Microseconds() {
			e.block, e.drained, e.lasted = 1, false, slow
		}
		e.seen = now
		if int(e.leased) >= c.Cost {
			continue
		}
		least := c.Cost - int(e.leased)
		if e.drained {
			least = max(least, min(int(e.block), c.Policy.Burst))
		}
		p.least[i] = int32(min(least, 1<<30))
		if c.Cost > c.Policy.Burst || now < e.recheck && c.Policy.have(e.arrival, now) < least {
			refused = true
		}
		lacking |= 1 << i
	}
	return lacking, refused
}

// refuse says what each policy says when the request is refused.
func (p *pass) refuse(charges []Charge, states []store.LimitState, now int64) {
	for i := range charges {
		c, e := &charges[i], p.found[i]
		e.refused++
		need := 0
		switch {
		case c.Cost > c.Policy.Burst:
			need = c.Cost
		case int(e.leased) >= c.Cost:
		case c.Policy.have(e.arrival, now) < int(p.least[i]):
			need = int(p.least[i])
		}
		states[i] = c.Policy.state(e.arrival, now, int(e.leased), need)
	}
}

// debit pays all charges from their leases.
func (l *Limiter) debit(h *home, p *pass, charges []Charge, states []store.LimitState, now int64) {
	for i := range charges {
		c, e := &charges[i], p.found[i]
		e.leased -= int32(c.Cost)
		e.allowed++
		if e.lasted == 0 && e.leased*4 <= e.block {
			e.lasted = max(now-e.taken, 1)
		}
		states[i] = c.Policy.state(e.arrival, now, int(e.leased), 0)
		// take the next block before this one is used up
		if e.block >= 4 && e.leased*4 <= e.block && e.flight == nil && !e.drained && c.Policy.have(e.arrival, now) >= int(e.block) {
			l.startPrefetch(h, &l.table.shards[p.where[i]], e)
		}
	}
}

// flying returns a lacking charge whose key has a flight under way, or -1.
func (p *pass) flying(lacking uint16, n int) int {
	for i := range n {
		if lacking&(1<<i) != 0 && p.found[i].flight != nil {
			return i
		}
	}
	return -1
}

// order is what to ask the store for.
func (e *entry) order(least int, now int64) store.LimitPolicy {
	want := max(int(e.block), least+int(min(e.waiting, maxWaiting)))
	if have := e.policy.have(e.arrival, now); have >= least {
		want = min(want, have) // others may have taken of it, nobody gave
	}
	return e.policy.order(e.key, min(max(want, least)+int(e.owed), e.policy.Burst))
}

// fly asks the store for what is lacking, in one step. The shards are held
// before and after, and not meanwhile.
func (l *Limiter) fly(ctx context.Context, h *home, p *pass, charges []Charge, lacking uint16, held locked, now int64) error {
	f := &flight{done: make(chan struct{})}
	var entries []*entry
	var order []store.LimitPolicy
	var least []int
	for i := range charges {
		if lacking&(1<<i) == 0 {
			continue
		}
		e := p.found[i]
		e.flight = f
		entries, least = append(entries, e), append(least, int(p.least[i]))
		order = append(order, e.order(int(p.least[i]), now))
	}
	l.table.unlock(held)
	// others wait for the answer too, so it does not end with this caller
	allowed, states, sent, err := l.negotiate(context.WithoutCancel(ctx), h, order, least)
	l.table.hold(held)
	for i, e := range entries {
		if err == nil {
			e.settle(h, allowed, order[i].Cost, states[i], sent, l.table.now())
		}
		e.flight = nil
	}
	f.failed = err != nil
	close(f.done)
	return err
}

// negotiate asks the store, and when it refuses because the blocks are too
// large, for less. order is left as it was asked last, at the time sent.
func (l *Limiter) negotiate(ctx context.Context, h *home, order []store.LimitPolicy, least []int) (allowed bool, states []store.LimitState, sent int64, err error) {
	for last := false; ; last = true {
		sent = l.table.now()
		allowed, states, err = h.ask(ctx, order)
		if err != nil || allowed {
			return allowed, states, sent, err
		}
		smaller := false
		for i, s := range states {
			if s.RetryAfter == 0 {
				continue
			}
			if s.Remaining < least[i] {
				return false, states, sent, nil
			}
			fits := min(s.Remaining, order[i].Cost)
			if last { // somebody took of it meanwhile
				fits = least[i]
			}
			smaller = smaller || fits < order[i].Cost
			order[i].Cost = fits
		}
		if !smaller {
			return false, states, sent, nil
		}
	}
}

// settle keeps what the store answered now to what was sent.
func (e *entry) settle(h *home, allowed bool, cost int, state store.LimitState, sent, now int64) {
	arrival := sent + state.Reset.Microseconds()
	if !allowed {
		if state.RetryAfter != 0 { // the others would have agreed, and were not debited
			e.arrival, e.recheck = arrival, sent+refusalTime.Microseconds()
			e.drained = e.block > 1
		}
		return
	}
	if e.lasted > 0 && e.lasted <= leaseSpan.Microseconds() {
		span := leaseSpan.Microseconds() / e.policy.emission
		most := min(span, maxBlock, int64(max(e.policy.Burst/max(h.gateways(), 1), 1)))
		e.block = int32(max(min(2*int64(e.block), most), 1))
	} else if e.lasted > 2*leaseSpan.Microseconds() {
		e.block = max(e.block/2, 1)
	}
	e.lasted = 0
	paid := min(int32(cost), e.owed)
	e.owed -= paid
	e.leased += int32(cost) - paid
	e.arrival, e.taken, e.expires = arrival, sent, now+leaseTime.Microseconds()
	switch have := e.policy.have(arrival, sent); {
	case have == 0:
		e.drained = e.block > 1
	case have >= int(e.block):
		e.drained = false
	}
}

func (l *Limiter) startPrefetch(h *home, s *shard, e *entry) {
	f := &flight{done: make(chan struct{})}
	if h.start(func() { l.prefetch(h, s, e, f) }) {
		e.flight = f
	}
}

// prefetch takes the next block of a key ahead.
func (l *Limiter) prefetch(h *home, s *shard, e *entry, f *flight) {
	s.mu.Lock()
	order := []store.LimitPolicy{e.order(1, l.table.now())}
	s.mu.Unlock()
	allowed, states, sent, err := l.negotiate(h.ctx, h, order, []int{1})
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		e.settle(h, allowed, order[0].Cost, states[0], sent, l.table.now())
	}
	e.flight = nil
	f.failed = err != nil && h.ctx.Err() == nil
	close(f.done)
}
