package redis

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/watch"
)

// tokens: a hash per refresh token and a set of hashes per family, a set of
// families per node; API keys and revocations are one hash each, with a
// sorted set of their ends. Refresh tokens expire by themselves.
type tokens struct{ *Store }

func (t tokens) at(rest string) string { return t.key(tokensAt, rest) }

func (t tokens) refresh(hash string) string { return t.at(":refresh:" + hash) }

func (t tokens) Issue(ctx context.Context, token store.RefreshToken) error {
	const what = "issuing a refresh token"
	if err := store.CheckKeys(token.Hash, token.Family); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	_, err := t.run(ctx, what, tokenIssue, []string{t.refresh(token.Hash), t.at(":revocations")},
		t.at(""), token.Hash, token.Family, token.Generation, token.Node, micros(token.Expires), token.NodeID, token.Epoch)
	return err
}

func (t tokens) Rotate(ctx context.Context, rotation store.Rotation) (store.Rotated, error) {
	const what = "rotating a refresh token"
	if err := checkRecord(len(rotation.Reply), rotation.Presented, rotation.Successor); err != nil {
		return store.Rotated{}, fmt.Errorf("%s: %w", what, err)
	}
	r, err := t.run(ctx, what, tokenRotate,
		[]string{t.refresh(rotation.Presented), t.at(":reply:" + rotation.Presented), t.refresh(rotation.Successor), t.version(watch.Tokens)},
		t.at(""), rotation.Successor, micros(rotation.Expires), rotation.Reply, rotation.Grace.Milliseconds(), t.channel(watch.Tokens))
	if err != nil {
		return store.Rotated{}, err
	}
	return readRotated(r), nil
}

// readRotated reads how it went, then hash, family, generation, node, end,
// number and epoch of the token that counts, then the reply.
func readRotated(r reply) store.Rotated {
	rotated := store.Rotated{Repeated: r.text(0) == "repeated", Replayed: r.text(0) == "replayed"}
	rotated.Token = store.RefreshToken{
		Grantee: store.Grantee{Node: r.text(4), NodeID: r.number(6), Epoch: r.number(7)},
		Hash:    r.text(1), Family: r.text(2), Generation: int(r.number(3)), Expires: r.time(5),
	}
	if text := r.text(8); text != "" {
		rotated.Reply = []byte(text)
	}
	return rotated
}

func (t tokens) Present(ctx context.Context, hash string) (store.Rotated, error) {
	const what = "presenting a refresh token"
	if err := store.CheckKeys(hash); err != nil {
		return store.Rotated{}, fmt.Errorf("%s: %w", what, err)
	}
	r, err := t.run(ctx, what, tokenPresent, []string{t.refresh(hash), t.at(":reply:" + hash), t.version(watch.Tokens)},
		t.at(""), hash, t.channel(watch.Tokens))
	if err != nil {
		return store.Rotated{}, err
	}
	return readRotated(r), nil
}

func (t tokens) RevokeFamily(ctx context.Context, family string) error {
	const what = "revoking a token family"
	if err := store.CheckKeys(family); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	_, err := t.runLong(ctx, what, tokenRevokeFamily, []string{t.version(watch.Tokens)}, t.at(""), family, t.channel(watch.Tokens))
	return err
}

// apiKey is the JSON of a key, after "<expires> <length of node> <node>",
// which the scripts read.
type apiKey struct {
	ID            string
	NodeID, Epoch int64
	Data          []byte
}

func (t tokens) PutKey(ctx context.Context, key store.APIKey) error {
	const what = "storing an api key"
	text, err := json.Marshal(apiKey{key.ID, key.NodeID, key.Epoch, key.Data})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := checkRecord(len(text), key.Hash, key.ID); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	record := fmt.Sprintf("%d %d %s%s", micros(key.Expires), len(key.Node), key.Node, text)
	_, err = t.run(ctx, what, keyPut, []string{t.at(":keys"), t.at(":keys:ends"), t.version(watch.Tokens), t.at(":revocations")},
		key.Hash, micros(key.Expires), record, t.channel(watch.Tokens), key.Node, key.Epoch)
	return err
}

// readKey reads what is stored of a key.
func readKey(hash, text string) (store.APIKey, error) {
	var expires int64
	var length int
	broken := fmt.Errorf("an api key: %w", errUnread)
	if _, err := fmt.Sscanf(text, "%d %d", &expires, &length); err != nil {
		return store.APIKey{}, broken
	}
	_, rest, _ := strings.Cut(text, " ")
	if _, rest, _ = strings.Cut(rest, " "); length < 0 || length > len(rest) {
		return store.APIKey{}, broken
	}
	var key apiKey
	if err := json.Unmarshal([]byte(rest[length:]), &key); err != nil {
		return store.APIKey{}, broken
	}
	to := store.Grantee{Node: rest[:length], NodeID: key.NodeID, Epoch: key.Epoch}
	return store.APIKey{Grantee: to, Hash: hash, ID: key.ID, Data: key.Data, Expires: moment(expires)}, nil
}

func over(end, now time.Time) bool { return !end.IsZero() && !end.After(now) }

func (t tokens) Key(ctx context.Context, hash string) (store.APIKey, error) {
	const what = "getting an api key"
	r, err := t.run(ctx, what, hashOneScript, []string{t.at(":keys")}, hash)
	if err != nil {
		return store.APIKey{}, err
	}
	key, err := readKey(hash, r.text(1))
	if err == nil && over(key.Expires, r.time(0)) {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.APIKey{}, fmt.Errorf("%s: %w", what, err)
	}
	return key, nil
}

func (t tokens) Keys(ctx context.Context, node string) ([]store.APIKey, error) {
	const what = "listing api keys"
	r, err := t.runLong(ctx, what, hashAllScript, []string{t.at(":keys")})
	if err != nil {
		return nil, err
	}
	now, all := r.time(0), r.list(1)
	var keys []store.APIKey
	for i := 0; i+1 < len(all); i += 2 {
		key, err := readKey(all.text(i), all.text(i+1))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		if (node == "" || key.Node == node) && !over(key.Expires, now) {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b store.APIKey) int { return strings.Compare(a.ID, b.ID) })
	return keys, nil
}

func (t tokens) DeleteKey(ctx context.Context, hash string) error {
	_, err := t.run(ctx, "deleting an api key", keyDelete, []string{t.at(":keys"), t.at(":keys:ends"), t.version(watch.Tokens)},
		hash, t.channel(watch.Tokens))
	return err
}

func (t tokens) Revoke(ctx context.Context, revocation store.Revocation) error {
	const what = "revoking tokens"
	if err := store.CheckKeys(revocation.Subject); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	_, err := t.run(ctx, what, tokenRevoke, []string{t.at(":revocations"), t.at(":revocations:ends"), t.version(watch.Tokens)},
		revocation.Subject, micros(revocation.At), micros(revocation.Until), t.channel(watch.Tokens))
	return err
}

func (t tokens) RevokeNode(ctx context.Context, node string, until time.Time) error {
	const what = "revoking a node's tokens"
	if err := store.CheckKeys("node:" + node); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	_, err := t.runLong(ctx, what, tokenRevokeNode,
		[]string{t.at(":node:" + node), t.at(":keys"), t.at(":keys:ends"), t.at(":revocations"), t.at(":revocations:ends"), t.version(watch.Tokens)},
		t.at(""), node, micros(until), t.channel(watch.Tokens))
	return err
}

func (t tokens) Revocations(ctx context.Context) ([]store.Revocation, error) {
	const what = "listing revocations"
	r, err := t.runLong(ctx, what, hashAllScript, []string{t.at(":revocations")})
	if err != nil {
		return nil, err
	}
	now, all := r.time(0), r.list(1)
	var revocations []store.Revocation
	for i := 0; i+1 < len(all); i += 2 {
		times, err := readHead(all.text(i+1), 2)
		if err != nil {
			return nil, fmt.Errorf("%s: revocation %q: %w", what, all.text(i), err)
		}
		if until := moment(times[1]); until.After(now) {
			revocations = append(revocations, store.Revocation{Subject: all.text(i), At: moment(times[0]), Until: until})
		}
	}
	slices.SortFunc(revocations, func(a, b store.Revocation) int { return strings.Compare(a.Subject, b.Subject) })
	return revocations, nil
}

func (t tokens) Watch(ctx context.Context) (<-chan struct{}, error) {
	return t.hub.Watch(ctx, watch.Tokens)
}
