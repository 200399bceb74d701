package fleet

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Identity is who is calling. It is made when a credential was accepted and is
// never changed: requests with the same token share one.
type Identity struct {
	// ID is the node's slug, the name of an API key that belongs to no node,
	// or "federated" for the shared secret.
	ID string `json:"id"`
	// NodeID is 0 for a caller that is no node of ours.
	NodeID int64 `json:"node_id,omitempty"`
	// Name is for people.
	Name string `json:"name"`
	// Type is child, master or client.
	Type string `json:"type"`
	// FederationID is NodeID as text; empty when there is none.
	FederationID string `json:"federation_id,omitempty"`
	// Capabilities are what the caller may use: those that the credential and
	// the registry both name. They are sorted.
	Capabilities []string `json:"capabilities"`
	// Method is what proved it: jwt, api_key or shared_secret.
	Method string `json:"method"`
	// TokenID is the token's `jti` or the key's id; it is no secret.
	TokenID string `json:"token_id,omitempty"`
	// Expires is when the credential ends by itself; zero when it does not.
	Expires time.Time `json:"expires,omitzero"`

	epoch int64 // of the node's last revocation when the credential was given, or when it was accepted
}

// The types of a caller.
const (
	TypeChild  = "child"
	TypeMaster = "master"
	// TypeClient is a caller that is no node.
	TypeClient = "client"
)

// FederatedID is the id of a caller that showed the shared secret, as the old
// nodes name it.
const FederatedID = "federated"

// Has tells whether the caller may use the capability. Nobody has none.
func (i *Identity) Has(capability string) bool {
	return i != nil && slices.Contains(i.Capabilities, capability)
}

// isNode tells whether the caller is the node, and no earlier one of its slug.
func (i *Identity) isNode(slug string, id int64) bool {
	return i != nil && i.NodeID != 0 && i.NodeID == id && i.ID == slug
}

// identityVar is where a request carries its caller.
const identityVar = "federation.identity"

// SetIdentity notes who is calling, for the handlers that follow.
func SetIdentity(r *http.Request, id *Identity) { caddyhttp.SetVar(r.Context(), identityVar, id) }

// IdentityOf returns who is calling, or nil when nobody proved it.
func IdentityOf(r *http.Request) *Identity {
	id, _ := caddyhttp.GetVar(r.Context(), identityVar).(*Identity)
	return id
}

// AuthError is why a credential was refused. What a caller is told follows
// from its status and flags alone; the rest is for the log.
type AuthError struct {
	// Reason is one word for logs and metrics, of a small fixed set.
	Reason string
	// Status is 401 (who are you) or 403 (you may not).
	Status int
	// NodeStatus is the state of a node that is known but may not act now; it
	// is set with status 403.
	NodeStatus string
	// Missing: no credential was shown.
	Missing bool
	// Unknown: the credential is good, and its node is not in the registry.
	Unknown bool
	// Err is the cause, without any part of a credential; it may be nil.
	Err error
}

func (e *AuthError) Error() string {
	if e.Err == nil {
		return e.Reason
	}
	return fmt.Sprintf("%s: %v", e.Reason, e.Err)
}

// Unwrap returns the cause.
func (e *AuthError) Unwrap() error { return e.Err }

// MethodSet is a set of the ways to prove an identity.
type MethodSet uint8

// The ways to prove an identity.
const (
	MethodJWT MethodSet = 1 << iota
	MethodAPIKey
	MethodSharedSecret
)

// DefaultMethods are what is allowed where nothing is said.
const DefaultMethods = MethodJWT | MethodAPIKey

var methodNames = []struct {
	name   string
	method MethodSet
}{{"jwt", MethodJWT}, {"api_key", MethodAPIKey}, {"shared_secret", MethodSharedSecret}}

// ParseMethods reads names as they stand in a config: jwt, api_key and
// shared_secret. No name at all is [DefaultMethods].
func ParseMethods(names []string) (set MethodSet, err error) {
	if len(names) == 0 {
		return DefaultMethods, nil
	}
next:
	for _, name := range names {
		for _, known := range methodNames {
			if known.name == name {
				set |= known.method
				continue next
			}
		}
		return 0, fmt.Errorf("unknown method %q, expected jwt, api_key or shared_secret", name)
	}
	return set, nil
}

// String names the methods of the set, separated by spaces.
func (s MethodSet) String() string {
	var names []string
	for _, known := range methodNames {
		if s&known.method != 0 {
			names = append(names, known.name)
		}
	}
	return strings.Join(names, " ")
}

// AuthPolicy is how strict a face is.
type AuthPolicy struct {
	// Legacy accepts what the old fleet sends: tokens without `kid`, `jti` or
	// `aud`, and of another issuer.
	Legacy bool
}

// TokenPair is what a node is given. Both tokens are secrets.
type TokenPair struct {
	AccessToken string
	// RefreshToken is empty when the one that was shown stays good.
	RefreshToken string
	// ExpiresIn is the life of the access token.
	ExpiresIn time.Duration
	// Node is whom the tokens speak for.
	Node *Node
}
