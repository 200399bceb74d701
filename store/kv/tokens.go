package kv

import (
	"context"
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
	// Successor and Reply are set once it was rotated, at Rotated, and are told
	// again within Grace.
	Successor string
	Reply     []byte
	Rotated   time.Time
	Grace     time.Duration
}

func (t tokens) Issue(ctx context.Context, token store.RefreshToken) error {
	return t.update(ctx, "issuing a refresh token", func(tx Tx) error {
		if err := store.CheckKeys(token.Hash, token.Family); err != nil {
			return err
		}
		if err := t.stands(tx, token.Grantee); err != nil {
			return err
		}
		return putRefresh(tx, refreshRecord{RefreshToken: token})
	})
}

// stands refuses what is given to a node that was revoked since.
func (t tokens) stands(tx Tx, to store.Grantee) error {
	if to.Node == "" {
		return nil
	}
	var last revocationRecord
	found, err := get(tx, bucketRevocations, "node:"+to.Node, &last)
	if err == nil && found && last.Expires.After(t.now()) && last.At.Unix() > to.Epoch {
		return store.ErrRevoked
	}
	return err
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
		shown, err := t.shown(tx, rotation.Presented)
		if err != nil {
			return err
		}
		if shown.Successor == "" {
			return t.succeed(tx, shown, rotation, t.now(), &rotated)
		}
		rotated, err = t.again(tx, shown)
		replayed = rotated.Replayed
		return err
	})
	if replayed && err == nil {
		t.hub.Changed(watch.Tokens)
	}
	return rotated, err
}

// shown finds a token that has not expired.
func (t tokens) shown(tx Tx, hash string) (shown refreshRecord, err error) {
	found, err := get(tx, bucketRefresh, hash, &shown)
	if err == nil && (!found || !shown.Expires.After(t.now())) {
		err = store.ErrNotFound
	}
	return shown, err
}

// again is what a token is told that was rotated before: its successor within
// the grace, later that it is a replay, which ends its family.
func (t tokens) again(tx Tx, shown refreshRecord) (store.Rotated, error) {
	if t.now().Sub(shown.Rotated) > shown.Grace {
		dead := store.RefreshToken{Grantee: shown.Grantee, Family: shown.Family}
		return store.Rotated{Replayed: true, Token: dead}, killFamily(tx, shown.Family)
	}
	var next refreshRecord
	found, err := get(tx, bucketRefresh, shown.Successor, &next)
	if err == nil && !found {
		err = store.ErrNotFound
	}
	return store.Rotated{Token: next.RefreshToken, Reply: shown.Reply, Repeated: true}, err
}

func (t tokens) succeed(tx Tx, shown refreshRecord, rotation store.Rotation, now time.Time, rotated *store.Rotated) error {
	next := refreshRecord{RefreshToken: store.RefreshToken{
		Grantee: shown.Grantee, Hash: rotation.Successor, Family: shown.Family, Generation: shown.Generation + 1, Expires: rotation.Expires,
	}}
	if err := putRefresh(tx, next); err != nil {
		return err
	}
	shown.Successor, shown.Reply, shown.Rotated, shown.Grace = rotation.Successor, rotation.Reply, now, rotation.Grace
	*rotated = store.Rotated{Token: next.RefreshToken, Reply: rotation.Reply}
	return put(tx, bucketRefresh, shown.Hash, shown)
}

func (t tokens) Present(ctx context.Context, hash string) (rotated store.Rotated, err error) {
	err = t.update(ctx, "presenting a refresh token", func(tx Tx) error {
		rotated = store.Rotated{}
		if err := store.CheckKeys(hash); err != nil {
			return err
		}
		shown, err := t.shown(tx, hash)
		if err == nil && shown.Successor != "" {
			rotated, err = t.again(tx, shown)
			return err
		}
		rotated.Token = shown.RefreshToken
		return err
	})
	if err != nil {
		return store.Rotated{}, err
	}
	if rotated.Replayed {
		t.hub.Changed(watch.Tokens)
	}
	return rotated, nil
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
		if err := t.stands(tx, key.Grantee); err != nil {
			return err
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
	var before revocationRecord
	if _, err := get(tx, bucketRevocations, r.Subject, &before); err != nil {
		return err
	}
	if before.At.After(r.At) {
		r.At = before.At
	}
	if before.Expires.After(r.Until) {
		r.Until = before.Expires
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
		subject, at := "node:"+node, t.now().Unix()
		var before revocationRecord
		if found, err := get(tx, bucketRevocations, subject, &before); err != nil {
			return err
		} else if found {
			at = max(at, before.At.Unix()+1)
		}
		epoch := time.Unix(at, 0)
		return putRevocation(tx, store.Revocation{Subject: subject, At: epoch, Until: until.Add(max(epoch.Sub(t.now()), 0))})
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
