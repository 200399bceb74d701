package fleet

import (
	"context"
	"net/http"

	"github.com/go-json-experiment/json/jsontext"
)

// The kinds of request that are passed on to one node.
const (
	RelayChat    = "chat"
	RelayTools   = "tools/execute"
	RelayActions = "actions"
)

// RelayRequest is a request of a caller that goes to one node as it is.
type RelayRequest struct {
	// Kind is one of the Relay constants.
	Kind string
	// Body is a JSON object.
	Body []byte
	// Header holds what goes along: chosen by the handler, never all that came.
	Header http.Header
}

// RelayAnswer is what the node answered.
type RelayAnswer struct {
	// Body is a JSON object without the envelope that newer nodes put around it.
	Body jsontext.Value
}

// Relayer is a [Dialect] that can pass requests on.
type Relayer interface {
	Relay(ctx context.Context, node Caller, request *RelayRequest) (*RelayAnswer, error)
}

// Relay passes a request on to one node, once: it may do something there, so
// it is not sent again. The answer is nil unless the outcome is ok.
func (a *App) Relay(ctx context.Context, node *Node, request *RelayRequest) (*RelayAnswer, Call) {
	var answer *RelayAnswer
	call := a.call(ctx, node, request.Kind, func(ctx context.Context, c Caller) (err error) {
		relayer, ok := c.Node().dialect.(Relayer)
		if !ok {
			return &RefusalError{Reason: "dialect"}
		}
		answer, err = relayer.Relay(ctx, c, request)
		if err == nil && answer == nil {
			err = BadPayload("the dialect returned no answer")
		}
		return err
	})
	if call.Err != nil {
		return nil, call
	}
	return answer, call
}
