package nodeapi

import (
	"net/http"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// getBreaker answers GET /v1/nodes/{slug}/breaker: state and history.
func (h *Handler) getBreaker(x *exchange) error {
	node, err := h.node(x, mayReadNodes, true)
	if node == nil {
		return err
	}
	return x.answer(http.StatusOK, fleet.NodeBreaker{Node: node.Slug, BreakerStatus: node.Breaker()})
}

// forceBreaker answers POST /v1/nodes/{slug}/breaker: {"force":
// "open"|"closed"|"auto"|"reset", "reason": "…", "for": "10m"}.
func (h *Handler) forceBreaker(x *exchange) error {
	node, err := h.node(x, mayWriteNodes, false)
	if node == nil {
		return err
	}
	var wish fleet.BreakerForce
	if refused := x.read(&wish); refused != nil {
		return x.refuse(refused)
	}
	if stands, err := h.still(x, mayWriteNodes, ""); !stands {
		return err
	}
	if err := wish.Apply(node, x.caller.ID); err != nil {
		return x.refuse(invalid("invalid_request", err.Error()))
	}
	return x.answer(http.StatusOK, fleet.NodeBreaker{Node: node.Slug, BreakerStatus: node.Breaker()})
}
