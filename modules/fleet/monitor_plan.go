package fleet

import (
	"container/heap"
	"time"
)

// plan is a heap of nodes by when their next check is due.
type plan []*planned

func (p plan) Len() int           { return len(p) }
func (p plan) Less(i, j int) bool { return p[i].due.Before(p[j].due) }
func (p plan) Swap(i, j int) {
	p[i], p[j] = p[j], p[i]
	p[i].index, p[j].index = i, j
}

// Push and Pop implement [heap.Interface].
func (p *plan) Push(x any) {
	w := x.(*planned)
	w.index = len(*p)
	*p = append(*p, w)
}

func (p *plan) Pop() any {
	old := *p
	w := old[len(old)-1]
	old[len(old)-1] = nil
	*p = old[:len(old)-1]
	w.index = -1
	return w
}

var _ heap.Interface = (*plan)(nil)

// checkSlot is the grid on which checks begin: a gateway that is woken ten
// times a second for twenty checks at once spends a third of what it spends
// when it is woken for each of them (BenchmarkProbingAThousandNodes).
const checkSlot = 100 * time.Millisecond

// slot is when a check that is due in a while begins: on the grid, whose step
// is a tenth of the while at most.
func (p *prober) slot(now time.Time, in time.Duration) time.Time {
	due, step := now.Add(in), min(checkSlot, in/10)
	if step <= 0 {
		return due
	}
	return due.Add(step - due.Sub(p.began)%step)
}
