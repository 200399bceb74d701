package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet/token"
	"github.com/caddy-federation/caddy-federation/store"
)

// replayed ends what is left of a family whose token was used twice: one of
// the two who have it stole it.
func (a *App) replayed(ctx context.Context, opened store.Store, dead store.RefreshToken) error {
	a.Emit("refresh_replayed", dead.Node, nil)
	if dead.Family == "" {
		return ErrInvalidRefresh
	}
	if err := a.revoke(ctx, opened, revokedFamily+dead.Family); err != nil {
		return err
	}
	return ErrInvalidRefresh
}

// revoke kills access tokens, here at once.
func (a *App) revoke(ctx context.Context, opened store.Store, subject string) error {
	now, err := opened.Now(ctx)
	if err != nil {
		return fmt.Errorf("revoking: %w", err)
	}
	if err := opened.Tokens().Revoke(ctx, store.Revocation{Subject: subject, At: now, Until: now.Add(a.tokenLife())}); err != nil {
		return err
	}
	return a.authority.read(ctx, opened.Tokens())
}

// tokenLife is the longest that an access token can still be good for.
func (a *App) tokenLife() time.Duration {
	return time.Duration(a.AccessTTL) + 2*time.Duration(a.Leeway) + time.Minute
}

// RevokeToken kills an access token, a refresh token with its family, or an
// API key (RFC 7009). One that is unknown is dead already and no error.
func (a *App) RevokeToken(ctx context.Context, raw string) error {
	opened, err := a.opened()
	if err != nil {
		return err
	}
	tokens := opened.Tokens()
	switch {
	case len(raw) > token.MaxLength:
		return nil
	case token.LooksLikeJWT(raw):
		verified, refusal := a.authority.verifier(a.authority.keys.Load(), a.authority.current()).Verify(raw, time.Now(), true)
		if refusal != nil {
			return nil
		}
		id := tokenID(raw, &verified.Claims)
		if err := a.revoke(ctx, opened, revokedToken+id); err != nil {
			return err
		}
		a.Emit("token_revoked", verified.Claims.Slug, map[string]any{"kind": "access"})
		return nil
	case token.LooksLikeRefresh(raw):
		shown, err := tokens.Present(ctx, token.Hash(raw))
		switch {
		case err == nil && shown.Replayed:
			_ = a.replayed(ctx, opened, shown.Token) // dead is what was asked for
			return nil
		case err == nil:
			if err := tokens.RevokeFamily(ctx, shown.Token.Family); err != nil {
				return err
			}
			if err := a.revoke(ctx, opened, revokedFamily+shown.Token.Family); err != nil {
				return err
			}
			a.Emit("token_revoked", shown.Token.Node, map[string]any{"kind": "refresh"})
			return nil
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
	}
	key, err := tokens.Key(ctx, token.Hash(raw))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return a.deleteKey(ctx, opened, key)
}

// RevokeNode kills everything that a node was ever given: access tokens,
// refresh tokens and API keys. Here it counts at once, on other gateways
// within a second. A node that knows a signing secret can make itself new
// tokens: disable it as well, and change the secret.
func (a *App) RevokeNode(ctx context.Context, slug string) error {
	opened, err := a.opened()
	if err != nil {
		return err
	}
	if err := a.revokeAll(ctx, opened, slug); err != nil {
		return err
	}
	a.Emit("node_revoked", slug, nil)
	return nil
}

// revokeAll kills what any node of the name was ever given.
func (a *App) revokeAll(ctx context.Context, opened store.Store, slug string) error {
	now, err := opened.Now(ctx)
	if err != nil {
		return fmt.Errorf("revoking node %q: %w", slug, err)
	}
	if err := opened.Tokens().RevokeNode(ctx, slug, now.Add(a.tokenLife())); err != nil {
		return err
	}
	return a.authority.read(ctx, opened.Tokens())
}

// revokedMeanwhile is for what was not given, because its node was revoked
// after who asks for it had proved to be let in.
func (a *App) revokedMeanwhile(ctx context.Context, opened store.Store) error {
	if err := a.authority.read(ctx, opened.Tokens()); err != nil {
		return err
	}
	return &NodeError{CodeNodeConflict, "", "the node was revoked at the same time; try again"}
}
