package fleet

import (
	"sync"
	"sync/atomic"
	"time"
)

// maxUsedUp bounds how many paths of one node are remembered. Paths are the
// callers' to invent.
const maxUsedUp = 1024

// usedUp remembers of which paths a node's budget had nothing left, so that
// choosing among nodes asks no store.
type usedUp struct {
	last  atomic.Int64 // when the last of them has something again, since epoch
	mu    sync.RWMutex
	until map[string]time.Time // by path, which is empty when all share the budget
}

// any tells whether there is any such path. Nothing is cheaper.
func (u *usedUp) any() bool {
	if u == nil {
		return false
	}
	last := u.last.Load()
	return last != 0 && time.Since(epoch) < time.Duration(last)
}

func (u *usedUp) note(path string, until time.Time) {
	if u == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.until == nil {
		u.until = make(map[string]time.Time)
	}
	if _, known := u.until[path]; !known && len(u.until) >= maxUsedUp {
		now := time.Now()
		for other, end := range u.until {
			if !end.After(now) {
				delete(u.until, other)
			}
		}
		if len(u.until) >= maxUsedUp {
			return // whoever chooses the node is told when it spends
		}
	}
	u.until[path] = until
	u.last.Store(max(u.last.Load(), int64(until.Sub(epoch))))
}

// left is for how long yet there is nothing.
func (u *usedUp) left(path string) time.Duration {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return max(time.Until(u.until[path]), 0)
}
