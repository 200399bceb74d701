package fleet

import (
	"context"
	"errors"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/store"
)

// displaced tells whether a record is of a node that registered a name which
// an operator has in the Caddyfile for another, and that was never adopted.
func (r *registry) displaced(record *nodeRecord) bool {
	return record.Adopted == 0 && r.another(record)
}

// another tells whether a record is of a node that registered, and the Caddyfile
// has its name for a node elsewhere, or for one that has power over others or a
// key of its own, for which no URL stands. One that nobody has let in is another
// wherever it lives.
func (r *registry) another(record *nodeRecord) bool {
	static, fixed := r.static[record.Slug]
	if !fixed || record.Trusted || record.vacant() {
		return false
	}
	if record.AdminState == AdminPending || len(static.Keys) > 0 || slices.ContainsFunc(r.app.Complete(static).Capabilities, Privileged) {
		return true
	}
	address, err := caddy.NewReplacer().ReplaceOrErr(static.URL, true, true)
	return err == nil && !sameURL(address, record.URL)
}

// displacedIn returns of the records that were displaced what an operator
// decided about their names, by slug.
func (r *registry) displacedIn(records []store.NodeRecord) map[string]nodeRecord {
	var words map[string]nodeRecord
	for _, record := range records {
		if _, fixed := r.static[record.Slug]; !fixed {
			continue
		}
		if said, err := readNodeRecord(record); err == nil && r.displaced(&said) {
			if words == nil {
				words = make(map[string]nodeRecord)
			}
			words[record.Slug] = said.word()
		}
	}
	return words
}

// displace ends nodes whose name an operator has given to another, with
// everything that they were given, and returns what is registered then.
func (r *registry) displace(ctx context.Context, nodes store.Nodes, records []store.NodeRecord) ([]store.NodeRecord, error) {
	words := r.displacedIn(records)
	for _, record := range records {
		word, displaced := words[record.Slug]
		if !displaced {
			continue
		}
		if err := r.app.revokeAll(ctx, r.opened, record.Slug); err != nil {
			return nil, err
		}
		switch err := vacate(ctx, nodes, record, word); {
		case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrNotFound): // whoever changed it sees to it
		case err != nil:
			return nil, err
		default:
			r.app.replaced(record.Slug, "the Caddyfile")
		}
	}
	if len(words) == 0 {
		return records, nil
	}
	return nodes.List(ctx)
}

// vacate takes a name from a node and leaves what an operator decided about it,
// under a new number.
func vacate(ctx context.Context, nodes store.Nodes, record store.NodeRecord, word nodeRecord) (err error) {
	if word.silent() {
		return nodes.Delete(ctx, record.Slug, record.Revision)
	}
	if record.Data, err = word.encode(); err != nil {
		return err
	}
	record.ID = 0
	_, err = nodes.Put(ctx, record)
	return err
}

// replaced tells that a registered node lost its name to one of an operator's.
func (a *App) replaced(slug, by string) {
	a.logger.Warn("a registered node lost its name to a node that an operator placed at another url, or that has power over others or a key of its own: "+
		"all its tokens and api keys are revoked and its owner_proof is dropped", zap.String("node", slug), zap.String("by", by))
	a.Emit("node_replaced", slug, map[string]any{"by": by})
}
