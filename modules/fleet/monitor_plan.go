package fleet

import "container/heap"

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
