package fleet

import (
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// BreakerForce is an operator's word on a circuit breaker, as the APIs take it.
type BreakerForce struct {
	// Force is open, closed, auto or reset, see [Gate.Force].
	Force string `json:"force"`
	// Reason is for the history, at most 500 bytes. Default: none.
	Reason string `json:"reason,omitempty"`
	// For is how long open and closed hold, a duration up to 30d such as 10m.
	// Default: until auto.
	For string `json:"for,omitempty"`
}

const (
	maxForce       = 30 * 24 * time.Hour
	maxForceReason = 500
)

// Apply says the word to the node's breaker. The error names the member that
// is wrong and what was expected, fit for the caller.
func (w BreakerForce) Apply(node *Node, actor string) error {
	switch w.Force {
	case "open", "closed":
	case "auto", "reset":
		if w.For != "" {
			return fmt.Errorf("for: %s has no duration", w.Force)
		}
	default:
		return errors.New("force: expected open, closed, auto or reset")
	}
	if len(w.Reason) > maxForceReason {
		return fmt.Errorf("reason: expected at most %d bytes", maxForceReason)
	}
	var lasts time.Duration
	if w.For != "" {
		var err error
		if lasts, err = caddy.ParseDuration(w.For); err != nil || lasts <= 0 || lasts > maxForce {
			return errors.New("for: expected a duration up to 30d, as in 10m")
		}
	}
	return node.Gate().Force(w.Force, w.Reason, actor, lasts)
}
