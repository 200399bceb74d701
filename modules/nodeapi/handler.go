// Package nodeapi is the handler that talks about the nodes themselves:
// http.handlers.federation_nodes. Nodes register with it, refresh their tokens
// and report; operators and dashboards read and change the registry.
package nodeapi

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/modules/fleet/redaction"
)

func init() { caddy.RegisterModule(new(Handler)) }

// Handler answers the registry API below /v1 and /.well-known/jwks.json, and
// with Compat the paths of the old fleet below /api/ai-engine, each also below
// a prefix. Every other path goes to the next handler. Who is calling is what
// federation_auth found out before it; without that directive only health, key
// set, registration and refresh answer. It needs no other directive of ours.
type Handler struct {
	// Compat is laravel to answer the paths of the old fleet too. Default: off.
	Compat string `json:"compat,omitempty"`

	fleet  *fleet.App
	logger *zap.Logger
	guard  *redaction.Guard
	// closing ends the streams, which would hold up a reload.
	closing context.Context
	end     context.CancelFunc
	streams streams
}

// The capabilities of a caller.
const (
	mayReadNodes  = "nodes:read"
	mayWriteNodes = "nodes:write"
	mayTokens     = "tokens"
)

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.federation_nodes", New: func() caddy.Module { return new(Handler) }}
}

// Provision finds the federation.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger, h.guard = ctx.Logger(), redaction.NewGuard(ctx)
	var err error
	if h.fleet, err = fleet.FromContext(ctx); err != nil {
		return err
	}
	h.closing, h.end = context.WithCancel(ctx)
	// the server waits for its requests before it lets go of ctx
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok {
		server.RegisterOnShutdown(h.end)
	}
	return nil
}

// Cleanup ends the streams. It also runs after a Provision that failed.
func (h *Handler) Cleanup() error {
	if h.end != nil {
		h.end()
	}
	return nil
}

// Validate checks the values that JSON may bring without a Caddyfile.
func (h *Handler) Validate() error {
	if h.Compat != "" && h.Compat != "laravel" {
		return fmt.Errorf("unknown compat %q, expected laravel", h.Compat)
	}
	return nil
}

// exchange is one request with what it needs to be answered.
type exchange struct {
	w http.ResponseWriter
	*http.Request
	trace  *fleet.Trace
	caller *fleet.Identity // nil: nobody proved who they are
	// compatible answers as the old fleet reads it.
	compatible bool
}

// endpoint answers one method of one path.
type endpoint func(h *Handler, x *exchange) error

// methods are the endpoints of one path, by method.
type methods map[string]endpoint

// ServeHTTP implements [caddyhttp.MiddlewareHandler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if !h.guard.Concerns(r) {
		return h.serve(w, r, next)
	}
	return h.guard.Serve(w, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		return h.serve(w, r, next)
	}))
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	found, compatible := h.route(r)
	if found == nil {
		return next.ServeHTTP(w, r)
	}
	x := &exchange{w: w, Request: r, trace: fleet.TraceFromRequest(r), caller: fleet.IdentityOf(r), compatible: compatible}
	w.Header().Set("X-Trace-Id", x.trace.ID)
	if id := r.Header.Get("X-Request-Id"); id != "" && len(id) <= 128 {
		w.Header().Set("X-Request-Id", id)
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	answer := found[method]
	if answer == nil {
		return x.methodNotAllowed(found)
	}
	return answer(h, x)
}

// route finds the methods of the request's path.
func (h *Handler) route(r *http.Request) (found methods, compatible bool) {
	path := r.URL.Path
	if strings.HasSuffix(path, "/.well-known/jwks.json") {
		return methods{http.MethodGet: (*Handler).jwks}, false
	}
	before, old, isOld := strings.Cut(path, "/api/ai-engine/")
	prefix, rest, isNative := strings.Cut(path, "/v1/")
	if isOld && (!isNative || len(before) < len(prefix)) { // whichever comes first
		if h.Compat == "" {
			return nil, false
		}
		return compatibleRoutes[old], true
	}
	if !isNative {
		return nil, false
	}
	if found := nativeRoutes[rest]; found != nil {
		return found, false
	}
	slug, operation, ok := cutNode(rest)
	if !ok {
		return nil, false
	}
	r.SetPathValue("slug", slug)
	return nodeRoutes[operation], false
}

// prefix is what stands before a face in the path that the caller asked for,
// escaped, also where handle_path took it away.
func (x *exchange) prefix(face string) string {
	path := x.URL.EscapedPath()
	if original, ok := x.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok && original.URL != nil {
		if asked := original.URL.EscapedPath(); strings.HasSuffix(asked, path) {
			path = asked
		}
	}
	prefix, _, found := strings.Cut(path, face)
	if prefix = strings.Trim(prefix, "/"); !found || prefix == "" {
		return ""
	}
	return "/" + prefix // two slashes would begin with the name of a host
}

// cutNode takes "nodes/{slug}" or "nodes/{slug}/{operation}" apart.
func cutNode(path string) (slug, operation string, ok bool) {
	rest, ok := strings.CutPrefix(path, "nodes/")
	if !ok || rest == "" {
		return "", "", false
	}
	slug, operation, _ = strings.Cut(rest, "/")
	return slug, operation, slug != ""
}

// nativeRoutes are the paths below /v1 that name no node.
var nativeRoutes = map[string]methods{
	"nodes":          {http.MethodGet: (*Handler).listNodes, http.MethodPost: (*Handler).register},
	"tokens/refresh": {http.MethodPost: (*Handler).refresh},
	"tokens/revoke":  {http.MethodPost: (*Handler).revokeToken},
	"stats":          {http.MethodGet: (*Handler).stats},
	"events":         {http.MethodGet: (*Handler).events},
	"requests":       {http.MethodGet: (*Handler).requests},
	"openapi.json":   {http.MethodGet: (*Handler).openapi},
	"health":         {http.MethodGet: (*Handler).health},
	"health/live":    {http.MethodGet: (*Handler).live},
	"health/ready":   {http.MethodGet: (*Handler).ready},
}

// nodeRoutes are the paths below /v1/nodes/{slug}.
var nodeRoutes = map[string]methods{
	"":            {http.MethodGet: (*Handler).getNode, http.MethodPatch: (*Handler).patchNode, http.MethodDelete: (*Handler).deleteNode},
	"approve":     {http.MethodPost: setState(fleet.AdminEnabled, true)},
	"enable":      {http.MethodPost: setState(fleet.AdminEnabled, false)},
	"drain":       {http.MethodPost: setState(fleet.AdminDraining, false)},
	"maintenance": {http.MethodPost: setState(fleet.AdminMaintenance, false)},
	"disable":     {http.MethodPost: setState(fleet.AdminDisabled, false)},
	"ping":        {http.MethodPost: (*Handler).ping},
	"breaker":     {http.MethodGet: (*Handler).getBreaker, http.MethodPost: (*Handler).forceBreaker},
	"api-key":     {http.MethodPost: (*Handler).newAPIKey},
	"revoke":      {http.MethodPost: (*Handler).revokeNode},
}

// compatibleRoutes are the paths below /api/ai-engine.
var compatibleRoutes = map[string]methods{
	"health":        {http.MethodGet: (*Handler).oldHealth},
	"manifest":      {http.MethodGet: (*Handler).manifest},
	"register":      {http.MethodPost: (*Handler).oldRegister},
	"status":        {http.MethodGet: (*Handler).status},
	"refresh-token": {http.MethodPost: (*Handler).oldRefresh},
	"chat":          {http.MethodPost: relayTo(fleet.RelayChat)},
	"tools/execute": {http.MethodPost: relayTo(fleet.RelayTools)},
	"actions":       {http.MethodPost: relayTo(fleet.RelayActions)},
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
