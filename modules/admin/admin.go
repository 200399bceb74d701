// Package admin is the operator's side: the calls below /federation/ on
// Caddy's admin endpoint. They need no credential, as nothing there does; who
// reaches the endpoint is the operator. The command `caddy federation …` is
// made of them.
package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/store"
)

func init() { caddy.RegisterModule(new(API)) }

// Prefix is where the calls are on the admin endpoint.
const Prefix = "/federation/"

// Header and HeaderValue are a header field that all answers of the calls
// have, by which the command knows that it asked the right server.
const (
	Header      = "Federation-Admin"
	HeaderValue = "1"
)

// API is the module admin.api.federation. It has no settings. Caddy makes it
// before any federation, keeps its routes when a reload fails and never cleans
// it up; so every call looks for the federation that runs now.
type API struct {
	calls *http.ServeMux
	// applying holds one import at a time.
	applying sync.Mutex
}

// CaddyModule returns the Caddy module information.
func (*API) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.federation", New: func() caddy.Module { return new(API) }}
}

// Provision lists the calls. The endpoint's own /metrics tells of the
// federations from here on: should a reload fail, it goes on with the registry
// of the config that failed, which may have got no further than this.
func (a *API) Provision(ctx caddy.Context) error {
	if err := fleet.RegisterMetrics(ctx); err != nil {
		return err
	}
	a.calls = http.NewServeMux()
	for pattern, serve := range map[string]call{
		"GET " + Prefix + "nodes":                     listNodes,
		"POST " + Prefix + "nodes":                    addNode,
		"GET " + Prefix + "nodes/{slug}":              getNode,
		"PATCH " + Prefix + "nodes/{slug}":            changeNode,
		"DELETE " + Prefix + "nodes/{slug}":           deleteNode,
		"POST " + Prefix + "nodes/{slug}/approve":     approveNode,
		"POST " + Prefix + "nodes/{slug}/enable":      setState(fleet.AdminEnabled),
		"POST " + Prefix + "nodes/{slug}/drain":       setState(fleet.AdminDraining),
		"POST " + Prefix + "nodes/{slug}/maintenance": setState(fleet.AdminMaintenance),
		"POST " + Prefix + "nodes/{slug}/disable":     setState(fleet.AdminDisabled),
		"POST " + Prefix + "nodes/{slug}/ping":        pingNode,
		"GET " + Prefix + "distribution":              distribution,
		"GET " + Prefix + "breakers":                  listBreakers,
		"GET " + Prefix + "nodes/{slug}/breaker":      getBreaker,
		"POST " + Prefix + "nodes/{slug}/breaker":     forceBreaker,
		"POST " + Prefix + "nodes/{slug}/api-key":     newAPIKey,
		"POST " + Prefix + "nodes/{slug}/revoke":      revokeNode,
		"POST " + Prefix + "plan":                     a.plan,
		"POST " + Prefix + "apply":                    a.apply,
		"GET " + Prefix + "export":                    export,
		"POST " + Prefix + "tokens":                   issueTokens,
		"POST " + Prefix + "tokens/revoke":            revokeToken,
		"POST " + Prefix + "tokens/inspect":           inspectToken,
		"GET " + Prefix + "keys":                      listKeys,
		"POST " + Prefix + "keys":                     newClientKey,
		"DELETE " + Prefix + "keys/{id}":              deleteKey,
		"GET " + Prefix + "stats":                     stats,
		"GET " + Prefix + "health":                    health,
		"POST " + Prefix + "test-alert":               testAlert,
	} {
		a.calls.Handle(pattern, serve)
	}
	a.calls.Handle("GET "+Prefix+"limits", limitsCall(listLimits))
	a.calls.Handle("POST "+Prefix+"limits/reset", limitsCall(resetLimit))
	a.calls.HandleFunc(Prefix, func(_ http.ResponseWriter, r *http.Request) {
		failed(r, refuse(http.StatusNotFound, "there is no call %s %s", r.Method, clip(r.URL.Path)))
	})
	return nil
}

// Routes are the admin endpoint's.
func (a *API) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: Prefix, Handler: caddy.AdminHandlerFunc(a.serve)}}
}

// serve hands a request to its call. What the call fails with comes back as
// Caddy's own error, and Caddy writes it.
func (a *API) serve(w http.ResponseWriter, r *http.Request) error {
	var err error
	w.Header().Set(Header, HeaderValue)
	a.calls.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), failureKey{}, &err)))
	return err
}

type failureKey struct{}

// failed leaves a call's error for serve.
func failed(r *http.Request, err error) {
	if into, ok := r.Context().Value(failureKey{}).(*error); ok {
		*into = err
	}
}

// call is one call of the API, to the federation that is asked for.
type call func(x *exchange) error

// ServeHTTP finds the federation and makes the call.
func (c call) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	app, err := federation(r.URL.Query().Get("federation"))
	if err == nil {
		err = c(&exchange{Request: r, w: w, app: app})
	}
	if err != nil {
		failed(r, apiError(err))
	}
}

// federation finds the one that is meant: the only one, when none is named.
func federation(name string) (*fleet.App, error) {
	names := fleet.RunningNames()
	if name == "" {
		switch len(names) {
		case 0:
			return nil, refuse(http.StatusServiceUnavailable, "no federation runs here: the running config has no `federation` option")
		case 1:
			name = names[0]
		default:
			return nil, refuse(http.StatusBadRequest, "several federations run here, name one with ?federation=: %s", strings.Join(names, ", "))
		}
	}
	app := fleet.Running(name)
	if app == nil {
		return nil, refuse(http.StatusNotFound, "no federation %q runs here; those that do: %s", clip(name), strings.Join(names, ", "))
	}
	return app, nil
}

// refuse is an error for the caller.
func refuse(status int, format string, args ...any) error {
	return caddy.APIError{HTTPStatus: status, Message: fmt.Sprintf(format, args...)}
}

// unavailable is an error of the store, in words for the caller. Caddy logs it.
func unavailable(err error, message string) error {
	return caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: err, Message: message}
}

// apiError says to the caller what may be said. Caddy logs the rest.
func apiError(err error) error {
	var known caddy.APIError
	var node *fleet.NodeError
	switch {
	case errors.As(err, &known):
		if known.Err == nil {
			known.Err = errors.New(known.Message)
		}
		return known
	case errors.As(err, &node):
		return caddy.APIError{HTTPStatus: node.Status(), Err: err, Message: node.Error()}
	case errors.Is(err, store.ErrFull):
		return unavailable(err, "the store is full and takes nothing")
	case errors.Is(err, store.ErrUnavailable):
		return unavailable(err, "the store cannot be used")
	case errors.Is(err, context.DeadlineExceeded):
		return caddy.APIError{HTTPStatus: http.StatusGatewayTimeout, Err: err, Message: "it took too long"}
	default:
		return caddy.APIError{HTTPStatus: http.StatusInternalServerError, Err: err, Message: "it failed; Caddy's log says why"}
	}
}

// words are what apiError says.
func words(err error) string {
	var known caddy.APIError
	errors.As(apiError(err), &known)
	return known.Message
}

func clip(text string) string {
	if len(text) > 100 {
		return strings.ToValidUTF8(text[:100], "") + "…"
	}
	return text
}

// Interface guards
var (
	_ caddy.Provisioner = (*API)(nil)
	_ caddy.AdminRouter = (*API)(nil)
)
