package nodeapi

import (
	"errors"
	"net/http"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/modules/fleet/problem"
)

// refresh answers POST /v1/tokens/refresh: a new pair for a refresh token,
// which is all that it takes.
func (h *Handler) refresh(x *exchange) error {
	var shown struct {
		RefreshToken string `json:"refresh_token"`
	}
	if refused := x.read(&shown); refused != nil {
		return x.refuse(refused)
	}
	if shown.RefreshToken == "" {
		return x.refuse(invalid("invalid_request", "refresh_token: required"))
	}
	pair, err := h.fleet.RefreshTokens(x.Context(), shown.RefreshToken)
	if err != nil {
		return h.failRefresh(x, err, problem.Problem{Detail: "the refresh token is not valid"})
	}
	return x.answer(http.StatusOK, given(pair))
}

// failRefresh answers 401 for a refresh token that is no good, in the words of
// the face, and 403 where it stays good, for a node that may not act now.
func (h *Handler) failRefresh(x *exchange, err error, invalid problem.Problem) error {
	var inactive *fleet.AuthError
	switch {
	case errors.Is(err, fleet.ErrInvalidRefresh):
		invalid.Status, invalid.Code = http.StatusUnauthorized, "invalid_grant"
		return x.refuse(&invalid)
	case errors.As(err, &inactive):
		status := inactive.NodeStatus
		if x.compatible {
			status = stateOfOld(fleet.NodeView{AdminState: fleet.AdminState(status)})
		}
		return x.refuse(&problem.Problem{Status: inactive.Status, Code: "node_not_active", Error: "Forbidden",
			Detail: "the node may not act now; its refresh token stays good", NodeStatus: status})
	}
	return h.fail(x, err)
}

// revokeToken answers POST /v1/tokens/revoke (RFC 7009). Who has a token may
// end it, so nothing else is asked; one that is not known is no error.
func (h *Handler) revokeToken(x *exchange) error {
	shown, refused := x.revocation()
	if refused != nil {
		return x.refuse(refused)
	}
	if shown == "" {
		return x.refuse(invalid("invalid_request", "token: required"))
	}
	if err := h.fleet.RevokeToken(x.Context(), shown); err != nil {
		return h.fail(x, err)
	}
	return x.answer(http.StatusOK, struct{}{})
}

// revocation reads the token from a form, as the RFC has it, or from JSON.
func (x *exchange) revocation() (string, *problem.Problem) {
	if x.isForm() {
		form, refused := x.form()
		return form.Get("token"), refused
	}
	var shown struct {
		Token string `json:"token"`
		Hint  string `json:"token_type_hint"`
	}
	refused := x.read(&shown)
	return shown.Token, refused
}

// newAPIKey answers POST /v1/nodes/{slug}/api-key. The key is shown this once.
func (h *Handler) newAPIKey(x *exchange) error {
	node, err := h.node(x, mayTokens, true)
	if node == nil {
		return err
	}
	if node.AdminState == fleet.AdminDisabled || node.AdminState == fleet.AdminPending {
		return x.refuse(disabled())
	}
	if stands, err := h.still(x, mayTokens, node.Slug); !stands {
		return err
	}
	key, id, err := h.fleet.NewAPIKey(x.Context(), node, x.caller)
	if err != nil {
		return h.fail(x, err)
	}
	return x.answer(http.StatusCreated, map[string]string{"node": node.Slug, "id": id, "api_key": key})
}

// revokeNode answers POST /v1/nodes/{slug}/revoke: every token and key of the
// node is dead at once, also of one that has left the Caddyfile.
func (h *Handler) revokeNode(x *exchange) error {
	slug := x.PathValue("slug")
	if allowed, err := x.may(mayTokens, slug); !allowed {
		return err
	}
	if named, err := h.fleet.Named(x.Context(), slug); err != nil {
		return h.fail(x, err)
	} else if !named {
		return x.unknownNode(h, slug)
	}
	if stands, err := h.still(x, mayTokens, slug); !stands {
		return err
	}
	if err := h.fleet.RevokeNode(x.Context(), slug); err != nil {
		return h.fail(x, err)
	}
	return x.answer(http.StatusOK, map[string]any{"node": slug, "revoked": true})
}

// jwks answers GET /.well-known/jwks.json (RFC 7517): public keys only.
func (h *Handler) jwks(x *exchange) error {
	header := x.w.Header()
	header.Set("Content-Type", "application/jwk-set+json")
	header.Set("Cache-Control", "public, max-age=300")
	header.Set("X-Content-Type-Options", "nosniff")
	x.w.WriteHeader(http.StatusOK)
	if x.Method == http.MethodHead {
		return nil
	}
	_, err := x.w.Write(h.fleet.JWKS())
	return err
}
