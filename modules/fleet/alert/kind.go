// Package alert decides what is told to webhooks of what happens to a
// federation, and how it is written: events become alerts that begin and end,
// alerts become messages, messages become JSON, Alertmanager's or Slack's. It
// is pure: it sends nothing, stores nothing, and asks nobody for the time.
package alert

import (
	"slices"
	"time"
)

// Kind is what an alert is about. The names are those of the events that
// begin an alert, or end it.
type Kind string

// The kinds.
const (
	// NodeDown and NodeUp: a node is left out for its health checks, and is
	// taken back. NodeUp ends NodeDown and Flapping of the node.
	NodeDown Kind = "node_down"
	NodeUp   Kind = "node_up"
	// BreakerOpen and BreakerClosed: the circuit breaker of a node.
	BreakerOpen   Kind = "breaker_open"
	BreakerClosed Kind = "breaker_closed"
	// Flapping: a node is left out for going up and down too often.
	Flapping Kind = "flapping"
	// StoreDown: a gateway cannot use the store.
	StoreDown Kind = "store_down"
	// ProberUnhealthy: a gateway does not believe its own health checks.
	ProberUnhealthy Kind = "prober_unhealthy"
	// ActionStuck: an action can be neither finished nor undone by itself.
	ActionStuck Kind = "action_stuck"
	// RefreshReplayed: a refresh token was used again after its grace, and its
	// family is revoked. It has no end, and is told once in [OnceFor].
	RefreshReplayed Kind = "refresh_replayed"
	// Test is what an operator sends to see that it arrives. It is no event.
	Test Kind = "test"
)

// Kinds are those that a webhook may choose from.
var Kinds = []Kind{
	NodeDown, NodeUp, BreakerOpen, BreakerClosed, StoreDown, ActionStuck, Flapping, ProberUnhealthy, RefreshReplayed,
}

// Known tells whether a webhook may choose the kind.
func (k Kind) Known() bool { return slices.Contains(Kinds, k) }

// ending is the kind under which the end of an alert is told. Those without
// one of their own are ended under their own name.
func (k Kind) ending() Kind {
	switch k {
	case NodeDown, Flapping:
		return NodeUp
	case BreakerOpen:
		return BreakerClosed
	default:
		return k
	}
}

// OnceFor is how long an alert without an end is not told again.
const OnceFor = time.Hour

func (k Kind) once() bool { return k == RefreshReplayed }

// ofNode tells whether each gateway sees by itself whether it is so.
func (k Kind) ofNode() bool { return k == NodeDown || k == Flapping || k == BreakerOpen }

// Severity is critical, warning or info.
func (k Kind) Severity() string {
	switch k {
	case BreakerOpen, Flapping, ProberUnhealthy:
		return "warning"
	case Test:
		return "info"
	default:
		return "critical"
	}
}

// OfGateway tells whether an event is about one gateway and its store, and so
// is told by that gateway itself, which may be the only one to know.
func OfGateway(event string) bool { return event == string(StoreDown) || event == eventStoreUp }

// Relevant tells whether an event can begin or end an alert.
func Relevant(event string) bool {
	return Kind(event).Known() || slices.Contains([]string{
		eventStoreUp, eventProberHealthy, eventActionUnstuck, eventUnregistered, eventAdminState,
	}, event)
}

// Events that are no kinds.
const (
	eventStoreUp       = "store_up"
	eventProberHealthy = "prober_healthy"
	eventActionUnstuck = "action_unstuck"
	eventUnregistered  = "node_unregistered"
	eventAdminState    = "node_admin_state"
)
