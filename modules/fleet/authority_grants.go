package fleet

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/store"
)

// grants is what was granted and revoked at one moment. It is never changed.
type grants struct {
	byID     map[string]*apiKey // ours, by their public id
	imported map[string]*apiKey // made by others, by their hash
	others   map[string]bool    // the ids of those
	tokens   map[string]bool    // revoked tokens, by their id
	families map[string]bool    // revoked families of tokens
	epochs   map[string]int64   // when nodes were last revoked, in seconds, by slug
}

// Subjects of a revocation.
const (
	revokedToken  = "jti:"
	revokedFamily = "family:"
	revokedNode   = "node:"
)

// revoked tells whether a token is dead.
func (g *grants) revoked(id, node string, issuedAt int64) bool {
	if g.tokens[id] {
		return true
	}
	if family, _, found := strings.Cut(id, "."); found && g.families[family] {
		return true
	}
	epoch, found := g.epochs[node]
	return found && issuedAt <= epoch
}

// lastRevoked are the epochs of all nodes. They are not to be changed.
func (g *grants) lastRevoked() map[string]int64 {
	if g == nil {
		return nil
	}
	return g.epochs
}

// epoch is the second of the node's last revocation, 0 when there is none that
// still matters. What the node is given carries it, and is dead once there is
// a later one.
func (a *App) epoch(slug string) int64 { return a.authority.current().lastRevoked()[slug] }

func formatID(id int64) string { return strconv.FormatInt(id, 10) }

// read takes over what the store holds.
func (t *authority) read(ctx context.Context, tokens store.Tokens) error {
	t.reading.Lock()
	defer t.reading.Unlock()
	if err := t.app.shared.store.memory.revokeAgain(ctx, tokens, t.app.logger); err != nil {
		return err
	}
	keys, err := tokens.Keys(ctx, "")
	if err != nil {
		return err
	}
	revocations, err := tokens.Revocations(ctx)
	if err != nil {
		return err
	}
	t.app.shared.store.memory.note(revocations)
	next := &grants{
		byID: make(map[string]*apiKey, len(keys)), imported: make(map[string]*apiKey), others: make(map[string]bool),
		tokens: make(map[string]bool), families: make(map[string]bool), epochs: make(map[string]int64),
	}
	for _, stored := range keys {
		key := &apiKey{hash: stored.Hash, id: stored.ID, to: stored.Grantee, expires: stored.Expires}
		if err := json.Unmarshal(stored.Data, &key.data); err != nil {
			t.app.logger.Error("api key is left out: its record cannot be read", zap.String("key", stored.ID), zap.Error(err))
			continue
		}
		slices.Sort(key.data.Capabilities)
		if key.data.Imported {
			next.imported[key.hash], next.others[key.id] = key, true
		} else {
			next.byID[key.id] = key
		}
	}
	for _, revocation := range revocations {
		kind, subject := revocation.Subject, ""
		if i := strings.IndexByte(kind, ':'); i >= 0 {
			kind, subject = kind[:i+1], kind[i+1:]
		}
		switch kind {
		case revokedToken:
			next.tokens[subject] = true
		case revokedFamily:
			next.families[subject] = true
		case revokedNode:
			next.epochs[subject] = revocation.At.Unix()
		}
	}
	if old := t.grants.Load(); old != nil && old.same(next) {
		return nil // and the good tokens stay resolved
	}
	t.grants.Store(next)
	t.app.shared.grants.Store(next)
	return nil
}

// same tells whether nothing has changed.
func (g *grants) same(other *grants) bool {
	if len(g.byID) != len(other.byID) || len(g.imported) != len(other.imported) || len(g.tokens) != len(other.tokens) ||
		len(g.families) != len(other.families) || len(g.epochs) != len(other.epochs) {
		return false
	}
	for node, epoch := range other.epochs {
		if g.epochs[node] != epoch {
			return false
		}
	}
	for id := range other.tokens {
		if !g.tokens[id] {
			return false
		}
	}
	for id := range other.families {
		if !g.families[id] {
			return false
		}
	}
	for hash := range other.imported { // a key is never changed once stored
		if g.imported[hash] == nil {
			return false
		}
	}
	for id, key := range other.byID {
		if known := g.byID[id]; known == nil || known.hash != key.hash {
			return false
		}
	}
	return true
}

// grantsPoll is how often a store that others write to is read without being
// told of a change.
const grantsPoll = time.Second

// watch follows what is granted and revoked until ctx ends. While the store is
// gone, what was last known counts.
func (t *authority) watch(ctx context.Context, opened store.Store, changes <-chan struct{}) {
	var poll <-chan time.Time
	if opened.Shared() || changes == nil {
		ticker := time.NewTicker(grantsPoll)
		defer ticker.Stop()
		poll = ticker.C
	}
	failing := false
	var retry <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case _, more := <-changes:
			if !more {
				return
			}
		case <-poll:
		case <-retry:
		}
		err := t.read(ctx, opened.Tokens())
		if retry = nil; err != nil && poll == nil {
			retry = time.After(grantsPoll)
		}
		if (err != nil) != failing && ctx.Err() == nil {
			failing = err != nil
			if failing {
				t.app.logger.Error("revocations and api keys cannot be read, the last known ones count", zap.Error(err))
			} else {
				t.app.logger.Info("revocations and api keys are read again")
			}
		}
	}
}
