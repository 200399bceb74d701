package kv

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/watch"
)

type tokens struct{ *Store }

// refreshRecord is a refresh token with what became of it.
type refreshRecord struct {
	store.RefreshToken
	// Successor and Reply are set once it was rotated, at Rotated.
	Successor string
	Reply     []byte
	Rotated   time.Time
}

func (t tokens) Issue(ctx context.Context, token store.RefreshToken) error {
	return t.update(ctx, "issuing a refresh token", func(tx Tx) error {
		if err := store.CheckKeys(token.Hash, token.Family); err != nil {
			return err
		}
		return putRefresh(tx, refreshRecord{RefreshToken: token})
	})
}

func putRefresh(tx Tx, record refreshRecord) error {
	if tx.Get(bucketRefresh, record.Hash) != nil {
		return store.ErrExists
	}
	if err := tx.Put(bucketFamilies, record.Family+"/"+record.Hash, []byte(record.Node)); err != nil {
		return err
	}
	if err := put(tx, bucketRefresh, record.Hash, record); err != nil {
		return err
	}
	return expireAt(tx, bucketRefresh, record.Hash, record.Expires)
}

func (t tokens) Rotate(ctx context.Context, rotation store.Rotation) (rotated store.Rotated, err error) {
	replayed := false
	err = t.update(ctx, "rotating a refresh token", func(tx Tx) error {
		rotated, replayed = store.Rotated{}, false
		if err := store.CheckKeys(rotation.Presented, rotation.Successor); err != nil {
			return err
		}
		now := t.now()
		var shown refreshRecord
		found, err := get(tx, bucketRefresh, rotation.Presented, &shown)
		if err != nil {
			return err
		}
		if !found || !shown.Expires.After(now) {
			return store.ErrNotFound
		}
		if shown.Successor == "" {
			return t.succeed(tx, shown, rotation, now, &rotated)
		}
		if now.Sub(shown.Rotated) <= rotation.Grace {
			var next refreshRecord
			found, err := get(tx, bucketRefresh, shown.Successor, &next)
			if err != nil {
				return err
			}
			if !found {
				return store.ErrNotFound
			}
			rotated = store.Rotated{Token: next.RefreshToken, Reply: shown.Reply, Repeated: true}
			return nil
		}
		rotated, replayed = store.Rotated{Replayed: true, Token: store.RefreshToken{Family: shown.Family, Node: shown.Node}}, true
		return killFamily(tx, shown.Family)
	})
	if replayed && err == nil {
		t.hub.Changed(watch.Tokens)
	}
	return rotated, err
}

func (t tokens) succeed(tx Tx, shown refreshRecord, rotation store.Rotation, now time.Time, rotated *store.Rotated) error {
	next := refreshRecord{RefreshToken: store.RefreshToken{
		Hash: rotation.Successor, Family: shown.Family, Generation: shown.Generation + 1, Node: shown.Node, Expires: rotation.Expires,
	}}
	if err := putRefresh(tx, next); err != nil {
		return err
	}
	shown.Successor, shown.Reply, shown.Rotated = rotation.Successor, rotation.Reply, now
	*rotated = store.Rotated{Token: next.RefreshToken, Reply: rotation.Reply}
	return put(tx, bucketRefresh, shown.Hash, shown)
}

func (t tokens) Present(ctx context.Context, hash string) (token store.RefreshToken, err error) {
	const what = "presenting a refresh token"
	replayed := false
	err = t.update(ctx, what, func(tx Tx) error {
		replayed = false
		if err := store.CheckKeys(hash); err != nil {
			return err
		}
		var shown refreshRecord
		found, err := get(tx, bucketRefresh, hash, &shown)
		switch {
		case err != nil:
			return err
		case !found || !shown.Expires.After(t.now()):
			return store.ErrNotFound
		case shown.Successor != "":
			token, replayed = store.RefreshToken{Family: shown.Family, Node: shown.Node}, true
			return killFamily(tx, shown.Family)
		}
		token = shown.RefreshToken
		return nil
	})
	if err == nil && replayed {
		t.hub.Changed(watch.Tokens)
		return token, fmt.Errorf("%s: %w", what, store.ErrReplayed)
	}
	if err != nil {
		return store.RefreshToken{}, err
	}
	return token, nil
}

func (t tokens) RevokeFamily(ctx context.Context, family string) error {
	err := t.update(ctx, "revoking a token family", func(tx Tx) error {
		if err := store.CheckKeys(family); err != nil {
			return err
		}
		return killFamily(tx, family)
	})
	if err == nil {
		t.hub.Changed(watch.Tokens)
	}
	return err
}

func killFamily(tx Tx, family string) error {
	var members []string
	tx.Ascend(bucketFamilies, family+"/", func(key string, _ []byte) bool {
		if !strings.HasPrefix(key, family+"/") {
			return false
		}
		members = append(members, key)
		return true
	})
	return killTokens(tx, members)
}

// killTokens deletes refresh tokens by their keys in the families bucket.
func killTokens(tx Tx, members []string) error {
	for _, member := range members {
		if err := tx.Delete(bucketRefresh, member[strings.LastIndexByte(member, '/')+1:]); err != nil {
			return err
		}
		if err := tx.Delete(bucketFamilies, member); err != nil {
			return err
		}
	}
	return nil
}

func (t tokens) PutKey(ctx context.Context, key store.APIKey) error {
	err := t.update(ctx, "storing an api key", func(tx Tx) error {
		if err := store.CheckKeys(key.Hash, key.ID); err != nil {
			return err
		}
		if tx.Get(bucketKeys, key.Hash) != nil {
			return store.ErrExists
		}
		if err := put(tx, bucketKeys, key.Hash, key); err != nil {
			return err
		}
		return expireAt(tx, bucketKeys, key.Hash, key.Expires)
	})
	if err == nil {
		t.hub.Changed(watch.Tokens)
	}
	return err
}

func (t tokens) Key(ctx context.Context, hash string) (key store.APIKey, err error) {
	err = t.view(ctx, "getting an api key", func(tx Tx) error {
		found, err := get(tx, bucketKeys, hash, &key)
		if err == nil && (!found || !key.Expires.IsZero() && !key.Expires.After(t.now())) {
			return store.ErrNotFound
		}
		return err
	})
	if err != nil {
		return store.APIKey{}, err
	}
	return key, nil
}

func (t tokens) Keys(ctx context.Context, node string) (keys []store.APIKey, err error) {
	err = t.view(ctx, "listing api keys", func(tx Tx) (err error) {
		keys, err = all(tx, bucketKeys, "", func(key store.APIKey) bool {
			return (node == "" || key.Node == node) && (key.Expires.IsZero() || key.Expires.After(t.now()))
		})
		return err
	})
	slices.SortFunc(keys, func(a, b store.APIKey) int { return strings.Compare(a.ID, b.ID) })
	return keys, err
}

func (t tokens) DeleteKey(ctx context.Context, hash string) error {
	err := t.update(ctx, "deleting an api key", func(tx Tx) error {
		if tx.Get(bucketKeys, hash) == nil {
			return store.ErrNotFound
		}
		return tx.Delete(bucketKeys, hash)
	})
	if err == nil {
		t.hub.Changed(watch.Tokens)
	}
	return err
}

// revocationRecord names its end as every record that expires does.
type revocationRecord struct {
	Subject string
	At      time.Time
	Expires time.Time
}

func (t tokens) Revoke(ctx context.Context, revocation store.Revocation) error {
	err := t.update(ctx, "revoking tokens", func(tx Tx) error { return putRevocation(tx, revocation) })
	if err == nil {
		t.hub.Changed(watch.Tokens)
	}
	return err
}

func putRevocation(tx Tx, r store.Revocation) error {
	if err := store.CheckKeys(r.Subject); err != nil {
		return err
	}
	if err := put(tx, bucketRevocations, r.Subject, revocationRecord{r.Subject, r.At, r.Until}); err != nil {
		return err
	}
	return expireAt(tx, bucketRevocations, r.Subject, r.Until)
}

func (t tokens) RevokeNode(ctx context.Context, node string, until time.Time) error {
	err := t.update(ctx, "revoking a node's tokens", func(tx Tx) error {
		var members, keys []string
		tx.Ascend(bucketFamilies, "", func(key string, owner []byte) bool {
			if string(owner) == node {
				members = append(members, key)
			}
			return true
		})
		if err := killTokens(tx, members); err != nil {
			return err
		}
		var broken error
		tx.Ascend(bucketKeys, "", func(hash string, text []byte) bool {
			var key store.APIKey
			if broken = decode(bucketKeys, hash, text, &key); broken != nil {
				return false
			}
			if key.Node == node {
				keys = append(keys, hash)
			}
			return true
		})
		if broken != nil {
			return broken
		}
		for _, hash := range keys {
			if err := tx.Delete(bucketKeys, hash); err != nil {
				return err
			}
		}
		return putRevocation(tx, store.Revocation{Subject: "node:" + node, At: t.now(), Until: until})
	})
	if err == nil {
		t.hub.Changed(watch.Tokens)
	}
	return err
}

func (t tokens) Revocations(ctx context.Context) (revocations []store.Revocation, err error) {
	err = t.view(ctx, "listing revocations", func(tx Tx) error {
		records, err := all(tx, bucketRevocations, "", func(r revocationRecord) bool { return r.Expires.After(t.now()) })
		for _, r := range records {
			revocations = append(revocations, store.Revocation{Subject: r.Subject, At: r.At, Until: r.Expires})
		}
		return err
	})
	return revocations, err
}

func (t tokens) Watch(ctx context.Context) (<-chan struct{}, error) {
	return t.hub.Watch(ctx, watch.Tokens)
}
