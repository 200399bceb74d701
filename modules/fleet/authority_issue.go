package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/caddy-federation/caddy-federation/modules/fleet/token"
	"github.com/caddy-federation/caddy-federation/store"
)

// What issuing refuses.
var (
	// ErrInvalidRefresh: the refresh token is unknown, expired, revoked or was
	// used before, or its node may not act.
	ErrInvalidRefresh = errors.New("invalid refresh token")
	// ErrCannotSign: the federation has no key that may sign.
	ErrCannotSign = errors.New("the federation has no key that may sign; add `key <kid> hs256 <secret>`")
)

// IssueTokens gives a node an access token and the first refresh token of a
// new family.
func (a *App) IssueTokens(ctx context.Context, node *Node) (TokenPair, error) {
	opened, err := a.opened()
	if err != nil {
		return TokenPair{}, err
	}
	now, err := opened.Now(ctx)
	if err != nil {
		return TokenPair{}, fmt.Errorf("issuing tokens: %w", err)
	}
	family, refresh := token.ID(), token.NewRefresh()
	access, err := a.sign(node, family, now)
	if err != nil {
		return TokenPair{}, err
	}
	if err := opened.Tokens().Issue(ctx, store.RefreshToken{
		Hash: token.Hash(refresh), Family: family, Node: node.Slug, Expires: now.Add(time.Duration(a.RefreshTTL)),
	}); err != nil {
		return TokenPair{}, err
	}
	return TokenPair{AccessToken: access, RefreshToken: refresh, ExpiresIn: time.Duration(a.AccessTTL), Node: node}, nil
}

// sign makes an access token of a family. The family is in its id, so that
// the two die together.
func (a *App) sign(node *Node, family string, now time.Time) (string, error) {
	key := a.keys.Signing(node.Slug)
	if key == nil {
		return "", ErrCannotSign
	}
	issued := now.Unix()
	if g := a.authority.current(); g != nil {
		if epoch, revoked := g.epochs[node.Slug]; revoked && issued <= epoch {
			issued = epoch + 1 // what is given after the revocation is not of the second that it killed
		}
	}
	return key.Sign(nodeClaims{
		Issuer: a.Issuer, Subject: node.ID, Slug: node.Slug, Name: node.Name,
		IssuedAt: issued, ExpiresAt: issued + int64(time.Duration(a.AccessTTL)/time.Second),
		ID: family + "." + token.ID(), Audience: a.Audience, Capabilities: namesOf(node.Capabilities), Type: node.Type,
	})
}

// namesOf is never null in JSON.
func namesOf(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// RefreshTokens replaces a refresh token by its successor. The same token
// shown again within the grace gets the same successor; later that is a
// replay: the family is dead, and an event `refresh_replayed` is raised.
func (a *App) RefreshTokens(ctx context.Context, refresh string) (TokenPair, error) {
	opened, err := a.opened()
	if err != nil {
		return TokenPair{}, err
	}
	if !token.LooksLikeRefresh(refresh) {
		return TokenPair{}, ErrInvalidRefresh
	}
	now, err := opened.Now(ctx)
	if err != nil {
		return TokenPair{}, fmt.Errorf("refreshing tokens: %w", err)
	}
	successor := token.NewRefresh()
	reply, err := token.Seal(refresh, successor)
	if err != nil {
		return TokenPair{}, err
	}
	rotated, err := opened.Tokens().Rotate(ctx, store.Rotation{
		Presented: token.Hash(refresh), Successor: token.Hash(successor), Expires: now.Add(time.Duration(a.RefreshTTL)),
		Reply: reply, Grace: time.Duration(a.RefreshGrace),
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return TokenPair{}, ErrInvalidRefresh
	case err != nil:
		return TokenPair{}, err
	case rotated.Replayed:
		return TokenPair{}, a.replayed(ctx, opened, rotated.Token)
	case rotated.Repeated:
		if successor, err = token.Open(refresh, rotated.Reply); err != nil {
			return TokenPair{}, ErrInvalidRefresh
		}
	}
	pair, err := a.renewed(rotated.Token, now)
	pair.RefreshToken = successor
	return pair, err
}

// RefreshAccess gives a new access token for a refresh token that stays as it
// is, as the old fleet has it. One that was rotated before is a replay.
func (a *App) RefreshAccess(ctx context.Context, refresh string) (TokenPair, error) {
	opened, err := a.opened()
	if err != nil {
		return TokenPair{}, err
	}
	if !token.LooksLikeRefresh(refresh) {
		return TokenPair{}, ErrInvalidRefresh
	}
	now, err := opened.Now(ctx)
	if err != nil {
		return TokenPair{}, fmt.Errorf("refreshing a token: %w", err)
	}
	shown, err := opened.Tokens().Present(ctx, token.Hash(refresh))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return TokenPair{}, ErrInvalidRefresh
	case errors.Is(err, store.ErrReplayed):
		return TokenPair{}, a.replayed(ctx, opened, shown)
	case err != nil:
		return TokenPair{}, err
	}
	return a.renewed(shown, now)
}

// renewed gives the node of a refresh token a new access token.
func (a *App) renewed(shown store.RefreshToken, now time.Time) (TokenPair, error) {
	node := a.Snapshot().Node(shown.Node)
	if node == nil || mayAct(node) != nil {
		return TokenPair{}, ErrInvalidRefresh
	}
	access, err := a.sign(node, shown.Family, now)
	if err != nil {
		return TokenPair{}, err
	}
	return TokenPair{AccessToken: access, ExpiresIn: time.Duration(a.AccessTTL), Node: node}, nil
}

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
		verified, refusal := a.authority.verifier(a.authority.keys.Load()).Verify(raw, time.Now(), true)
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
		case errors.Is(err, store.ErrReplayed):
			_ = a.replayed(ctx, opened, shown) // dead is what was asked for
			return nil
		case err == nil:
			if err := tokens.RevokeFamily(ctx, shown.Family); err != nil {
				return err
			}
			if err := a.revoke(ctx, opened, revokedFamily+shown.Family); err != nil {
				return err
			}
			a.Emit("token_revoked", shown.Node, map[string]any{"kind": "refresh"})
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
	now, err := opened.Now(ctx)
	if err != nil {
		return fmt.Errorf("revoking node %q: %w", slug, err)
	}
	if err := opened.Tokens().RevokeNode(ctx, slug, now.Add(a.tokenLife())); err != nil {
		return err
	}
	if err := a.authority.read(ctx, opened.Tokens()); err != nil {
		return err
	}
	a.Emit("node_revoked", slug, nil)
	return nil
}

// JWKS is the public keys that verify the federation's tokens, as a JWKS
// document. Secrets are never in it.
func (a *App) JWKS() []byte { return a.jwks }

// nodeClaims are in the order the old master emits them; jti and aud are ours.
type nodeClaims struct {
	Issuer       string   `json:"iss"`
	Subject      any      `json:"sub"`
	Slug         string   `json:"node_slug"`
	Name         string   `json:"node_name"`
	IssuedAt     int64    `json:"iat"`
	ExpiresAt    int64    `json:"exp"`
	ID           string   `json:"jti,omitempty"`
	Audience     []string `json:"aud,omitempty"`
	Capabilities []string `json:"capabilities"`
	Type         string   `json:"type"`
}

func (c nodeClaims) GetExpirationTime() (*jwt.NumericDate, error) {
	return jwt.NewNumericDate(time.Unix(c.ExpiresAt, 0)), nil
}

func (c nodeClaims) GetIssuedAt() (*jwt.NumericDate, error) {
	return jwt.NewNumericDate(time.Unix(c.IssuedAt, 0)), nil
}
func (c nodeClaims) GetNotBefore() (*jwt.NumericDate, error) { return nil, nil }
func (c nodeClaims) GetIssuer() (string, error)              { return c.Issuer, nil }
func (c nodeClaims) GetSubject() (string, error)             { return fmt.Sprint(c.Subject), nil }
func (c nodeClaims) GetAudience() (jwt.ClaimStrings, error)  { return c.Audience, nil }
