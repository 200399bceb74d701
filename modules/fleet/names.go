package fleet

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/store"
)

// Gateways of one store can have different Caddyfiles, for one while the
// configs are rolled out. A name in the Caddyfile of any is an operator's on all
// of them. So each gateway tells the others the names of its nodes with every
// beat, and before it touches a node of a new config. A gateway that leaves, or
// that is not heard of for [gatewayAlive], holds no name any more, see [gatewayMissed].

// heldNames are the names in the Caddyfiles of one process: two configs run
// while one replaces the other.
type heldNames struct {
	mu   sync.Mutex
	apps map[*App]bool
}

func (h *heldNames) hold(app *App) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.apps == nil {
		h.apps = make(map[*App]bool)
	}
	h.apps[app] = true
}

func (h *heldNames) release(app *App) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.apps, app)
}

// has tells whether a config of this process has a node of the name.
func (h *heldNames) has(slug string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for app := range h.apps {
		if _, held := app.registry.static[slug]; held {
			return true
		}
	}
	return false
}

// list is all names, sorted.
func (h *heldNames) list() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	names := make(map[string]bool)
	for app := range h.apps {
		for slug := range app.registry.static {
			names[slug] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// gatewayMissed is how long a gateway that is not among the others holds its
// names yet: a store that lost everything has none of them until each has told of
// itself again, which takes a beat, and the time that one may hang before.
const gatewayMissed = gatewayBeat + gatewayTimeout + gatewayBeat/2

// otherFiles are the names in the Caddyfiles of the other gateways, as this one
// has heard them.
type otherFiles struct {
	mu       sync.Mutex
	gateways map[string]*otherFile
}

type otherFile struct {
	names  []string
	missed time.Time // since when; zero: it is heard of
}

// names takes in what the gateways say that are heard of now, and returns all
// names that are held.
func (o *otherFiles) names(heard map[string][]string, now time.Time) map[string]bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.gateways == nil {
		o.gateways = make(map[string]*otherFile)
	}
	for id, names := range heard {
		o.gateways[id] = &otherFile{names: names}
	}
	held := make(map[string]bool)
	for id, file := range o.gateways {
		if _, here := heard[id]; !here {
			if file.missed.IsZero() {
				file.missed = now
			}
			if now.Sub(file.missed) >= gatewayMissed {
				delete(o.gateways, id)
				continue
			}
		}
		for _, slug := range file.names {
			held[slug] = true
		}
	}
	return held
}

// announce tells the other gateways the names of a config that is about to
// start. When the store cannot be used the beats tell it later.
func (a *App) announce(ctx context.Context, opened store.Store) {
	a.shared.held.hold(a)
	if !opened.Shared() {
		return
	}
	bounded, cancel := context.WithTimeout(ctx, gatewayTimeout)
	defer cancel()
	self := store.Member{ID: a.shared.circuits.gateway, Data: a.word(a.self(), make(map[*member]trafficSeen))}
	if _, _, err := opened.Members().Beat(bounded, self, gatewayAlive); err != nil && !errors.Is(err, store.ErrUnavailable) {
		a.logger.Warn("the other gateways were not told the names of the nodes before the start", zap.Error(err))
	}
}

// withdraw ends what announce said.
func (a *App) withdraw() {
	a.shared.held.release(a)
	select {
	case a.shared.gateways.changed <- struct{}{}: // the config that stays tells it at once
	default:
	}
}

// heldElsewhere refuses, with the code, a name that is not in this config's
// Caddyfile and is in another one's: it asks what the other gateways say now.
// Other errors are the store's or ctx's.
func (a *App) heldElsewhere(ctx context.Context, opened store.Store, slug, code string) error {
	held := a.shared.held.has(slug)
	if !held && opened.Shared() {
		if err := a.shared.gateways.hear(ctx); err != nil {
			return err
		}
		view := a.shared.gateways.view.Load()
		held = view != nil && view.names[slug]
	}
	if held {
		return &NodeError{code, "slug", "a node named " + slug + " is in the Caddyfile of another gateway of this federation"}
	}
	return nil
}
