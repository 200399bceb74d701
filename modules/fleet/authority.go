package fleet

import (
	"context"
	"crypto/subtle"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/caddy-federation/caddy-federation/modules/fleet/token"
)

// verifiedTokens is how many good tokens are remembered.
const verifiedTokens = 10_000

// authority tells who is calling. What a request needs is in this process:
// keys, good tokens, and what was granted and revoked.
type authority struct {
	app  *App
	keys atomic.Pointer[token.KeySet] // ours and those of others

	// good tokens by their whole text: the map's own keyed hash finds, and the
	// comparison of the text decides
	good *otter.Cache[string, *goodToken]

	grants  atomic.Pointer[grants]
	reading sync.Mutex // one reader at a time, so that no older state replaces a newer

	behind catchUp
	remote remoteKeys
}

// goodToken is a token whose signature and claims are good.
type goodToken struct {
	claims token.Claims
	key    *token.Key
	legacy *token.Refusal
	id     string
	caller atomic.Pointer[resolved]
	sought atomic.Bool // the store was read for its node, which has been there since the token was made, or is gone
}

// resolved is who a credential stands for, as long as nothing changed that it
// was found out with.
type resolved struct {
	snapshot *Snapshot
	grants   *grants
	keys     *token.KeySet
	identity *Identity
	refused  *AuthError
}

func newAuthority(a *App) (*authority, error) {
	cache, err := otter.New(&otter.Options[string, *goodToken]{
		MaximumSize: verifiedTokens,
		// maintenance in the caller's turn: nothing is left running at a reload
		Executor: func(work func()) { work() },
	})
	if err != nil {
		return nil, err
	}
	auth := &authority{app: a, good: cache, behind: catchUp{wake: make(chan struct{}, 1)}}
	for range a.RemoteKeys {
		auth.remote.wakes = append(auth.remote.wakes, make(chan struct{}, 1))
	}
	auth.assemble(a.logger)
	return auth, nil
}

// verifier is how tokens are checked now.
func (t *authority) verifier(keys *token.KeySet, g *grants) *token.Verifier {
	a := t.app
	return &token.Verifier{
		Keys: keys, Issuer: a.Issuer, Audience: a.Audience,
		MaxLifetime: time.Duration(a.AccessTTL), Leeway: time.Duration(a.Leeway), Epochs: g.lastRevoked(), Self: a.shared.store.known(),
	}
}

// current is what was granted and revoked, or nil before it was read.
func (t *authority) current() *grants {
	if g := t.grants.Load(); g != nil {
		return g
	}
	return t.app.shared.grants.Load() // what the config before knew, until Start reads the store
}

// The refusals that do not come from the token itself.
var (
	errMissing     = &AuthError{Reason: "missing", Status: http.StatusUnauthorized, Missing: true}
	errUnknownKey  = &AuthError{Reason: "unknown_key", Status: http.StatusUnauthorized}
	errKeyExpired  = &AuthError{Reason: "expired", Status: http.StatusUnauthorized}
	errMethod      = &AuthError{Reason: "method_not_allowed", Status: http.StatusUnauthorized}
	errRevoked     = &AuthError{Reason: "revoked", Status: http.StatusUnauthorized}
	errWrongKey    = &AuthError{Reason: "wrong_key", Status: http.StatusUnauthorized}
	errWrongNode   = &AuthError{Reason: "wrong_node", Status: http.StatusUnauthorized}
	errUnknownNode = &AuthError{Reason: "unknown_node", Status: http.StatusUnauthorized, Unknown: true}
	errStarting    = &AuthError{Reason: "starting", Status: http.StatusServiceUnavailable}
)

func refusedAs(refusal *token.Refusal) *AuthError {
	return &AuthError{Reason: refusal.Reason, Status: http.StatusUnauthorized, Err: refusal}
}

// Authenticate tells who a credential stands for: a token, an API key or,
// where allowed, the shared secret. It touches no store, but for a good token of
// a node that another gateway may have made just now: once per token, for up to
// a second, or until ctx ends. The error's status is 401, 403 for a node that may
// not act now, or 503 before the store was read.
func (a *App) Authenticate(ctx context.Context, raw string, methods MethodSet, policy AuthPolicy) (*Identity, *AuthError) {
	t := a.authority
	switch {
	case raw == "":
		return nil, errMissing
	case len(raw) > token.MaxLength:
		return nil, refusedAs(token.ErrTooLong)
	}
	g := t.current()
	if g == nil {
		return nil, errStarting
	}
	jwt := token.LooksLikeJWT(raw)
	if jwt && methods&MethodJWT != 0 {
		identity, err := t.token(ctx, raw, policy, g)
		if err == nil || methods&MethodSharedSecret == 0 {
			return identity, err
		}
		if identity := t.sharedSecret(raw); identity != nil {
			return identity, nil
		}
		return nil, err
	}
	if methods&MethodSharedSecret != 0 {
		if identity := t.sharedSecret(raw); identity != nil {
			return identity, nil
		}
	}
	if jwt || methods&MethodAPIKey == 0 {
		return nil, errMethod
	}
	return t.apiKey(raw, g)
}

// token checks a token, or finds it among the good ones.
func (t *authority) token(ctx context.Context, raw string, policy AuthPolicy, g *grants) (*Identity, *AuthError) {
	keys := t.keys.Load()
	now := time.Now()
	if good, found := t.good.GetIfPresent(raw); found {
		if keys.Key(good.key.ID) == good.key {
			return t.caller(ctx, good, keys, g, now, policy)
		}
		t.good.Invalidate(raw) // its key was retired
	}
	verified, refusal := t.verifier(keys, g).Verify(raw, now, policy.Legacy)
	if refusal != nil {
		if refusal == token.ErrUnknown {
			t.remote.missed()
		}
		return nil, refusedAs(refusal)
	}
	good := &goodToken{claims: verified.Claims, key: verified.Key, legacy: verified.Legacy, id: tokenID(raw, &verified.Claims)}
	t.good.Set(strings.Clone(raw), good) // raw holds on to all headers of its request
	return t.caller(ctx, good, keys, g, now, policy)
}

// tokenID is what a token is revoked by. The signature is no part of it: that
// of ES256 has two forms.
func tokenID(raw string, claims *token.Claims) string {
	if claims.ID != "" {
		return claims.ID
	}
	return "sha256-" + token.Hash(raw[:strings.LastIndexByte(raw, '.')])
}

// caller is who a good token stands for now.
func (t *authority) caller(ctx context.Context, good *goodToken, keys *token.KeySet, g *grants, now time.Time, policy AuthPolicy) (*Identity, *AuthError) {
	switch {
	case good.claims.Expires <= now.Unix():
		return nil, refusedAs(token.ErrExpired)
	case good.legacy != nil && !policy.Legacy:
		return nil, refusedAs(good.legacy)
	}
	known := t.resolved(good, keys, g)
	if known.refused == errUnknownNode && t.mayBeNew(good, known.snapshot) && t.caughtUp(ctx) == nil {
		good.sought.Store(true)
		known = t.resolved(good, keys, t.current())
	}
	return known.identity, known.refused
}

// resolved is who a good token stands for by what is known now.
func (t *authority) resolved(good *goodToken, keys *token.KeySet, g *grants) *resolved {
	snapshot := t.app.Snapshot()
	known := good.caller.Load()
	if known == nil || known.snapshot != snapshot || known.grants != g || known.keys != keys {
		known = &resolved{snapshot: snapshot, grants: g, keys: keys}
		known.identity, known.refused = resolve(good, snapshot, g, keys)
		good.caller.Store(known)
	}
	return known
}

// resolve finds the node that a good token speaks for.
func resolve(good *goodToken, snapshot *Snapshot, g *grants, keys *token.KeySet) (*Identity, *AuthError) {
	claims, key := &good.claims, good.key
	var node *Node
	if claims.SubjectID != 0 {
		node = snapshot.NodeByID(claims.SubjectID)
	} else {
		node = snapshot.Node(claims.Subject)
	}
	switch {
	case node == nil:
		return nil, errUnknownNode
	case claims.Slug != "" && claims.Slug != node.Slug:
		return nil, errWrongNode
	case key.Node != "" && key.Node != node.Slug:
		return nil, errWrongKey
	case key.Node == "" && key.Algorithm == token.HS256 && keys.Bound(node.Slug):
		// every old node knows the shared secret; this one's own is there to be safe from them
		return nil, errWrongKey
	case g.revoked(good.id, node.Slug, claims.IssuedAt):
		return nil, errRevoked
	}
	epoch, told := issuedUnder(good.id)
	switch last := g.epochs[node.Slug]; {
	case told && epoch < max(last, node.since), !told && node.since != 0 && claims.IssuedAt <= node.since:
		return nil, errRevoked
	case !told: // made by somebody else who has the key
		epoch = max(last, node.since)
	}
	if err := mayAct(node); err != nil {
		return nil, err
	}
	identity := identityOfNode(node)
	identity.epoch = epoch
	identity.Capabilities = intersection(claims.Capabilities, node.Capabilities)
	identity.Method, identity.TokenID, identity.Expires = "jwt", good.id, time.Unix(claims.Expires, 0)
	return identity, nil
}

// mayAct refuses a node that the operator does not let act. A draining one
// finishes its work, and for that it may call.
func mayAct(node *Node) *AuthError {
	switch node.AdminState {
	case AdminEnabled, AdminDraining:
		return nil
	}
	return &AuthError{Reason: "node_" + string(node.AdminState), Status: http.StatusForbidden, NodeStatus: string(node.AdminState)}
}

func identityOfNode(node *Node) *Identity {
	return &Identity{ID: node.Slug, NodeID: node.ID, Name: node.Name, Type: node.Type, FederationID: formatID(node.ID)}
}

// intersection is what both name, sorted.
func intersection(a, b []string) []string {
	both := make([]string, 0, min(len(a), len(b)))
	for _, name := range a {
		if slices.Contains(b, name) && !slices.Contains(both, name) {
			both = append(both, name)
		}
	}
	slices.Sort(both)
	return both
}

// federatedCapabilities is what the shared secret may do: what every node of
// the old fleet may.
var federatedCapabilities = []string{"actions", "search"}

// sharedSecret compares a credential with the federation's secrets.
func (t *authority) sharedSecret(raw string) *Identity {
	shown := token.Hash(raw) // of one length, so that the comparison does not tell the secret's
	for _, key := range t.keys.Load().Secrets() {
		if subtle.ConstantTimeCompare([]byte(shown), []byte(token.Hash(string(key.Secret())))) == 1 {
			return &Identity{
				ID: FederatedID, Name: FederatedID, Type: TypeClient, Capabilities: federatedCapabilities,
				Method: "shared_secret", TokenID: key.ID,
			}
		}
	}
	return nil
}

// apiKey finds an API key.
func (t *authority) apiKey(raw string, g *grants) (*Identity, *AuthError) {
	var key *apiKey
	if token.IsAPIKey(raw) {
		id, ok := token.APIKeyID(raw)
		if !ok {
			return nil, errUnknownKey
		}
		key = g.byID[id]
	} else if token.Importable(raw) {
		key = g.imported[token.Hash(raw)]
	}
	if key == nil || subtle.ConstantTimeCompare([]byte(key.hash), []byte(token.Hash(raw))) != 1 {
		return nil, errUnknownKey
	}
	if !key.expires.IsZero() && !key.expires.After(time.Now()) {
		return nil, errKeyExpired
	}
	snapshot := t.app.Snapshot()
	known := key.caller.Load()
	if known == nil || known.snapshot != snapshot {
		known = &resolved{snapshot: snapshot}
		known.identity, known.refused = key.resolve(snapshot, g)
		key.caller.Store(known)
	}
	return known.identity, known.refused
}
