package nodeapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/modules/fleet/problem"
)

// relayed are the headers that go along to the node. Who the user is, of which
// tenant, a caller cannot say in a header.
var relayed = []string{"Accept-Language", "X-Locale", "X-Request-Id", "X-Correlation-Id", "X-User-Token"}

// relayCapability is what a caller needs for each kind.
var relayCapability = map[string]string{
	fleet.RelayChat: "search", fleet.RelayTools: "actions", fleet.RelayActions: "actions",
}

// relayTo passes a request on to one node: the one it names, else the owner of
// the collection it names. Nothing is guessed.
func relayTo(kind string) endpoint {
	return func(h *Handler, x *exchange) error {
		if allowed, err := x.may(relayCapability[kind], ""); !allowed {
			return err
		}
		fields, refused := x.fields()
		if refused != nil {
			return x.refuse(refused)
		}
		if wrong := missing(kind, fields); len(wrong) > 0 {
			return x.unprocessable(wrong)
		}
		if stands, err := h.still(x, relayCapability[kind], ""); !stands {
			return err
		}
		node, refused := h.target(kind, fields)
		if refused != nil {
			return x.refuse(refused)
		}
		if node.Type != fleet.TypeChild {
			return x.refuse(unavailable(node, "it is no child"))
		}
		if need := relayCapability[kind]; kind != fleet.RelayChat && !slices.Contains(node.Capabilities, need) {
			return x.refuse(unavailable(node, "it does not have the capability "+need))
		}
		via, refused := h.via(x)
		if refused != nil {
			return x.refuse(refused)
		}
		for _, name := range []string{"target_node", "node", "nodes"} {
			delete(fields, name)
		}
		body, err := json.Marshal(fields)
		if err != nil {
			return err
		}
		return h.relay(x, node, &fleet.RelayRequest{Kind: kind, Body: body, Header: x.relayHeader(h.fleet.Name, via)})
	}
}

// relayHeader is what goes along: which gateway passes the request on, and on
// whose behalf, as reverse_proxy says it too.
func (x *exchange) relayHeader(name, via string) http.Header {
	header := http.Header{"X-Forwarded-From-Node": {name}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {x.Host}}
	if x.TLS != nil {
		header["X-Forwarded-Proto"] = []string{"https"}
	}
	if client, ok := caddyhttp.GetVar(x.Context(), caddyhttp.ClientIPVarKey).(string); ok && client != "" {
		header["X-Forwarded-For"] = []string{client}
	}
	if via != "" {
		header[fleet.ViaHeader] = []string{via}
	}
	for _, field := range relayed {
		name := http.CanonicalHeaderKey(field)
		if values := x.Header[name]; len(values) == 1 && len(values[0]) <= 8<<10 {
			header[name] = values
		}
	}
	return header
}

// maxHops is how many federations a request may pass.
const maxHops = 8

// via names the federations that the request has passed, this one last, or
// refuses a request that has come round.
func (h *Handler) via(x *exchange) (string, *problem.Problem) {
	passed := strings.FieldsFunc(strings.Join(x.Header.Values(fleet.ViaHeader), ","), func(r rune) bool { return r == ',' || r == ' ' })
	own := h.fleet.Identity()
	if own != "" && slices.Contains(passed, own) || len(passed) >= maxHops {
		return "", &problem.Problem{Status: http.StatusLoopDetected, Code: "loop_detected",
			Detail: "this request has already passed this federation, or too many others"}
	}
	if own != "" {
		passed = append(passed, own)
	}
	return strings.Join(passed, ", "), nil
}

// missing refuses what the node would refuse, before it costs a call.
func missing(kind string, fields map[string]json.RawMessage) map[string][]string {
	need := map[string][]string{
		fleet.RelayChat: {"message", "session_id"}, fleet.RelayTools: {"action_type"}, fleet.RelayActions: {"action"},
	}[kind]
	wrong := make(map[string][]string)
	for _, name := range need {
		if value, fits := text(fields[name]); !fits || strings.TrimSpace(value) == "" {
			wrong[name] = required(name)[name]
		}
	}
	if kind == fleet.RelayTools {
		var data map[string]json.RawMessage
		if json.Unmarshal(fields["data"], &data) != nil || len(data) == 0 {
			wrong["data"] = required("data")["data"]
		}
	}
	return wrong
}

// hints are where a request can say which collection it is about.
type hints struct {
	Collections      []string `json:"collections"`
	RAGCollections   []string `json:"rag_collections"`
	TargetCollection string   `json:"target_collection"`
	TargetModel      string   `json:"target_model"`
	Model            string   `json:"model"`
	ModelClass       string   `json:"model_class"`
}

// names lists the collections in the order in which they count.
func (a hints) names(model bool) []string {
	names := slices.Concat(a.Collections, a.RAGCollections, []string{a.TargetCollection, a.TargetModel, a.ModelClass})
	if model { // in the options of a chat it is the language model
		names = append(names, a.Model)
	}
	return slices.DeleteFunc(names, func(name string) bool { return strings.TrimSpace(name) == "" })
}

// target finds the node of a request.
func (h *Handler) target(kind string, fields map[string]json.RawMessage) (*fleet.Node, *problem.Problem) {
	snapshot := h.fleet.Snapshot()
	for _, field := range []string{"target_node", "node"} {
		named, fits := text(fields[field])
		if !fits {
			return nil, &problem.Problem{Status: http.StatusUnprocessableEntity, Code: "invalid_request",
				Detail: "The given data was invalid.", Fields: map[string][]string{field: {"The " + field + " must be a string."}}}
		}
		if named == "" {
			continue
		}
		if node := snapshot.Node(named); node != nil && node.AdminState != fleet.AdminPending {
			return node, nil
		}
		return nil, &problem.Problem{Status: http.StatusNotFound, Code: fleet.CodeNodeUnknown, Detail: "there is no node of the name that " + field + " has"}
	}
	var names []string
	inside := map[string]string{fleet.RelayChat: "options", fleet.RelayTools: "data", fleet.RelayActions: "params"}[kind]
	var outer, inner hints
	whole, err := json.Marshal(fields)
	if err == nil {
		_ = json.Unmarshal(whole, &outer) // what does not fit names nothing
		_ = json.Unmarshal(fields[inside], &inner)
		names = append(outer.names(false), inner.names(kind != fleet.RelayChat)...)
	}
	for _, name := range names {
		if node := snapshot.Owner(name); node != nil {
			return node, nil
		}
	}
	detail := "no node owns the collection of the request; name one as target_node"
	if len(names) == 0 {
		detail = "the request names no collection and no target_node, and no node is guessed"
	}
	return nil, &problem.Problem{Status: http.StatusNotFound, Code: "no_owner", Error: detail, Detail: detail}
}

func unavailable(node *fleet.Node, why string) *problem.Problem {
	detail := "node " + node.Slug + " cannot be called now: " + why
	return &problem.Problem{Status: http.StatusServiceUnavailable, Code: "node_unavailable", Error: detail, Detail: detail, RetryAfter: 5 * time.Second}
}

// relay calls the node and answers what it said, bare.
func (h *Handler) relay(x *exchange, node *fleet.Node, request *fleet.RelayRequest) error {
	answer, call := h.fleet.Relay(fleet.WithTrace(x.Context(), x.trace), node, request)
	if x.Request.Context().Err() != nil {
		return nil
	}
	if call.Err == nil {
		return x.bare(http.StatusOK, signed(node, request.Kind, answer, call))
	}
	var status *fleet.StatusError
	var refusal *fleet.RefusalError
	p := &problem.Problem{Status: http.StatusBadGateway, Code: "node_failed", Detail: "node " + node.Slug + ": " + fleet.Describe(call.Err)}
	switch {
	case errors.As(call.Err, &refusal):
		p = unavailable(node, refusal.Reason)
	case errors.As(call.Err, &status) && status.Status == http.StatusUnprocessableEntity:
		p.Status, p.Fields = status.Status, validation(status.Body)
	case call.Outcome == fleet.OutcomeThrottled:
		p.Status, p.RetryAfter = http.StatusServiceUnavailable, max(status.RetryAfter, time.Second)
	case errors.As(call.Err, &status) && status.Status == http.StatusServiceUnavailable:
		p.Status, p.RetryAfter = http.StatusServiceUnavailable, 5*time.Second
	case fleet.Timeout(call.Err):
		p.Status = http.StatusGatewayTimeout
	}
	if p.Fields == nil {
		p.Error = p.Detail
	}
	return x.refuse(p)
}

// signed adds who answered, where the node does not say it itself.
func signed(node *fleet.Node, kind string, answer *fleet.RelayAnswer, call fleet.Call) map[string]json.RawMessage {
	body := make(map[string]json.RawMessage)
	_ = json.Unmarshal(answer.Body, &body) // an empty object of PHP is an array
	add := func(name string, value any) {
		if text, err := json.Marshal(value); err == nil {
			body[name] = text
		}
	}
	if body["success"] == nil {
		add("success", true)
	}
	add("node", node.Slug) // whatever it calls itself
	add("node_name", node.Name)
	if kind != fleet.RelayActions && body["duration_ms"] == nil {
		add("duration_ms", fleet.Milliseconds(call.Took))
	}
	return body
}

// validation reads what a node says of the fields it refuses, enveloped or
// bare. Nothing else of an error goes out: nodes put stack traces in there.
func validation(body []byte) map[string][]string {
	var said struct {
		Errors map[string][]string `json:"errors"`
		Data   struct {
			Errors map[string][]string `json:"errors"`
		} `json:"data"`
	}
	_ = json.Unmarshal(body, &said)
	fields := said.Errors
	if fields == nil {
		fields = said.Data.Errors
	}
	if fields == nil {
		fields = make(map[string][]string)
	}
	return fields
}
