package nodeapi

import "sync"

// maxStreams is how many streams of events one caller may have open at a
// gateway. A dashboard needs one for each window.
const maxStreams = 16

// streams counts the open streams of each caller.
type streams struct {
	mu   sync.Mutex
	open map[string]int
}

// begin counts one more, unless the caller has too many.
func (s *streams) begin(caller string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[caller] >= maxStreams {
		return false
	}
	if s.open == nil {
		s.open = make(map[string]int)
	}
	s.open[caller]++
	return true
}

// end gives one back.
func (s *streams) end(caller string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[caller]--; s.open[caller] == 0 {
		delete(s.open, caller)
	}
}
