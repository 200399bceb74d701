// Package search is the handler that asks many nodes at once and merges what
// they answer: http.handlers.federation_search.
package search

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/modules/fleet/problem"
	"github.com/caddy-federation/caddy-federation/modules/search/fusion"
)

func init() { caddy.RegisterModule(new(Handler)) }

// Handler answers searches: `/v1/search` natively and `/api/ai-engine/search`
// in the shape of the old fleet, each also below a prefix. Every other path
// goes to the next handler. It needs no other directive of ours; without any
// node it searches the local index alone.
type Handler struct {
	// Timeout is the longest a whole search may take. Default: 2s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
	// NodeTimeout is the longest one node may take. Default: what the search
	// leaves, and the node's own timeout.
	NodeTimeout caddy.Duration `json:"node_timeout,omitempty"`
	// MinNodes is how many nodes must answer for a search to succeed. Default: 1.
	MinNodes int `json:"min_nodes,omitempty"`
	// Fusion merges the lists: rrf, relative or raw. Default: rrf.
	Fusion string `json:"fusion,omitempty"`
	// Dedup is exact (same URL or same content) or off. Default: exact.
	Dedup string `json:"dedup,omitempty"`
	// Limit is how many hits a search returns that does not say. Default: 10.
	Limit int `json:"limit,omitempty"`
	// MaxLimit is how many hits a search may ask for, at most 1,000. Default: 100.
	MaxLimit int `json:"max_limit,omitempty"`
	// LocalRaw is an index that is searched beside the nodes as `local`, and
	// that answers alone when no node does. Default: none.
	LocalRaw json.RawMessage `json:"local,omitempty" caddy:"namespace=federation.indexes inline_key=index"`
	// ServerTiming adds a Server-Timing header with an entry per node. Default: false.
	ServerTiming bool `json:"server_timing,omitempty"`

	fleet  *fleet.App
	index  fleet.Index
	logger *zap.Logger
}

var dedupNames = []string{"exact", "off"}

func methodNames() []string {
	names := make([]string, 0, len(fusion.Methods))
	for name := range fusion.Methods {
		names = append(names, name)
	}
	return names
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.federation_search", New: func() caddy.Module { return new(Handler) }}
}

// Provision reads the configuration. It opens no file and no connection.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	if err := registerMetrics(ctx); err != nil {
		return err
	}
	if h.Timeout == 0 {
		h.Timeout = caddy.Duration(2 * time.Second)
	}
	if h.MinNodes == 0 {
		h.MinNodes = 1
	}
	if h.Fusion == "" {
		h.Fusion = "rrf"
	}
	if h.Dedup == "" {
		h.Dedup = "exact"
	}
	if h.MaxLimit == 0 {
		h.MaxLimit = 100
	}
	if h.Limit == 0 {
		h.Limit = min(10, h.MaxLimit)
	}
	var err error
	if h.fleet, err = fleet.FromContext(ctx); err != nil {
		return err
	}
	if h.LocalRaw != nil {
		module, err := ctx.LoadModule(h, "LocalRaw")
		if err != nil {
			return fmt.Errorf("loading the local index: %w", err)
		}
		index, ok := module.(fleet.Index)
		if !ok {
			return fmt.Errorf("loading the local index: the module is not an index")
		}
		h.index = index
	}
	return nil
}

// Validate checks the values that JSON may bring without a Caddyfile.
func (h *Handler) Validate() error {
	switch {
	case h.Timeout < 0 || h.NodeTimeout < 0:
		return fmt.Errorf("timeout and node_timeout must be above 0")
	case h.MinNodes < 1:
		return fmt.Errorf("min_nodes must be at least 1")
	case h.MaxLimit < 1 || h.MaxLimit > maxWindow || h.Limit < 1 || h.Limit > h.MaxLimit:
		return fmt.Errorf("limits must be 1 to %d, the default at most the maximum", maxWindow)
	case fusion.Methods[h.Fusion] == nil:
		return fmt.Errorf("unknown fusion %q", h.Fusion)
	case !slices.Contains(dedupNames, h.Dedup):
		return fmt.Errorf("unknown dedup %q", h.Dedup)
	}
	return nil
}

// ServeHTTP implements [caddyhttp.MiddlewareHandler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	path := strings.TrimSuffix(r.URL.Path, "/")
	switch {
	case strings.HasSuffix(path, "/api/ai-engine/search"):
		return h.serveCompatible(w, r)
	case strings.HasSuffix(path, "/v1/search"):
		return h.serveNative(w, r)
	default:
		return next.ServeHTTP(w, r)
	}
}

// maxHops is how many federations a search may pass.
const maxHops = 8

// search does the work of both faces. A problem means that there is no answer.
func (h *Handler) search(r *http.Request, req *request, trace *fleet.Trace) (*result, *problem.Problem) {
	start := time.Now()
	via, looped := h.via(r)
	if looped != nil {
		return nil, looped
	}
	chosen, bad := h.choose(h.fleet.Snapshot(), req.Nodes)
	if bad != nil {
		return nil, bad.problem()
	}
	ctx, cancel := context.WithTimeout(fleet.WithTrace(r.Context(), trace), req.timeout)
	defer cancel()
	found := &result{request: req, trace: trace, start: start}
	found.reports = h.fanOut(ctx, chosen, req.query(via), req.timeout)
	found.count()
	h.log(found)
	if failure := found.failure(); failure != nil {
		return found, failure
	}
	found.merged = merge(found.reports, fusion.Methods[req.Fusion], req.Dedup == "exact")
	return found, nil
}

// standing refuses a caller whose credential ended while the body came, which
// can be long after it was let in. Who may search is not known here, so who
// could must still be able to. It costs tens of nanoseconds.
func (h *Handler) standing(w http.ResponseWriter, r *http.Request) *problem.Problem {
	caller, capability := fleet.IdentityOf(r), ""
	if caller.Has("search") {
		capability = "search"
	}
	if caller == nil || h.fleet.Stands(caller, capability) {
		return nil
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="federation", error="invalid_token"`)
	return &problem.Problem{Status: http.StatusUnauthorized, Code: "invalid_token",
		Detail: "the credential was revoked, or its node may act no more, since the request began"}
}

// via returns the federations this search has passed with this one's name
// last, or refuses a search that has come round.
func (h *Handler) via(r *http.Request) ([]string, *problem.Problem) {
	var via []string
	for _, line := range r.Header.Values(fleet.ViaHeader) {
		for id := range strings.SplitSeq(line, ",") {
			if id = strings.TrimSpace(id); id != "" && len(id) <= 64 {
				via = append(via, id)
			}
		}
	}
	own := h.fleet.Identity()
	if slices.Contains(via, own) || len(via) >= maxHops {
		return nil, &problem.Problem{Status: http.StatusLoopDetected, Code: "loop_detected",
			Detail: "this search has already passed this federation, or too many others"}
	}
	if own != "" {
		via = append(via, own)
	}
	return via, nil
}

// log tells an operator who wants to know how each node did.
func (h *Handler) log(found *result) {
	for i := range found.reports {
		report := &found.reports[i]
		level := zapcore.DebugLevel
		if report.status == statusBadPayload {
			level = zapcore.WarnLevel
		}
		if entry := h.logger.Check(level, "node asked"); entry != nil {
			entry.Write(zap.String("node", report.slug), zap.String("status", report.status),
				zap.Duration("took", report.took), zap.Int("http_status", report.httpStatus),
				zap.String("error", report.err), zap.String("trace_id", found.trace.ID))
		}
	}
}

func (b *badRequest) problem() *problem.Problem {
	return &problem.Problem{Status: b.status, Code: b.code, Detail: b.detail}
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
