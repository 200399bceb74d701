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
	// used before, or its node is none that this gateway knows.
	ErrInvalidRefresh = errors.New("invalid refresh token")
	// ErrCannotSign: the federation has no key that may sign.
	ErrCannotSign = errors.New("the federation has no key that may sign; add `key <kid> hs256 <secret>`")
)

// IssueTokens gives a node an access token and the first refresh token of a
// new family, by an operator's word.
func (a *App) IssueTokens(ctx context.Context, node *Node) (TokenPair, error) {
	return a.issue(ctx, a.grantee(node), node)
}

// IssueRegistered gives a node that registered its tokens. They are bound to
// the moment when it began to prove who it is, so a revocation on the way
// leaves nothing; the error is a [NodeError] then.
func (a *App) IssueRegistered(ctx context.Context, r *Registered) (TokenPair, error) {
	return a.issue(ctx, store.Grantee{Node: r.Node.Slug, NodeID: r.Node.ID, Epoch: r.epoch}, r.Node)
}

func (a *App) issue(ctx context.Context, to store.Grantee, node *Node) (TokenPair, error) {
	opened, err := a.opened()
	if err != nil {
		return TokenPair{}, err
	}
	now, err := opened.Now(ctx)
	if err != nil {
		return TokenPair{}, fmt.Errorf("issuing tokens: %w", err)
	}
	if to.NodeID == 0 {
		return TokenPair{}, errUnnumbered
	}
	family, refresh := newFamily(to.Epoch, token.ID()), token.NewRefresh()
	access, err := a.sign(node, family, now, to.Epoch)
	if err != nil {
		return TokenPair{}, err
	}
	err = opened.Tokens().Issue(ctx, store.RefreshToken{
		Grantee: to, Hash: token.Hash(refresh), Family: family, Expires: now.Add(time.Duration(a.RefreshTTL)),
	})
	if errors.Is(err, store.ErrRevoked) {
		return TokenPair{}, a.revokedMeanwhile(ctx, opened)
	}
	if err != nil {
		return TokenPair{}, err
	}
	return TokenPair{AccessToken: access, RefreshToken: refresh, ExpiresIn: time.Duration(a.AccessTTL), Node: node}, nil
}

// sign makes an access token of a family. The family is in its id, so that
// the two die together. now is the store's clock before the store was asked,
// and epoch what the family was issued under: a revocation since is of a later
// second than the token.
func (a *App) sign(node *Node, family string, now time.Time, epoch int64) (string, error) {
	key := a.keys.Signing(node.Slug)
	if key == nil {
		return "", ErrCannotSign
	}
	issued := max(now.Unix(), epoch+1) // what is given after a revocation is not of the second that it killed
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
// replay: the family is dead, and an event `refresh_replayed` is raised. Any
// other refusal leaves the token as it was; it is an [AuthError] when the node
// may not act now.
func (a *App) RefreshTokens(ctx context.Context, refresh string) (TokenPair, error) {
	opened, err := a.opened()
	if err != nil {
		return TokenPair{}, err
	}
	pair, now, err := a.present(ctx, opened, refresh)
	if err != nil || pair.RefreshToken != "" {
		return pair, err
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
	if err := a.lookedAt(ctx, opened, rotated, err); err != nil {
		return TokenPair{}, err
	}
	pair.RefreshToken = successor
	if rotated.Repeated { // somebody was faster
		if pair.RefreshToken, err = token.Open(refresh, rotated.Reply); err != nil {
			return TokenPair{}, ErrInvalidRefresh
		}
	}
	return pair, nil
}

// RefreshAccess gives a new access token for a refresh token that stays as it
// is, as the old fleet has it. One that was rotated before gives its successor
// too, within the grace; later it is a replay. It refuses as RefreshTokens does.
func (a *App) RefreshAccess(ctx context.Context, refresh string) (TokenPair, error) {
	opened, err := a.opened()
	if err != nil {
		return TokenPair{}, err
	}
	pair, _, err := a.present(ctx, opened, refresh)
	return pair, err
}

// present gives a new access token for a refresh token that stays as it is, and
// its successor when it has one. It returns the store's clock before that.
func (a *App) present(ctx context.Context, opened store.Store, refresh string) (TokenPair, time.Time, error) {
	if !token.LooksLikeRefresh(refresh) {
		return TokenPair{}, time.Time{}, ErrInvalidRefresh
	}
	now, err := opened.Now(ctx)
	if err != nil {
		return TokenPair{}, now, fmt.Errorf("refreshing tokens: %w", err)
	}
	shown, err := opened.Tokens().Present(ctx, token.Hash(refresh))
	if err := a.lookedAt(ctx, opened, shown, err); err != nil {
		return TokenPair{}, now, err
	}
	pair := TokenPair{ExpiresIn: time.Duration(a.AccessTTL)}
	if shown.Repeated {
		if pair.RefreshToken, err = token.Open(refresh, shown.Reply); err != nil {
			return TokenPair{}, now, ErrInvalidRefresh
		}
	}
	if pair.Node, err = a.refresher(ctx, opened, shown.Token); err != nil {
		return TokenPair{}, now, err
	}
	if pair.AccessToken, err = a.sign(pair.Node, shown.Token.Family, now, shown.Token.Epoch); err != nil {
		return TokenPair{}, now, err
	}
	return pair, now, nil
}

// lookedAt is what the store refused of a token that was shown to it.
func (a *App) lookedAt(ctx context.Context, opened store.Store, shown store.Rotated, err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return ErrInvalidRefresh
	case err != nil:
		return err
	case shown.Replayed:
		return a.replayed(ctx, opened, shown.Token)
	}
	return nil
}

// refresher is the node that a refresh token was given to, when it was not
// revoked since and may act. What is known here may be older than the token, so
// the store is read before it is refused for being another's. A revocation that
// is known here stays one.
func (a *App) refresher(ctx context.Context, opened store.Store, shown store.RefreshToken) (*Node, error) {
	node := a.Snapshot().Node(shown.Node)
	if node == nil || node.ID != shown.NodeID {
		if err := a.authority.caughtUp(ctx); err != nil {
			return nil, fmt.Errorf("refreshing tokens: %w", err)
		}
		node = a.Snapshot().Node(shown.Node)
	}
	switch {
	case node == nil, node.ID < shown.NodeID:
		return nil, ErrInvalidRefresh // it may stand in the Caddyfile of another gateway
	case node.ID != shown.NodeID, max(a.epoch(shown.Node), node.since) > shown.Epoch:
		// the store keeps no such family; a server that lost its last writes may
		return nil, errors.Join(ErrInvalidRefresh, opened.Tokens().RevokeFamily(ctx, shown.Family))
	}
	if refused := mayAct(node); refused != nil {
		return nil, refused
	}
	return node, nil
}

// JWKS is the public keys that verify the federation's tokens, as a JWKS
// document. Secrets are never in it.
func (a *App) JWKS() []byte { return a.jwks }

// nodeClaims are in the order the old master emits them; jti, aud and azp are ours.
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
	Sender       string   `json:"azp,omitempty"` // of what is sent to a node
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
