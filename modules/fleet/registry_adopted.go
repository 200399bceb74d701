package fleet

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/modules/fleet/token"
	"github.com/caddy-federation/caddy-federation/store"
)

// A registered node that the Caddyfile names at the same URL is adopted: it is
// the operator's, and keeps what it was given until the operator moves it or
// gives it power. What an operator gives it from the adoption on carries a
// later epoch than all that it had. So the two can be told apart then, and
// whatever was got by what it had before is of the earlier epoch, too.

// adopt notes in the store which registered nodes the Caddyfile has now, and
// which of them it has moved or given power, and returns what is registered then.
func (r *registry) adopt(ctx context.Context, nodes store.Nodes, records []store.NodeRecord) ([]store.NodeRecord, error) {
	changed := false
	for _, record := range records {
		if _, fixed := r.static[record.Slug]; !fixed {
			continue
		}
		said, err := readNodeRecord(record)
		if err != nil || said.vacant() || said.Trusted || r.displaced(&said) {
			continue
		}
		settled := r.settle(&said)
		if !settled {
			if said.Adopted != 0 {
				continue
			}
			if said.Adopted, err = r.adoption(ctx, record.Slug); err != nil {
				return nil, err
			}
		}
		if record.Data, err = said.encode(); err != nil {
			r.app.logger.Error("a registered node cannot be adopted", zap.String("node", record.Slug), zap.Error(err))
			continue
		}
		switch _, err = nodes.Put(ctx, record); {
		case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrNotFound): // whoever changed it sees to it
		case err != nil:
			return nil, err
		case settled:
			r.app.logger.Warn("a node that registered before the Caddyfile had it was moved, or given power or a key of its own, in the Caddyfile: "+
				"what it was not given by an operator since is revoked", zap.String("node", record.Slug))
		}
		changed = true
	}
	if !changed {
		return records, nil
	}
	return nodes.List(ctx)
}

// adoption is the epoch of what an operator gives the node from now on: later
// than all that it can have by now.
func (r *registry) adoption(ctx context.Context, slug string) (int64, error) {
	now, err := r.opened.Now(ctx)
	if err != nil {
		return 0, err
	}
	if err := r.app.authority.read(ctx, r.opened.Tokens()); err != nil {
		return 0, err
	}
	return max(now.Unix()-1, r.app.epoch(slug)+1), nil
}

// settle makes an adopted node that the Caddyfile has moved, or given power or a
// key of its own, one that was always in the file. It tells whether it did.
func (r *registry) settle(record *nodeRecord) bool {
	if record.Adopted == 0 || !r.another(record) {
		return false
	}
	record.URL, record.Owner, record.Empowered = "", "", false
	record.Since = record.Adopted
	return true
}

// askedUnder is the epoch that counts for what the node asks for itself: of its
// last revocation, or since when it is the operator's alone.
func (a *App) askedUnder(slug string) int64 {
	epoch := a.epoch(slug)
	if node := a.Snapshot().Node(slug); node != nil {
		epoch = max(epoch, node.since)
	}
	return epoch
}

// newFamily names a family of tokens by what it is issued under, so that its
// access tokens tell it, however late they are made.
func newFamily(epoch int64, id string) string { return strconv.FormatInt(epoch, 10) + "-" + id }

// issuedUnder is the epoch in the id of an access token of ours; false for what
// others made, whose ids can be anything.
func issuedUnder(id string) (int64, bool) {
	family, own, _ := strings.Cut(id, ".")
	head, rest, _ := strings.Cut(family, "-")
	if len(own) != token.IDLength || len(rest) != token.IDLength {
		return 0, false
	}
	epoch, err := strconv.ParseInt(head, 10, 64)
	return epoch, err == nil
}
