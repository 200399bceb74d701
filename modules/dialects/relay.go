package dialects

import (
	"context"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// Relay implements [fleet.Relayer]. Nodes since March 2026 have no actions,
// and do the same as tools.
func (l *Laravel) Relay(ctx context.Context, node fleet.Caller, request *fleet.RelayRequest) (*fleet.RelayAnswer, error) {
	facts := node.Node().Facts()
	if request.Kind != fleet.RelayActions || facts == nil || facts.Dialect != laravelEnveloped {
		return relay(ctx, node, request, l.path(request.Kind), l.where)
	}
	asTool := *request
	asTool.Body = actionAsTool(request.Body)
	answer, err := relay(ctx, node, &asTool, l.path(fleet.RelayTools), l.where)
	if err != nil {
		return nil, err
	}
	return &fleet.RelayAnswer{Body: toolAsAction(answer.Body)}, nil
}

// actionAsTool turns {action, params} into {action_type, data}.
func actionAsTool(body []byte) []byte {
	m := members(body, "action", "params")
	b := append([]byte(`{"action_type":`), orNull(m[0])...)
	b = append(append(b, `,"data":`...), orNull(m[1])...)
	return append(b, `,"session_id":null,"user_id":null}`...)
}

// toolAsAction turns {action_type, result} into {success, action, result}: a
// tool says in its result whether it did what it was asked.
func toolAsAction(body jsontext.Value) jsontext.Value {
	m := members(body, "action_type", "result")
	success := "false"
	if members(m[1], "success")[0].Kind() == 't' {
		success = "true"
	}
	b := append([]byte(`{"success":`), success...)
	b = append(append(b, `,"action":`...), orNull(m[0])...)
	return append(append(append(b, `,"result":`...), orNull(m[1])...), '}')
}

func orNull(value jsontext.Value) jsontext.Value {
	if value == nil {
		return jsontext.Value("null")
	}
	return value
}

// Relay implements [fleet.Relayer]: the other gateway has a compatible face.
func (g *Gateway) Relay(ctx context.Context, node fleet.Caller, request *fleet.RelayRequest) (*fleet.RelayAnswer, error) {
	return relay(ctx, node, request, g.Prefix+"/api/ai-engine/"+request.Kind, fleet.TokenAuthorization)
}

// Relay implements [fleet.Relayer].
func (a *Auto) Relay(ctx context.Context, node fleet.Caller, request *fleet.RelayRequest) (*fleet.RelayAnswer, error) {
	found, err := a.detect(ctx, node)
	if err != nil {
		return nil, err
	}
	return found.dialect.(fleet.Relayer).Relay(ctx, node, request) // what can be detected can relay
}

func relay(ctx context.Context, node fleet.Caller, request *fleet.RelayRequest, path string, where fleet.TokenHeader) (*fleet.RelayAnswer, error) {
	response, err := node.Do(ctx, &fleet.Request{
		Path: path, Body: request.Body, Header: request.Header, TokenHeader: where, Once: true,
	})
	if err != nil {
		return nil, err
	}
	body, _ := envelope(response.Body)
	if body.Kind() != '{' && body.Kind() != '[' { // an empty object of PHP is an array
		return nil, fleet.BadPayload("the answer is not an object")
	}
	if !body.IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) {
		return nil, fleet.BadPayload("the answer is not valid JSON")
	}
	return &fleet.RelayAnswer{Body: body}, nil
}

// Interface guards
var (
	_ fleet.Relayer = (*Laravel)(nil)
	_ fleet.Relayer = (*Gateway)(nil)
	_ fleet.Relayer = (*Auto)(nil)
)
