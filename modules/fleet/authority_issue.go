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
	pair, err := a.renewed(ctx, opened, rotated.Token, now)
	if err == nil {
		pair.RefreshToken = successor
	}
	return pair, err
}

// RefreshAccess gives a new access token for a refresh token that stays as it
// is, as the old fleet has it. One that was rotated before gives its successor
// too, within the grace; later it is a replay.
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
	case err != nil:
		return TokenPair{}, err
	case shown.Replayed:
		return TokenPair{}, a.replayed(ctx, opened, shown.Token)
	}
	pair, err := a.renewed(ctx, opened, shown.Token, now)
	if err == nil && shown.Repeated {
		if pair.RefreshToken, err = token.Open(refresh, shown.Reply); err != nil {
			return TokenPair{}, ErrInvalidRefresh
		}
	}
	return pair, err
}

// renewed gives the node of a refresh token a new access token. The node is
// the one that was given the family, and was not revoked since.
func (a *App) renewed(ctx context.Context, opened store.Store, shown store.RefreshToken, now time.Time) (TokenPair, error) {
	node := a.Snapshot().Node(shown.Node)
	if node == nil || mayAct(node) != nil {
		return TokenPair{}, ErrInvalidRefresh
	}
	if node.ID != shown.NodeID || max(a.epoch(shown.Node), node.since) > shown.Epoch {
		// the store keeps no such family; a server that lost its last writes may
		return TokenPair{}, errors.Join(ErrInvalidRefresh, opened.Tokens().RevokeFamily(ctx, shown.Family))
	}
	access, err := a.sign(node, shown.Family, now, shown.Epoch)
	if err != nil {
		return TokenPair{}, err
	}
	return TokenPair{AccessToken: access, ExpiresIn: time.Duration(a.AccessTTL), Node: node}, nil
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
