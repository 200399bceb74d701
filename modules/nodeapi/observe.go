package nodeapi

import (
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

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

// healthView is the health document of draft-inadarei-api-health-check-06.
type healthView struct {
	Status  string                 `json:"status"`
	Version string                 `json:"version"`
	Service string                 `json:"serviceId"`
	Output  string                 `json:"output,omitempty"`
	Checks  map[string][]checkView `json:"checks,omitempty"`
}

type checkView struct {
	ComponentType string `json:"componentType"`
	ObservedValue any    `json:"observedValue,omitempty"`
	ObservedUnit  string `json:"observedUnit,omitempty"`
	Status        string `json:"status"`
	Time          string `json:"time"`
	Output        string `json:"output,omitempty"`
}

const (
	pass = "pass"
	warn = "warn"
	fail = "fail"
)

// examine looks at what the gateway needs to do its work: what it knows, with
// no question to anybody.
func (h *Handler) examine() healthView {
	now := time.Now().UTC().Format(timeFormat)
	v := healthView{Status: pass, Version: version(), Service: h.fleet.Name, Checks: make(map[string][]checkView)}
	datastore := checkView{ComponentType: "datastore", Status: pass, Time: now}
	state := h.fleet.StoreState()
	switch {
	case h.fleet.Store() == nil:
		datastore.Status, datastore.Output = fail, "the gateway is still starting"
		v.Status, v.Output = fail, datastore.Output
	case !state.Usable: // a declared mode, not an outage
		datastore.Status, datastore.Output = warn, "the store cannot be used since "+state.Since.UTC().Format(timeFormat)
		datastore.ObservedValue, datastore.ObservedUnit = state.Modes, "mode per feature"
		v.Status, v.Output = warn, datastore.Output
	}
	v.Checks["store"] = []checkView{datastore}
	v.Checks["gateways:count"] = []checkView{h.examineGateways(now, &v)}
	counts := h.fleet.Statistics().Nodes
	nodes := checkView{ComponentType: "component", ObservedValue: counts.Available, ObservedUnit: "nodes", Status: pass, Time: now}
	switch {
	case counts.Total > 0 && counts.Available == 0:
		nodes.Status, nodes.Output = fail, "no node is available"
		v.Status, v.Output = fail, nodes.Output
	case counts.Available < counts.Total:
		nodes.Status = warn
		nodes.Output = strconv.Itoa(counts.Total-counts.Available) + " of " + strconv.Itoa(counts.Total) + " nodes are not available"
		if v.Status == pass {
			v.Status = warn
		}
	}
	v.Checks["nodes:available"] = []checkView{nodes}
	if alerts := h.fleet.AlertStatus(); len(alerts.Webhooks) > 0 {
		v.Checks["alerts:deliveries"] = []checkView{examineAlerts(now, alerts, &v)}
	}
	return v
}

// examineAlerts looks at whether alerts arrive.
func examineAlerts(now string, alerts fleet.AlertStatus, v *healthView) checkView {
	c := checkView{ComponentType: "component", ObservedValue: alerts.Pending, ObservedUnit: "messages that wait", Status: pass, Time: now}
	if alerts.LastError != "" {
		c.Status, c.Output = warn, "alerts do not arrive: "+alerts.LastError
		if v.Status == pass {
			v.Status, v.Output = warn, c.Output
		}
	}
	return c
}

// maxSkew is how far a gateway's clock may be from the store's.
const maxSkew = time.Second

// examineGateways looks at the gateways that share the store.
func (h *Handler) examineGateways(now string, v *healthView) checkView {
	members := h.fleet.Members()
	c := checkView{ComponentType: "component", ObservedValue: members.Count(), ObservedUnit: "gateways", Status: pass, Time: now}
	switch {
	case members.Drift:
		c.Output = "gateways run with different configurations of the federation"
	case members.Skew.Abs() > maxSkew:
		c.Output = "this gateway's clock is " + members.Skew.Abs().Round(time.Millisecond).String() + " from the store's"
	default:
		return c
	}
	c.Status = warn
	if v.Status == pass {
		v.Status, v.Output = warn, c.Output
	}
	return c
}

func (x *exchange) answerHealth(v healthView) error {
	status := http.StatusOK
	if v.Status == fail {
		status = http.StatusServiceUnavailable
	}
	return x.write(status, "application/health+json", "no-store", v)
}

// health answers GET /v1/health: the whole document, without a node's name.
func (h *Handler) health(x *exchange) error { return x.answerHealth(h.examine()) }

// live answers GET /v1/health/live: the process answers.
func (h *Handler) live(x *exchange) error {
	return x.answerHealth(healthView{Status: pass, Version: version(), Service: h.fleet.Name})
}

// ready answers GET /v1/health/ready: traffic may come.
func (h *Handler) ready(x *exchange) error {
	v := h.examine()
	v.Checks = nil
	return x.answerHealth(v)
}

// version is the module's, as it was built in.
func version() string {
	const path = "github.com/caddy-federation/caddy-federation"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if info.Main.Path == path {
		return info.Main.Version
	}
	for _, dependency := range info.Deps {
		if dependency.Path == path {
			return dependency.Version
		}
	}
	return "unknown"
}
