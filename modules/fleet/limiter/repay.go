package limiter

import (
	"cmp"
	"slices"

	"github.com/caddy-federation/caddy-federation/store"
)

// What a gateway admitted by itself while the store was lost it owes to the
// store. When the store is back it pays, also for keys that nobody asks for
// again. Keys beyond maxRepaid, of which it owes least, and what does not fit
// into a key any more are paid with the key's next requests.
const (
	maxRepaid = 1 << 14
	// repaidAtOnce is how many keys one step in the store pays for.
	repaidAtOnce = 64
	// maxRepayments is how often a step is tried again with less, when others
	// take of the keys meanwhile, and all of it, when others ask for the keys.
	maxRepayments = 4
)

// debt is what is owed for one key.
type debt struct {
	key  string
	owed int32
}

// debts are the largest ones, the largest first.
func (t *table) debts(most int) []debt {
	var found []debt
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for _, e := range s.keys {
			if e.owed > 0 {
				found = append(found, debt{e.key, e.owed})
			}
		}
		s.mu.Unlock()
	}
	slices.SortFunc(found, func(a, b debt) int { return cmp.Compare(b.owed, a.owed) })
	return found[:min(most, len(found))]
}

// repay pays what is owed, in a few steps. It fails when the store does.
func (l *Limiter) repay(h *home) error {
	for range maxRepayments {
		var others []*flight
		for batch := range slices.Chunk(l.table.debts(maxRepaid), repaidAtOnce) {
			flying, err := l.repayBatch(h, batch)
			if err != nil {
				return err
			}
			others = append(others, flying...)
		}
		if len(others) == 0 {
			return nil
		}
		// they may take it along, or fail: those of a config that a reload ends
		for _, f := range others {
			select {
			case <-f.done:
			case <-h.ctx.Done():
				return h.ctx.Err()
			}
		}
	}
	return nil
}

// repayment is one key of a step.
type repayment struct {
	entry *entry
	order store.LimitPolicy
}

// repayBatch is one step. It returns the flights of the keys that it left out.
func (l *Limiter) repayBatch(h *home, batch []debt) (flying []*flight, err error) {
	f := &flight{done: make(chan struct{})}
	paying := make([]repayment, 0, len(batch))
	for _, d := range batch {
		s := l.table.shardOf(d.key)
		s.mu.Lock()
		switch e := s.keys[d.key]; {
		case e == nil || e.owed <= 0:
		case e.flight != nil:
			flying = append(flying, e.flight)
		default:
			e.flight = f
			paying = append(paying, repayment{e, e.policy.order(e.key, min(int(e.owed), e.policy.Burst))})
		}
		s.mu.Unlock()
	}
	paid, states, sent, err := h.pay(l.table, paying)
	for _, p := range paying {
		s := l.table.shardOf(p.entry.key)
		s.mu.Lock()
		if i := slices.IndexFunc(paid, func(o store.LimitPolicy) bool { return o.Key == p.entry.key }); i >= 0 && err == nil {
			p.entry.owed = max(p.entry.owed-int32(paid[i].Cost), 0)
			if !h.lost.Load() { // else it is this gateway's share that counts
				p.entry.arrival = sent + states[i].Reset.Microseconds()
			}
		}
		p.entry.flight = nil
		s.mu.Unlock()
	}
	f.failed = err != nil && h.ctx.Err() == nil
	close(f.done)
	return flying, err
}

// pay debits, of each key as much as fits, and tells what it debited.
func (h *home) pay(t *table, paying []repayment) (paid []store.LimitPolicy, states []store.LimitState, sent int64, err error) {
	for _, p := range paying {
		paid = append(paid, p.order)
	}
	for try := 0; try < maxRepayments && len(paid) > 0; try++ {
		sent = t.now()
		var allowed bool
		if allowed, states, err = h.ask(h.ctx, paid); err != nil || allowed {
			return paid, states, sent, err
		}
		left := paid[:0]
		for i, p := range paid {
			if states[i].RetryAfter != 0 {
				p.Cost = min(states[i].Remaining, p.Cost)
			}
			if p.Cost > 0 {
				left = append(left, p)
			}
		}
		paid = left
	}
	return nil, nil, sent, nil
}
