package fleet

import (
	"errors"
	"fmt"
	"net/http"

	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/store"
)

// NodeError is why a change of the registry was refused. Its texts are fit for
// strangers.
type NodeError struct {
	// Code is one of the Code constants.
	Code string
	// Field is the member that is to blame, or empty.
	Field string
	// Detail says what happened and what was expected.
	Detail string
}

// The codes of a [NodeError].
const (
	CodeInvalid            = "invalid_node"         // a value that no node can have
	CodeURLRefused         = "url_refused"          // the URL policy says no
	CodeNodeExists         = "node_exists"          // somebody else has the slug
	CodeNodeUnknown        = "node_unknown"         // there is no such node
	CodeNodeFixed          = "node_fixed"           // the Caddyfile says it, and the file wins
	CodeNodeConflict       = "node_conflict"        // changed by somebody else at the same time
	CodeNotPermitted       = "not_permitted"        // only an operator may
	CodeNodeDisabled       = "node_disabled"        // an operator shut it out
	CodeEnrollmentOff      = "enrollment_off"       // nobody may register
	CodeEnrollmentRequired = "enrollment_required"  // the secret was not shown
	CodeEnrollmentRefused  = "enrollment_refused"   // the secret is wrong
	CodeEnrollmentFull     = "enrollment_full"      // too many nodes wait for approval
	CodeRegistryDown       = "registry_unavailable" // the store cannot be used now
)

func (e *NodeError) Error() string {
	if e.Field == "" {
		return e.Detail
	}
	return e.Field + ": " + e.Detail
}

// Status is the HTTP status that says the same.
func (e *NodeError) Status() int {
	switch e.Code {
	case CodeURLRefused:
		return http.StatusUnprocessableEntity
	case CodeNodeExists, CodeNodeFixed, CodeNodeConflict:
		return http.StatusConflict
	case CodeNodeUnknown:
		return http.StatusNotFound
	case CodeEnrollmentRequired:
		return http.StatusUnauthorized
	case CodeNotPermitted, CodeNodeDisabled, CodeEnrollmentOff, CodeEnrollmentRefused:
		return http.StatusForbidden
	case CodeEnrollmentFull, CodeRegistryDown:
		return http.StatusServiceUnavailable
	default:
		return http.StatusBadRequest
	}
}

// errUnnumbered is for a node that the store could not be asked for a number yet.
var errUnnumbered = &NodeError{CodeRegistryDown, "", "the node has no number yet; try again"}

func invalidNode(field, format string, args ...any) *NodeError {
	return &NodeError{CodeInvalid, field, fmt.Sprintf(format, args...)}
}

// registryError turns what the store says into what a caller may know. It
// returns a [NodeError] and keeps ctx's own errors.
func (a *App) registryError(err error) error {
	var known *NodeError
	switch {
	case err == nil, errors.As(err, &known):
		return err
	case errors.Is(err, store.ErrNotFound):
		return &NodeError{CodeNodeUnknown, "", "there is no such node"}
	case errors.Is(err, store.ErrExists), errors.Is(err, store.ErrConflict):
		return &NodeError{CodeNodeConflict, "", "somebody else changed the node at the same time; try again"}
	case errors.Is(err, store.ErrTooLarge):
		return invalidNode("", "the node's record is too large")
	}
	a.logger.Error("the registry could not be written", zap.Error(err))
	return &NodeError{CodeRegistryDown, "", "the registry cannot be used now; try again later"}
}
