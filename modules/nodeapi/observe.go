package nodeapi

import (
	"net/http"
	"strconv"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/store"
)

// stats answers GET /v1/stats.
func (h *Handler) stats(x *exchange) error {
	if allowed, err := x.may(mayReadNodes, ""); !allowed {
		return err
	}
	return x.answer(http.StatusOK, h.fleet.Statistics())
}

// Limits of the request log's page.
const (
	defaultRequests = 100
	maxRequests     = store.MaxRequests
)

// requestView is one line of the request log.
type requestView struct {
	Time    string  `json:"time"`
	Node    string  `json:"node"`
	Kind    string  `json:"kind"`
	TraceID string  `json:"trace_id,omitempty"`
	Status  int     `json:"http_status"`
	Outcome string  `json:"outcome"`
	Took    float64 `json:"took_ms"`
}

// requests answers GET /v1/requests?node=&trace=&limit=: the last calls to
// nodes, the newest first.
func (h *Handler) requests(x *exchange) error {
	query := x.URL.Query()
	node, trace := query.Get("node"), query.Get("trace")
	if allowed, err := x.may(mayReadNodes, node); !allowed {
		return err
	}
	limit, refused := number(query.Get("limit"), defaultRequests, maxRequests)
	if refused {
		return x.refuse(invalid("invalid_request", "limit: expected 1 to "+strconv.Itoa(maxRequests)))
	}
	if node != "" && h.fleet.Snapshot().Node(node) == nil {
		return x.unknownNode(h, node)
	}
	opened := h.fleet.Store()
	if opened == nil {
		return h.fail(x, &fleet.NodeError{Code: fleet.CodeRegistryDown, Detail: "the gateway is still starting"})
	}
	wanted := limit
	if trace != "" {
		wanted = maxRequests // the trace may be anywhere in them
	}
	records, err := opened.Requests().Last(x.Context(), node, wanted)
	if err != nil {
		return h.fail(x, err)
	}
	views := make([]requestView, 0, min(limit, len(records)))
	for _, r := range records {
		if trace != "" && r.TraceID != trace || len(views) == limit {
			continue
		}
		views = append(views, requestView{
			Time: r.Time.UTC().Format(timeFormat), Node: r.Node, Kind: r.Kind, TraceID: r.TraceID, Status: r.Status,
			Outcome: r.Outcome, Took: fleet.Milliseconds(r.Duration),
		})
	}
	return x.answer(http.StatusOK, map[string]any{"requests": views, "count": len(views)})
}

// timeFormat is RFC 3339 with milliseconds.
const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// number reads a positive number, at most most.
func number(text string, otherwise, most int) (n int, refused bool) {
	if text == "" {
		return otherwise, false
	}
	n, err := strconv.Atoi(text)
	return n, err != nil || n < 1 || n > most
}

func (x *exchange) answerHealth(v fleet.HealthDocument) error {
	status := http.StatusOK
	if v.Status == fleet.HealthFail {
		status = http.StatusServiceUnavailable
	}
	return x.write(status, "application/health+json", "no-store", v)
}

// health answers GET /v1/health: the whole document, without a node's name.
func (h *Handler) health(x *exchange) error { return x.answerHealth(h.fleet.Examine(false)) }

// live answers GET /v1/health/live: the process answers.
func (h *Handler) live(x *exchange) error {
	return x.answerHealth(h.fleet.Alive())
}

// ready answers GET /v1/health/ready: traffic may come.
func (h *Handler) ready(x *exchange) error {
	v := h.fleet.Examine(false)
	v.Checks = nil
	return x.answerHealth(v)
}
