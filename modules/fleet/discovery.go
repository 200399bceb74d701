package fleet

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"
)

// How often nodes are asked what they hold.
const (
	discoveryTick    = time.Second
	discoveryRetry   = 10 * time.Second // while a node does not answer or is not well
	discoveryRefresh = 5 * time.Minute  // once it did
	discoveryTimeout = 5 * time.Second
	discoveryAtOnce  = 8
)

// discovery learns what the nodes say of themselves, so that a search need
// not ask first. It judges nobody: no node is taken out for its answer here.
type discovery struct {
	app *App

	mu  sync.Mutex
	due map[*member]time.Time
	// told remembers what was logged of a node, so that each change is told once.
	told map[*member]string
}

// run looks after all nodes until ctx ends, and returns when its last probe has.
func (d *discovery) run(ctx context.Context) {
	d.due, d.told = make(map[*member]time.Time), make(map[*member]string)
	ticker := time.NewTicker(discoveryTick)
	defer ticker.Stop()
	for {
		d.round(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// round probes every node that is due, a few at once.
func (d *discovery) round(ctx context.Context) {
	nodes := d.app.Snapshot().Nodes
	now := time.Now()
	d.forget(nodes)
	var group sync.WaitGroup
	places := make(chan struct{}, discoveryAtOnce)
	for _, node := range nodes {
		if node.AdminState == AdminDisabled || node.AdminState == AdminPending || now.Before(d.dueAt(node.gate.member)) {
			continue
		}
		places <- struct{}{}
		group.Go(func() {
			defer func() { <-places }()
			probe, cancel := context.WithTimeout(ctx, discoveryTimeout)
			defer cancel()
			report, call := d.app.Probe(probe, node)
			wait := discoveryRefresh
			if report == nil || report.Health == HealthDegraded || report.Health == HealthUnhealthy {
				wait = discoveryRetry
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			d.due[node.gate.member] = now.Add(time.Duration((0.8 + 0.4*rand.Float64()) * float64(wait)))
			if ctx.Err() == nil {
				d.tell(node, report, call)
			}
		})
	}
	group.Wait()
}

func (d *discovery) tell(node *Node, report *Report, call Call) {
	said := Describe(call.Err)
	if report != nil {
		said = string(report.Health) + " " + report.Dialect + " " + report.Reason
	}
	if d.told[node.gate.member] == said {
		return
	}
	d.told[node.gate.member] = said
	slug, url := zap.String("node", node.Slug), zap.String("url", node.URL.String())
	switch {
	case report == nil:
		d.app.logger.Warn("node was not understood", slug, url, zap.String("reason", said), zap.NamedError("cause", call.Err))
	case report.Health == HealthHealthy || report.Health == HealthUnknown:
		d.app.logger.Info("node answers", slug, url, zap.String("dialect", report.Dialect), zap.Int("collections", len(report.Collections)))
	default:
		d.app.logger.Warn("node says that it is not healthy", slug, url, zap.String("health", string(report.Health)), zap.String("reason", report.Reason))
	}
}

// forget drops what is remembered of nodes that are gone.
func (d *discovery) forget(nodes []*Node) {
	if len(d.due) <= len(nodes) {
		return
	}
	stands := make(map[*member]bool, len(nodes))
	for _, n := range nodes {
		stands[n.gate.member] = true
	}
	for m := range d.due {
		if !stands[m] {
			delete(d.due, m)
			delete(d.told, m)
		}
	}
}

func (d *discovery) dueAt(m *member) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.due[m]
}
