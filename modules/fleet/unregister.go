package fleet

import (
	"context"
	"errors"
	"fmt"

	"github.com/caddy-federation/caddy-federation/store"
)

// DeleteNode unregisters a node by an operator's word: its tokens die, its name
// is free again under a new id, and what is kept or queued of its calls is
// forgotten; calls that were sent before come to their end. What an operator
// said of the name ends with it. A name that left the Caddyfile is freed, too. A
// node of the Caddyfile, of this gateway or another, cannot be deleted. The error
// is a [NodeError].
func (a *App) DeleteNode(ctx context.Context, slug string) error {
	return a.unregister(ctx, slug, func(ctx context.Context, nodes store.Nodes) error {
		return nodes.Delete(ctx, slug, 0)
	})
}

// LeaveNode is [App.DeleteNode] by the word of the node itself: what an operator
// lets it do at most stays with the name.
func (a *App) LeaveNode(ctx context.Context, slug string) error {
	return a.unregister(ctx, slug, func(ctx context.Context, nodes store.Nodes) error {
		stands, err := nodes.Get(ctx, slug)
		if err != nil {
			return err
		}
		record, err := readNodeRecord(stands)
		if state := a.whole(&record).AdminState; err == nil && state != AdminEnabled {
			return heldBack(state)
		}
		word := record.word()
		if err != nil || word.silent() {
			return nodes.Delete(ctx, slug, stands.Revision)
		}
		if stands.Data, err = word.encode(); err != nil {
			return err
		}
		_, err = nodes.Put(ctx, stands)
		return err
	})
}

// heldBack is for a node that would leave while an operator holds it back: it
// could come back as if nothing had been said.
func heldBack(state AdminState) *NodeError {
	return &NodeError{CodeNotPermitted, "", "an operator has this node in " + string(state) + "; only an operator can unregister it now"}
}

func (a *App) unregister(ctx context.Context, slug string, remove func(context.Context, store.Nodes) error) error {
	opened, err := a.opened()
	if err != nil {
		return err
	}
	if _, fixed := a.registry.static[slug]; fixed {
		return &NodeError{CodeNodeFixed, "", fmt.Sprintf("node %q is in the Caddyfile; remove it there, or disable it", slug)}
	}
	if err := a.heldElsewhere(ctx, opened, slug, CodeNodeFixed); err != nil {
		return a.registryError(err)
	}
	if _, err := opened.Nodes().ID(ctx, slug); err != nil {
		return a.registryError(err)
	}
	// first the tokens: a node that is gone must not call for a moment longer
	if err := a.RevokeNode(ctx, slug); err != nil {
		return a.registryError(err)
	}
	err = a.registry.write(ctx, slug, func(ctx context.Context) error { return remove(ctx, opened.Nodes()) })
	if err != nil {
		return a.registryError(err)
	}
	a.shared.log.forget(slug)
	err = errors.Join(opened.Requests().DeleteNode(ctx, slug), opened.Breakers().Delete(ctx, slug))
	if readErr := a.registry.read(ctx, opened.Nodes()); err == nil {
		err = readErr
	}
	a.Emit("node_unregistered", slug, nil)
	return a.registryError(err)
}

// Named tells whether a node has the name, or had it and left the Caddyfile:
// then what it was given can still be listed and revoked.
func (a *App) Named(ctx context.Context, slug string) (bool, error) {
	if a.Snapshot().Node(slug) != nil {
		return true, nil
	}
	opened, err := a.opened()
	if err != nil {
		return false, err
	}
	switch _, err := opened.Nodes().ID(ctx, slug); {
	case errors.Is(err, store.ErrNotFound):
		return false, nil
	default:
		return err == nil, err
	}
}
