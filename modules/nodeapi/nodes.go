package nodeapi

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/modules/fleet/problem"
)

// listNodes answers GET /v1/nodes: all nodes to who may read them, and a node
// itself to the others.
func (h *Handler) listNodes(x *exchange) error {
	if x.caller == nil {
		return x.unauthorized()
	}
	views := make([]fleet.NodeView, 0)
	for _, node := range h.fleet.Snapshot().Nodes {
		if x.caller.Has(mayReadNodes) || x.isNode(node.Slug) {
			views = append(views, node.View())
		}
	}
	return x.answer(http.StatusOK, map[string]any{"nodes": views, "count": len(views)})
}

// node returns the node that the path names, if the caller may do this to it.
func (h *Handler) node(x *exchange, capability string, itself bool) (*fleet.Node, error) {
	slug := x.PathValue("slug")
	own := ""
	if itself {
		own = slug
	}
	if allowed, err := x.may(capability, own); !allowed {
		return nil, err
	}
	node := h.fleet.Snapshot().Node(slug)
	if node == nil {
		return nil, x.unknownNode(h, slug)
	}
	return node, nil
}

// getNode answers GET /v1/nodes/{slug}.
func (h *Handler) getNode(x *exchange) error {
	node, err := h.node(x, mayReadNodes, true)
	if node == nil {
		return err
	}
	return x.answer(http.StatusOK, node.View())
}

// credentials are the tokens that a node is given.
type credentials struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token,omitempty"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"`
}

func given(pair fleet.TokenPair) credentials {
	return credentials{pair.AccessToken, pair.RefreshToken, "Bearer", int64(pair.ExpiresIn.Seconds())}
}

// register answers POST /v1/nodes: 201 with tokens, 202 while the node waits
// for approval, 200 when it had registered before.
func (h *Handler) register(x *exchange) error {
	var wish fleet.Registration
	if refused := x.read(&wish); refused != nil {
		return x.refuse(refused)
	}
	secret, as := h.enrollment(x)
	if as != nil && !h.fleet.Stands(as, "") {
		return x.unauthorizedNow()
	}
	if as.Has(mayWriteNodes) {
		return h.addNode(x, wish)
	}
	registered, err := h.fleet.Register(x.Context(), wish, secret, as)
	if err != nil {
		return h.fail(x, err)
	}
	return h.welcome(x, registered.Node, registered.Created, func() (fleet.TokenPair, error) {
		return h.fleet.IssueRegistered(x.Context(), registered)
	})
}

// enrollment returns the secret that was shown, and who else the caller
// proved to be.
func (h *Handler) enrollment(x *exchange) (secret string, as *fleet.Identity) {
	secret, as = x.Header.Get("X-Enrollment-Secret"), x.caller
	if as != nil {
		return secret, as
	}
	bearer, found := strings.CutPrefix(x.Header.Get("Authorization"), "Bearer ")
	if !found {
		bearer = ""
	}
	// a node that comes back may show its own token instead of a proof; where
	// the enrollment secret is the bearer, as in the old fleet, in X-Node-Token;
	// one of the old fleet shows an old one where it speaks as it did
	for _, shown := range []string{bearer, x.Header.Get("X-Node-Token")} {
		identity, refused := h.fleet.Authenticate(x.Context(), shown, fleet.DefaultMethods, fleet.AuthPolicy{Legacy: x.compatible})
		if refused == nil {
			as = identity
			break
		}
	}
	if secret == "" {
		secret = bearer
	}
	return secret, as
}

// addNode adds a node by the word of somebody who may write nodes.
func (h *Handler) addNode(x *exchange, wish fleet.Registration) error {
	config, err := wish.Config()
	if err != nil {
		return h.fail(x, err)
	}
	node, err := h.fleet.AddNodeSaying(x.Context(), config, wish.Version, wish.Metadata)
	if err != nil {
		return h.fail(x, err)
	}
	return h.welcome(x, node, true, func() (fleet.TokenPair, error) { return h.fleet.IssueTokens(x.Context(), node) })
}

// welcome answers a registration.
func (h *Handler) welcome(x *exchange, node *fleet.Node, created bool, issue func() (fleet.TokenPair, error)) error {
	body := struct {
		Node   fleet.NodeView `json:"node"`
		State  string         `json:"state"`
		Tokens *credentials   `json:"tokens,omitempty"`
	}{Node: node.View(), State: string(node.AdminState)}
	x.w.Header().Set("Location", x.prefix("/v1/")+"/v1/nodes/"+node.Slug)
	if node.AdminState == fleet.AdminPending {
		return x.answer(http.StatusAccepted, body)
	}
	pair, err := issue()
	if err != nil {
		return h.fail(x, err)
	}
	tokens := given(pair)
	body.Tokens = &tokens
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	return x.answer(status, body)
}

func disabled() *problem.Problem {
	return &problem.Problem{Status: http.StatusForbidden, Code: "node_disabled", Error: "Forbidden",
		Detail: "an operator has disabled this node"}
}

// patchNode answers PATCH /v1/nodes/{slug}.
func (h *Handler) patchNode(x *exchange) error {
	node, err := h.node(x, mayWriteNodes, true)
	if node == nil {
		return err
	}
	var change map[string]json.RawMessage
	if refused := x.read(&change); refused != nil {
		return x.refuse(refused)
	}
	if len(change) == 0 {
		return x.refuse(invalid("invalid_request", "there is nothing to change, expected some of "+strings.Join(fleet.ChangeMembers(), ", ")))
	}
	by := fleet.ByManager
	if x.isNode(node.Slug) && (!x.caller.Has(mayWriteNodes) || fleet.SaysOfItself(change)) {
		by = fleet.ByNode
	}
	if stands, err := h.still(x, mayWriteNodes, node.Slug); !stands {
		return err
	}
	changed, err := h.fleet.UpdateNode(x.Context(), node.Slug, change, by)
	if err != nil {
		return h.fail(x, err)
	}
	return x.answer(http.StatusOK, changed.View())
}

// deleteNode answers DELETE /v1/nodes/{slug}, also for one that is stored and
// cannot be built. A node that an operator holds back cannot leave by itself:
// it could come back as if nothing had been said.
func (h *Handler) deleteNode(x *exchange) error {
	slug := x.PathValue("slug")
	if allowed, err := x.may(mayWriteNodes, slug); !allowed {
		return err
	}
	node := h.fleet.Snapshot().Node(slug)
	if node != nil && node.AdminState != fleet.AdminEnabled && !x.caller.Has(mayWriteNodes) {
		return x.refuse(&problem.Problem{Status: http.StatusForbidden, Code: fleet.CodeNotPermitted,
			Detail: "an operator has this node in " + string(node.AdminState) + "; only an operator can unregister it now"})
	}
	if stands, err := h.still(x, mayWriteNodes, slug); !stands {
		return err
	}
	remove := h.fleet.DeleteNode
	if !x.caller.Has(mayWriteNodes) {
		remove = h.fleet.LeaveNode
	}
	if err := remove(x.Context(), slug); err != nil {
		return h.fail(x, err)
	}
	x.w.WriteHeader(http.StatusNoContent)
	return nil
}

// setState says the operator's word.
func setState(state fleet.AdminState, approval bool) endpoint {
	return func(h *Handler, x *exchange) error {
		node, err := h.node(x, mayWriteNodes, false)
		if node == nil {
			return err
		}
		if waits := node.AdminState == fleet.AdminPending; approval != waits && (approval || state == fleet.AdminEnabled) {
			detail := "the node waits for approval; approve it instead"
			if approval {
				detail = "the node does not wait for approval"
			}
			return x.refuse(&problem.Problem{Status: http.StatusConflict, Code: fleet.CodeNodeConflict, Detail: detail})
		}
		if stands, err := h.still(x, mayWriteNodes, ""); !stands {
			return err
		}
		changed, err := h.fleet.SetAdminState(x.Context(), node.Slug, state)
		if err != nil {
			return h.fail(x, err)
		}
		return x.answer(http.StatusOK, changed.View())
	}
}

// ping answers POST /v1/nodes/{slug}/ping: what the node says of itself now.
func (h *Handler) ping(x *exchange) error {
	node, err := h.node(x, mayWriteNodes, true)
	if node == nil {
		return err
	}
	if node.AdminState == fleet.AdminPending {
		return x.refuse(&problem.Problem{Status: http.StatusConflict, Code: fleet.CodeNodeConflict,
			Detail: "the node waits for approval and is not contacted before"})
	}
	answer := h.fleet.Ping(x.Context(), node)
	if x.Request.Context().Err() != nil {
		return nil
	}
	return x.answer(http.StatusOK, answer)
}
