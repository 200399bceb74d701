package store

import (
	"context"
	"time"
)

// Grantee is the node that a credential was given to.
type Grantee struct {
	// Node is its slug. Empty for the API key of a caller that is no node.
	Node string
	// NodeID is its number: a later node of the slug is another one.
	NodeID int64
	// Epoch is the second (Unix time) of the node's last revocation that was
	// known to who gives the credential; 0: none. What is given under an older
	// one than the store's is refused.
	Epoch int64
}

// RefreshToken is one refresh token. The token itself is never stored.
type RefreshToken struct {
	// The successors of a token are its node's too.
	Grantee
	// Hash is the SHA-256 of the token.
	Hash string
	// Family is shared by a token and all its successors.
	Family string
	// Generation counts the rotations of the family, from 0.
	Generation int
	Expires    time.Time
}

// Rotation replaces a refresh token by its successor.
type Rotation struct {
	// Presented is the hash of the token that was shown.
	Presented string
	// Successor is the hash of the next one, Expires when it ends.
	Successor string
	Expires   time.Time
	// Reply is handed out again when the predecessor is shown once more
	// within Grace. The caller seals it; the store does not read it.
	Reply []byte
	Grace time.Duration
}

// Rotated is how a rotation went.
type Rotated struct {
	// Token is the successor: the one just made, or the one made before.
	Token RefreshToken
	// Reply belongs to it.
	Reply []byte
	// Repeated is set when the token was rotated before, within the grace that
	// the rotation had.
	Repeated bool
	// Replayed is set when it was shown after the grace: the whole family is
	// dead now, and Token says only whose and which it was.
	Replayed bool
}

// APIKey is one API key. The key itself is never stored.
type APIKey struct {
	Grantee
	// Hash is the SHA-256 of the key.
	Hash string
	// ID is the public part that people name the key by.
	ID string
	// Data is the JSON of the owner.
	Data []byte
	// Expires is zero for a key that does not end.
	Expires time.Time
}

// Revocation makes tokens invalid that were good.
type Revocation struct {
	// Subject is what is revoked: "jti:<id>", or "node:<slug>" for everything
	// the node was given up to the second of At.
	Subject string
	At      time.Time
	// Until is when the last token it could meet has expired by itself.
	Until time.Time
}

// Tokens are refresh tokens, API keys and revocations.
type Tokens interface {
	// Issue stores a new refresh token; [ErrExists] when the hash is known,
	// [ErrRevoked] when the node was revoked after the token's epoch.
	Issue(ctx context.Context, token RefreshToken) error
	// Rotate replaces a token in one step. [ErrNotFound] when it is unknown,
	// expired or of a dead family.
	Rotate(ctx context.Context, rotation Rotation) (Rotated, error)
	// Present shows a token without replacing it, for clients that keep theirs.
	// [ErrNotFound] when it is unknown, expired or of a dead family. Of one that
	// was rotated before it tells what [Tokens.Rotate] would: the successor
	// within the grace that the rotation had, later a replay, and the whole
	// family is dead.
	Present(ctx context.Context, hash string) (Rotated, error)
	// RevokeFamily deletes all tokens of a family.
	RevokeFamily(ctx context.Context, family string) error
	// PutKey stores a new API key; [ErrExists] when the hash is known,
	// [ErrRevoked] when the node was revoked after the key's epoch.
	PutKey(ctx context.Context, key APIKey) error
	Key(ctx context.Context, hash string) (APIKey, error)
	// Keys returns the keys of a node, or of all when it is empty, by id.
	Keys(ctx context.Context, node string) ([]APIKey, error)
	DeleteKey(ctx context.Context, hash string) error
	// Revoke adds a revocation, or prolongs the one of the same subject: the
	// later At and Until count.
	Revoke(ctx context.Context, revocation Revocation) error
	// RevokeNode revokes everything that a node of the slug was ever given, its
	// refresh tokens and API keys with it, in one step. Its At is a whole second,
	// and later than that of the revocation before: as far as it is ahead of the
	// clock, the end is later than until.
	RevokeNode(ctx context.Context, node string, until time.Time) error
	// Revocations returns those that still matter.
	Revocations(ctx context.Context) ([]Revocation, error)
	// Watch sends after every revocation, dead family and new or deleted key, as [Nodes.Watch] does.
	Watch(ctx context.Context) (<-chan struct{}, error)
}
