package nodeapi

import (
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// getBreaker answers GET /v1/nodes/{slug}/breaker: state and history.
func (h *Handler) getBreaker(x *exchange) error {
	node, err := h.node(x, mayReadNodes, true)
	if node == nil {
		return err
	}
	return x.answer(http.StatusOK, breakerView{node.Slug, node.Breaker()})
}

type breakerView struct {
	Node string `json:"node"`
	fleet.BreakerStatus
}

// maxForce is the longest that a state can be forced for.
const maxForce = 30 * 24 * time.Hour

// forceBreaker answers POST /v1/nodes/{slug}/breaker: {"force":
// "open"|"closed"|"auto"|"reset", "reason": "…", "for": "10m"}.
func (h *Handler) forceBreaker(x *exchange) error {
	node, err := h.node(x, mayWriteNodes, false)
	if node == nil {
		return err
	}
	var wish struct {
		Force  string `json:"force"`
		Reason string `json:"reason"`
		For    string `json:"for"`
	}
	if refused := x.read(&wish); refused != nil {
		return x.refuse(refused)
	}
	switch wish.Force {
	case "open", "closed", "auto", "reset":
	default:
		return x.refuse(invalid("invalid_request", "force: expected open, closed, auto or reset"))
	}
	if len(wish.Reason) > 500 {
		return x.refuse(invalid("invalid_request", "reason: expected at most 500 bytes"))
	}
	var lasts time.Duration
	if wish.For != "" {
		if lasts, err = caddy.ParseDuration(wish.For); err != nil || lasts <= 0 || lasts > maxForce {
			return x.refuse(invalid("invalid_request", "for: expected a duration up to 30d, as in 10m"))
		}
	}
	if err := node.Gate().Force(wish.Force, wish.Reason, x.caller.ID, lasts); err != nil {
		return x.refuse(invalid("invalid_request", err.Error()))
	}
	return x.answer(http.StatusOK, breakerView{node.Slug, node.Breaker()})
}
