package balancer

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

func init() { caddy.RegisterModule(new(Upstreams)) }

// Upstreams is `dynamic federation`: the federation's nodes as the upstreams of
// a reverse_proxy. A node is one while it is enabled, fits what is asked for,
// and its circuit breaker is not open. When none is, the request is answered
// with 503.
//
// Nodes with http and with https URLs stand side by side, and a node's path
// stands before the request's, when `transport federation` is used; with another
// transport only those nodes are upstreams that it can reach, the ones of its
// scheme that have no path, and that did not choose their URL themselves: no
// other transport looks at the addresses that their names stand for later.
type Upstreams struct {
	// Capabilities that a node must have, all of them. Default: none.
	Capabilities []string `json:"capabilities,omitempty"`
	// Nodes are the slugs to choose from. Default: all.
	Nodes []string `json:"nodes,omitempty"`
	// Domains of which a node must have one. Default: any.
	Domains []string `json:"domains,omitempty"`

	app       *fleet.App
	logger    *zap.Logger
	transport *Transport // ours, in the same handler; nil: another
	tls       bool       // another one speaks TLS
	selection *Selection // ours, when it may choose without Caddy
	memory    *memory
	release   func() error
	current   atomic.Pointer[selected]
}

// selected are the nodes that fit, as they were at one moment.
type selected struct {
	snapshot *fleet.Snapshot
	made     time.Time
	targets  []*target
}

// factsAge is how long what nodes say of themselves is relied upon.
const factsAge = time.Second

// CaddyModule returns the Caddy module information.
func (*Upstreams) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.upstreams.federation", New: func() caddy.Module { return new(Upstreams) }}
}

// Provision finds the federation.
func (u *Upstreams) Provision(ctx caddy.Context) (err error) {
	u.logger = ctx.Logger()
	for _, slug := range u.Nodes {
		if !fleet.ValidSlug(slug) {
			return fmt.Errorf("nodes: %q is not a slug", slug)
		}
	}
	if u.app, err = fleet.FromContext(ctx); err != nil {
		return err
	}
	// Caddy loads a handler's transport and policy before its upstreams
	if handler := handlerOf(ctx); handler != nil {
		u.transport, _ = handler.Transport.(*Transport)
		if other, ok := handler.Transport.(reverseproxy.TLSTransport); ok {
			u.tls = other.TLSEnabled()
		}
		checked := handler.CB != nil || handler.HealthChecks != nil && handler.HealthChecks.Passive != nil
		if balancing := handler.LoadBalancing; u.transport != nil && balancing != nil && !checked {
			u.selection, _ = balancing.SelectionPolicy.(*Selection)
		}
	}
	u.memory, u.release, err = holdMemory(originNodes + u.app.Name)
	return err
}

// Cleanup releases what Provision took. It also runs after a Provision that failed.
func (u *Upstreams) Cleanup() error {
	if u.release == nil {
		return nil
	}
	return u.release()
}

// GetUpstreams implements [reverseproxy.UpstreamSource].
//
// Beside our own policy and transport it returns the one upstream that the
// policy chooses: making values of all nodes for each request, and having Caddy
// look each of them up, costs more than everything else that is done here.
func (u *Upstreams) GetUpstreams(r *http.Request) ([]*reverseproxy.Upstream, error) {
	targets := u.matching()
	if len(targets) == 0 {
		return []*reverseproxy.Upstream{}, nil
	}
	a := beginAttempts(r)
	if u.selection != nil {
		i := u.selection.choose(nil, targets, a, r)
		if i < 0 {
			a.upstreams, a.targets, a.refusing = nil, nil, targets
			return []*reverseproxy.Upstream{}, nil
		}
		return a.decide(targets[i]), nil
	}
	spending := u.transport.spending(r)
	values := make([]reverseproxy.Upstream, len(targets)) // Caddy writes into them
	a.upstreams, a.targets, a.decided = make([]*reverseproxy.Upstream, 0, len(targets)), make([]*target, 0, len(targets)), false
	for i, t := range targets {
		if t.refusal() == "" && t.usedUp(spending) == 0 {
			values[i].Dial = t.dial
			a.upstreams, a.targets = append(a.upstreams, &values[i]), append(a.targets, t)
		}
	}
	if len(a.upstreams) == 0 {
		a.refusing = targets
	}
	return a.upstreams, nil
}

// matching returns the nodes that fit, from memory while nothing has changed.
func (u *Upstreams) matching() []*target {
	snapshot := u.app.Snapshot()
	last := u.current.Load()
	if last != nil && last.snapshot == snapshot && (len(u.Domains) == 0 || time.Since(last.made) < factsAge) {
		return last.targets
	}
	now := &selected{snapshot: snapshot, made: time.Now()}
	at := sinceEpoch(now.made)
	for _, node := range snapshot.Nodes {
		if !u.fits(node) {
			continue
		}
		t := &target{dial: dialAddress(node), node: node, gate: node.Gate(), weight: node.Weight, meter: u.memory.meter(node.Slug + " " + node.URL.String())}
		if node.AdminState != fleet.AdminEnabled {
			t.meter.See(at, false) // and it starts slowly when it comes back
			continue
		}
		if why := u.unreachable(node); why != "" {
			if last == nil || last.snapshot != snapshot {
				u.logger.Warn("node is not an upstream: "+why+" needs `transport federation`", zap.String("node", node.Slug))
			}
			continue
		}
		if last != nil && !slices.ContainsFunc(last.targets, func(before *target) bool { return before.meter == t.meter }) {
			t.meter.See(at, false) // it comes, or comes back
		}
		now.targets = append(now.targets, t)
	}
	u.current.Store(now)
	return now.targets
}

// fits tells whether a node is one that was asked for.
func (u *Upstreams) fits(node *fleet.Node) bool {
	if len(u.Nodes) > 0 && !slices.Contains(u.Nodes, node.Slug) {
		return false
	}
	for _, capability := range u.Capabilities {
		if !slices.Contains(node.Capabilities, capability) {
			return false
		}
	}
	if len(u.Domains) == 0 {
		return true
	}
	domains := node.Domains
	if facts := node.Facts(); len(domains) == 0 && facts != nil {
		domains = facts.Domains
	}
	return slices.ContainsFunc(u.Domains, func(d string) bool { return slices.Contains(domains, d) })
}

// unreachable says what of the node the handler's transport cannot do, or
// nothing.
func (u *Upstreams) unreachable(node *fleet.Node) string {
	switch {
	case u.transport != nil:
		return ""
	case node.Guarded(): // a name can point to this machine by the time it is dialled
		return "it registered itself, and its URL"
	case (node.URL.Scheme == "https") != u.tls || node.URL.Path != "":
		return "its URL"
	default:
		return ""
	}
}

// dialAddress is where a node is dialled.
func dialAddress(node *fleet.Node) string {
	port := node.URL.Port()
	switch {
	case port != "":
	case node.URL.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return net.JoinHostPort(node.URL.Hostname(), port)
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Upstreams)(nil)
	_ caddy.CleanerUpper          = (*Upstreams)(nil)
	_ reverseproxy.UpstreamSource = (*Upstreams)(nil)
)
