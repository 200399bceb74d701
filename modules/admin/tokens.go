package admin

import (
	"errors"
	"net/http"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/store"
)

// Tokens is the answer to POST /federation/tokens. Both are shown once.
type Tokens struct {
	Node         string `json:"node"`
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"`
}

// issueTokens gives a node a pair of tokens, for an operator to carry to it.
func issueTokens(x *exchange) error {
	var request struct {
		Node string `json:"node"`
	}
	if err := x.read(&request, maxBody); err != nil {
		return err
	}
	node, err := x.mayAct(request.Node)
	if err != nil {
		return err
	}
	pair, err := x.app.IssueTokens(x.Context(), node)
	if err != nil {
		return tokenError(err)
	}
	return x.answer(http.StatusCreated, Tokens{node.Slug, pair.AccessToken, pair.RefreshToken, "Bearer", int64(pair.ExpiresIn.Seconds())})
}

// mayAct returns a node that may be given something to prove itself with.
func (x *exchange) mayAct(slug string) (*fleet.Node, error) {
	node, err := x.nodeNamed(slug)
	if err != nil {
		return nil, err
	}
	if node.AdminState == fleet.AdminPending || node.AdminState == fleet.AdminDisabled {
		return nil, refuse(http.StatusConflict, "node %q is %s: what it was given would be refused", node.Slug, node.AdminState)
	}
	return node, nil
}

// tokenError says what an operator can do about it.
func tokenError(err error) error {
	switch {
	case errors.Is(err, fleet.ErrCannotSign), errors.Is(err, fleet.ErrKeyExists):
		return refuse(http.StatusConflict, "%s", err.Error())
	case errors.Is(err, fleet.ErrBadKey):
		return refuse(http.StatusBadRequest, "%s", err.Error())
	default:
		return err
	}
}

// shownToken is a body with a token in it.
type shownToken struct {
	Token string `json:"token"`
}

func (x *exchange) token() (string, error) {
	var shown shownToken
	if err := x.read(&shown, maxBody); err != nil {
		return "", err
	}
	if shown.Token == "" {
		return "", refuse(http.StatusBadRequest, "token: required")
	}
	return shown.Token, nil
}

// revokeToken ends one token. One that is not known is no error (RFC 7009).
func revokeToken(x *exchange) error {
	token, err := x.token()
	if err != nil {
		return err
	}
	if err := x.app.RevokeToken(x.Context(), token); err != nil {
		return err
	}
	x.w.WriteHeader(http.StatusNoContent)
	return nil
}

// inspectToken says in words whether a token would be taken, and why not.
func inspectToken(x *exchange) error {
	token, err := x.token()
	if err != nil {
		return err
	}
	return x.answer(http.StatusOK, x.app.InspectToken(x.Context(), token))
}

// NewKey is the answer to calls that make an API key. It is shown once.
type NewKey struct {
	// Name is the node, or what the key of a client is called.
	Name   string `json:"name"`
	ID     string `json:"id"`
	APIKey string `json:"api_key"`
}

func newAPIKey(x *exchange) error {
	node, err := x.mayAct(x.PathValue("slug"))
	if err != nil {
		return err
	}
	key, id, err := x.app.NewAPIKey(x.Context(), node, nil)
	if err != nil {
		return tokenError(err)
	}
	return x.answer(http.StatusCreated, NewKey{node.Slug, id, key})
}

// revokeNode ends everything that a node was given, also one that has left the
// Caddyfile.
func revokeNode(x *exchange) error {
	slug := x.PathValue("slug")
	if err := x.named(slug); err != nil {
		return err
	}
	if err := x.app.RevokeNode(x.Context(), slug); err != nil {
		return err
	}
	x.w.WriteHeader(http.StatusNoContent)
	return nil
}

// newClientKey makes a key for a caller that is no node.
func newClientKey(x *exchange) error {
	var request struct {
		Name         string    `json:"name"`
		Capabilities []string  `json:"capabilities"`
		Expires      time.Time `json:"expires,omitzero"`
	}
	if err := x.read(&request, maxBody); err != nil {
		return err
	}
	if !request.Expires.IsZero() && request.Expires.Before(time.Now()) {
		return refuse(http.StatusBadRequest, "expires: that time is over")
	}
	for _, capability := range request.Capabilities {
		if !fleet.ValidCapability(capability) {
			return refuse(http.StatusBadRequest, "capabilities: %q is not one word of visible characters without quotes and backslashes, as in search", clip(capability))
		}
	}
	key, id, err := x.app.NewClientKey(x.Context(), request.Name, request.Capabilities, request.Expires)
	if err != nil {
		return tokenError(err)
	}
	return x.answer(http.StatusCreated, NewKey{request.Name, id, key})
}

// KeyList is the answer to GET /federation/keys.
type KeyList struct {
	Keys []fleet.APIKey `json:"keys"`
}

// listKeys shows what may be told of the API keys, of ?node= or of all.
func listKeys(x *exchange) error {
	slug := x.URL.Query().Get("node")
	if slug != "" {
		if err := x.named(slug); err != nil {
			return err
		}
	}
	list := KeyList{Keys: x.app.APIKeys(slug)}
	if list.Keys == nil {
		list.Keys = []fleet.APIKey{}
	}
	return x.answer(http.StatusOK, list)
}

// named refuses a name that no node has, or had when it left the Caddyfile.
func (x *exchange) named(slug string) error {
	named, err := x.app.Named(x.Context(), slug)
	if err == nil && !named {
		_, err = x.nodeNamed(slug)
	}
	return err
}

func deleteKey(x *exchange) error {
	id := x.PathValue("id")
	if err := x.app.DeleteAPIKey(x.Context(), id); errors.Is(err, store.ErrNotFound) {
		return refuse(http.StatusNotFound, "there is no API key %q", clip(id))
	} else if err != nil {
		return err
	}
	x.w.WriteHeader(http.StatusNoContent)
	return nil
}
