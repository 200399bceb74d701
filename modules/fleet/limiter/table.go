package limiter

import (
	"hash/maphash"
	"math/bits"
	"sync"
	"time"
)

// table holds what is known of each key, in shards with a lock each. It is
// bounded, and gives back what is forgotten.
type table struct {
	seed     maphash.Seed
	base     time.Time
	capacity int // of a shard
	shards   [shardCount]shard

	mu      sync.Mutex
	sweeper *time.Timer
	closed  bool
}

const (
	shardCount = 64 // as many as a mask has bits
	sweepEvery = 5 * time.Second
	// sampled is how many keys of a full shard are looked at to find one that
	// makes room: the one of them that is closest to being unused.
	sampled = 8
)

type shard struct {
	mu   sync.Mutex
	keys map[string]*entry
	peak int      // the most keys since the map was made
	_    [40]byte // a cache line of its own
}

// entry is one key. Times are microseconds since the table's base, which the
// wall clock cannot change.
type entry struct {
	key     string
	policy  *Policy
	flight  *flight // what asks the store for more, or nil
	arrival int64   // theoretical arrival time, as far as this gateway knows
	recheck int64   // until then a refusal is remembered
	expires int64   // when the lease ends
	taken   int64   // when the lease was taken
	seen    int64   // when the key was asked for
	lasted  int64   // how long the lease took to be nearly used up, or 0 before
	allowed uint64
	refused uint64
	leased  int32 // events taken from the store and not used yet
	block   int32 // how many are taken ahead next time
	waiting int32 // events that wait for the flight to end
	owed    int32 // events admitted while the store was lost
	drained bool  // ran out: takes whole blocks only
}

func newTable(capacity int) *table {
	t := &table{seed: maphash.MakeSeed(), base: time.Now(), capacity: max(capacity/shardCount, sampled)}
	for i := range t.shards {
		t.shards[i].keys = make(map[string]*entry)
	}
	return t
}

func (t *table) now() int64 { return time.Since(t.base).Microseconds() }

// locked is the set of shards that a request holds.
type locked uint64

// lock takes the shards of all charges, in order, and says which is whose.
func (t *table) lock(charges []Charge, where *[MaxCharges]uint8) locked {
	var held locked
	for i := range charges {
		where[i] = uint8(maphash.Bytes(t.seed, charges[i].Key) % shardCount)
		held |= 1 << where[i]
	}
	t.hold(held)
	return held
}

// hold takes shards again.
func (t *table) hold(held locked) {
	for ; held != 0; held &= held - 1 {
		t.shards[bits.TrailingZeros64(uint64(held))].mu.Lock()
	}
}

func (t *table) unlock(held locked) {
	for ; held != 0; held &= held - 1 {
		t.shards[bits.TrailingZeros64(uint64(held))].mu.Unlock()
	}
}

// insert makes an entry in a shard that is held.
func (t *table) insert(s *shard, key []byte, policy *Policy) *entry {
	if len(s.keys) >= t.capacity {
		s.evict()
	}
	e := &entry{key: string(key), policy: policy, block: 1}
	s.keys[e.key] = e
	if s.peak = max(s.peak, len(s.keys)); len(s.keys) == 1 {
		t.arm()
	}
	return e
}

// evict makes room for one key.
func (s *shard) evict() {
	var victim *entry
	n := 0
	for _, e := range s.keys { // in an order of chance
		if e.flight == nil && e.waiting == 0 && (victim == nil || e.arrival < victim.arrival) {
			victim = e
		}
		if n++; n >= sampled && victim != nil {
			break
		}
	}
	if victim != nil {
		delete(s.keys, victim.key)
	}
}

// arm sees to it that the table is swept.
func (t *table) arm() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sweeper == nil && !t.closed {
		t.sweeper = time.AfterFunc(sweepEvery, t.sweep)
	}
}

// sweep forgets the keys that are as if never used, and comes again while
// there are others.
func (t *table) sweep() {
	left := 0
	for i := range t.shards {
		left += t.shards[i].sweep(t.now())
	}
	t.mu.Lock()
	t.sweeper = nil
	t.mu.Unlock()
	if left > 0 || t.size() > 0 {
		t.arm()
	}
}

func (s *shard) sweep(now int64) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, e := range s.keys {
		if e.arrival <= now && (e.leased == 0 || e.expires <= now) && e.flight == nil && e.waiting == 0 {
			delete(s.keys, key)
		}
	}
	// a map keeps the room it once had
	if s.peak > 2*sampled && len(s.keys) < s.peak/4 {
		smaller := make(map[string]*entry, len(s.keys))
		for key, e := range s.keys {
			smaller[key] = e
		}
		s.keys, s.peak = smaller, len(smaller)
	}
	return len(s.keys)
}

// close ends the sweeping. What is in the table can still be used.
func (t *table) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	if t.sweeper != nil {
		t.sweeper.Stop()
		t.sweeper = nil
	}
}

func (t *table) size() (n int) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		n += len(s.keys)
		s.mu.Unlock()
	}
	return n
}

func (t *table) shardOf(key string) *shard { return &t.shards[maphash.String(t.seed, key)%shardCount] }

// forget drops a key, and tells whether it was there.
func (t *table) forget(key string) bool {
	s := t.shardOf(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.keys[key]
	switch {
	case e == nil:
		return false
	case e.flight == nil && e.waiting == 0:
		delete(s.keys, key)
	default: // somebody holds it: as if it were new
		e.arrival, e.recheck, e.leased, e.owed, e.drained = 0, 0, 0, 0, false
	}
	return true
}
