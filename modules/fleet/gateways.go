package fleet

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/store"
)

// How gateways of one store know each other.
const (
	gatewayBeat    = time.Second
	gatewayAlive   = 5 * time.Second // after the last beat
	gatewayTimeout = 2 * time.Second
	// trafficFor is how long after its last call a gateway has traffic to a node.
	trafficFor = 10 * time.Second
)

// gateways is what this gateway knows of the others that share its store.
type gateways struct {
	view atomic.Pointer[gatewaysView]
	// running counts the configs that beat: two while one replaces the other.
	running atomic.Int64
	ask     chan chan<- error // for a beat at once, by who waits for what is heard
	changed chan struct{}     // what this gateway says has changed
	others  otherFiles
}

func newGateways() gateways {
	return gateways{ask: make(chan chan<- error), changed: make(chan struct{}, 1)}
}

// gatewaysView is the others at one moment. It is never changed.
type gatewaysView struct {
	ids   []string // of all that are alive, this one included, sorted
	nodes map[string]peersOfNode
	names map[string]bool // in the Caddyfiles of the others
}

// peersOfNode is what the others say of one node.
type peersOfNode struct {
	inFlight int64
	traffic  int // how many have traffic to it
	health   map[Health]int
}

// gatewayWord is what a gateway tells the others.
type gatewayWord struct {
	Gateway Gateway             `json:"gateway"`
	Nodes   map[string]nodeWord `json:"nodes,omitempty"`
	// Names are those of the nodes in its Caddyfile, sorted.
	Names []string `json:"names,omitempty"`
}

// nodeWord is what it tells of one node; what is 0 is not told.
type nodeWord struct {
	InFlight int64  `json:"in_flight,omitempty"`
	Traffic  bool   `json:"traffic,omitempty"`
	Health   Health `json:"health,omitempty"`
}

// peers is what the other gateways say of a node.
func (g *gateways) peers(slug string) peersOfNode {
	if view := g.view.Load(); view != nil {
		return view.nodes[slug]
	}
	return peersOfNode{}
}

// alive are the ids of all gateways, nil when this one is alone.
func (g *gateways) alive() []string {
	if view := g.view.Load(); view != nil {
		return view.ids
	}
	return nil
}

// PeersInFlight is how many calls the other gateways of the federation had in
// flight to the node when they were last heard of, a second ago or so.
func (a *App) PeersInFlight(slug string) int64 { return a.shared.gateways.peers(slug).inFlight }

// beat tells the other gateways of this one, and hears of them, until ctx ends.
func (a *App) beat(ctx context.Context, members store.Members) {
	g, id := &a.shared.gateways, a.shared.circuits.gateway
	g.running.Add(1)
	ticker := time.NewTicker(gatewayBeat)
	defer ticker.Stop()
	traffic := make(map[*member]trafficSeen)
	heard, failing := time.Now(), false
	self := a.self()
	var waiting []chan<- error
	for {
		bounded, cancel := context.WithTimeout(ctx, gatewayTimeout)
		self.Skew = a.Members().Skew
		sent := time.Now()
		alive, storeNow, err := members.Beat(bounded, store.Member{ID: id, Data: a.word(self, traffic)}, gatewayAlive)
		cancel()
		switch {
		case err == nil:
			heard = time.Now()
			g.view.Store(a.viewOf(id, alive, heard))
			a.noteMembers(alive, storeNow, sent, heard)
		case time.Since(heard) > gatewayAlive:
			g.view.Store(nil)
			a.loseMembers()
		}
		if (err != nil) != failing && ctx.Err() == nil {
			if failing = err != nil; failing {
				a.logger.Error("the other gateways are not heard of", zap.Error(err))
			} else {
				a.logger.Info("the other gateways are heard of again")
			}
		}
		for _, heard := range waiting {
			heard <- err // has room
		}
		var more bool
		if waiting, more = g.next(ctx, ticker.C); more {
			continue
		}
		if g.running.Add(-1) == 0 {
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), gatewayTimeout)
			defer cancel()
			_ = members.Leave(last, id) // else the others wait until it is forgotten
			g.view.Store(nil)
		}
		return
	}
}

// hear lets the next beat be made at once, and waits for what the others say.
func (g *gateways) hear(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, 2*gatewayTimeout)
	defer cancel()
	heard := make(chan error, 1)
	select {
	case g.ask <- heard:
	case <-bounded.Done():
		return notHeard(ctx)
	}
	select {
	case err := <-heard:
		return err
	case <-bounded.Done():
		return notHeard(ctx)
	}
}

func notHeard(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return store.ErrUnavailable
}

// next waits for the time of the next beat, and returns who waits for it. It is
// false when ctx has ended.
func (g *gateways) next(ctx context.Context, tick <-chan time.Time) (waiting []chan<- error, more bool) {
	select {
	case <-ctx.Done():
		return nil, false
	case <-tick:
	case <-g.changed:
	case heard := <-g.ask:
		waiting = append(waiting, heard)
	}
	for {
		select {
		case heard := <-g.ask:
			waiting = append(waiting, heard)
		default:
			return waiting, true
		}
	}
}

// self is what does not change of this gateway while its config runs.
func (a *App) self() Gateway {
	return Gateway{Host: hostName(), Version: version(), Config: a.configHash()}
}

// trafficSeen is when the calls to a node last changed in number.
type trafficSeen struct {
	calls uint64
	at    time.Time
}

// word is what this gateway tells of itself and the nodes.
func (a *App) word(self Gateway, traffic map[*member]trafficSeen) []byte {
	now, word := time.Now(), gatewayWord{Gateway: self, Nodes: make(map[string]nodeWord), Names: a.shared.held.list()}
	nodes := a.Snapshot().Nodes
	stands := make(map[*member]bool, len(nodes))
	for _, n := range nodes {
		m := n.gate.member
		stands[m] = true
		calls, was := m.load.total(), traffic[m]
		if calls != was.calls {
			was = trafficSeen{calls, now}
			traffic[m] = was
		}
		said := nodeWord{InFlight: m.load.inFlight.Load(), Traffic: !was.at.IsZero() && now.Sub(was.at) < trafficFor, Health: m.health.own()}
		if said != (nodeWord{}) {
			word.Nodes[n.Slug] = said
		}
	}
	for m := range traffic {
		if !stands[m] {
			delete(traffic, m)
		}
	}
	data, err := json.Marshal(word)
	if err != nil {
		a.logger.Error("this gateway has nothing to tell the others", zap.Error(err))
	}
	return data
}

// viewOf reads what the others say. One whose word cannot be read is alive all
// the same.
func (a *App) viewOf(id string, alive []store.Member, now time.Time) *gatewaysView {
	view := &gatewaysView{nodes: make(map[string]peersOfNode)}
	files := make(map[string][]string, len(alive))
	for _, m := range alive {
		view.ids = append(view.ids, m.ID)
		if m.ID == id {
			continue
		}
		var word gatewayWord
		if err := json.Unmarshal(m.Data, &word); err != nil {
			a.logger.Error("what another gateway tells cannot be read", zap.String("gateway", m.ID), zap.Error(err))
			continue
		}
		files[m.ID] = word.Names
		for slug, said := range word.Nodes {
			peers := view.nodes[slug]
			peers.inFlight += max(said.InFlight, 0)
			if said.Traffic {
				peers.traffic++
			}
			if said.Health != "" {
				if peers.health == nil {
					peers.health = make(map[Health]int)
				}
				peers.health[said.Health]++
			}
			view.nodes[slug] = peers
		}
	}
	view.names = a.shared.gateways.others.names(files, now)
	return view
}
