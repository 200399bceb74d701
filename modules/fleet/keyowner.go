package fleet

import (
	"context"
	"errors"

	"github.com/caddy-federation/caddy-federation/modules/fleet/token"
	"github.com/caddy-federation/caddy-federation/store"
)

// APIKeyOwner tells whether an API key is known, and the slug of the node that
// has it, which is empty when a caller that is no node has it. The error is the
// store's.
func (a *App) APIKeyOwner(ctx context.Context, plain string) (node string, known bool, err error) {
	opened, err := a.opened()
	if err != nil {
		return "", false, err
	}
	key, err := opened.Tokens().Key(ctx, token.Hash(plain))
	if errors.Is(err, store.ErrNotFound) {
		return "", false, nil
	}
	return key.Node, err == nil, err
}
