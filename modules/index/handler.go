package index

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-federation/caddy-federation/caddyfile/subdirective"
	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

func init() {
	caddy.RegisterModule(new(Handler))
	httpcaddyfile.RegisterDirective("federation_index", parseDirective)
}

// parseDirective reads the matcher by itself: an argument that begins with a
// slash is a folder here, and Caddy would take it for a path to match.
func parseDirective(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next() // federation_index
	var matcher caddy.ModuleMap
	if h.NextArg() {
		first := h.Val()
		h.Prev()
		if first == "*" || strings.HasPrefix(first, "@") {
			var err error
			if matcher, err = h.ExtractMatcherSet(); err != nil {
				return nil, err
			}
		}
	}
	h.Reset()
	handler := new(Handler)
	if err := handler.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return h.NewRoute(matcher, handler), nil
}

// Handler serves an index as a whole node, so that a team without nodes has
// one. It answers searches and health; every other path goes to the next handler.
type Handler struct {
	Bleve

	// Name is the node's name in its answers. Default: index.
	Name string `json:"name,omitempty"`
	// Dialect is what the node speaks: gateway, laravel (bare bodies, as in
	// December 2025) or laravel_enveloped (as in June 2026). Default: gateway.
	Dialect string `json:"dialect,omitempty"`
}

var (
	faces       = []string{"gateway", "laravel", "laravel_enveloped"}
	namePattern = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
)

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.federation_index", New: func() caddy.Module { return new(Handler) }}
}

// Provision reads the configuration.
func (h *Handler) Provision(ctx caddy.Context) error {
	if h.Name == "" {
		h.Name = "index"
	}
	if !namePattern.MatchString(h.Name) {
		return fmt.Errorf("name %q is not made of a-z, 0-9 and single hyphens inside", h.Name)
	}
	switch h.Dialect {
	case "":
		h.Dialect = "gateway"
	case "gateway", "laravel", "laravel_enveloped":
	default:
		return fmt.Errorf("unknown dialect %q%s", h.Dialect, subdirective.Hint(h.Dialect, faces))
	}
	return h.Bleve.Provision(ctx)
}

// ServeHTTP implements [caddyhttp.MiddlewareHandler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	path := strings.TrimSuffix(r.URL.Path, "/")
	if h.Dialect == "gateway" {
		switch {
		case strings.HasSuffix(path, "/v1/search"):
			return h.serveSearch(w, r)
		case strings.HasSuffix(path, "/v1/health"):
			return h.serveHealth(w, r)
		}
		return next.ServeHTTP(w, r)
	}
	_, operation, below := strings.Cut(path, "/api/ai-engine/")
	if !below {
		return next.ServeHTTP(w, r)
	}
	return h.serveLaravel(w, r, operation)
}

// UnmarshalCaddyfile reads the directive. Syntax:
//
//	federation_index [*|@<matcher>] <file or folder...> {
//	    name     <name>
//	    dialect  gateway | laravel | laravel_enveloped
//	    path     <folder>
//	    language en | none
//	    no_watch
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // federation_index
	h.Sources = d.RemainingArgs()
	if len(h.Sources) == 0 {
		return d.Errf("federation_index: a file or folder of documents is missing, as in federation_index ./documents")
	}
	block := subdirective.New("federation_index", append([]string{"name", "dialect"}, subdirectives...)...)
	for d.NextBlock(0) {
		var err error
		switch d.Val() {
		case "name":
			if h.Name, err = block.Value(d); err == nil && !namePattern.MatchString(h.Name) {
				err = d.Errf("name %s is not made of a-z, 0-9 and single hyphens inside", h.Name)
			}
		case "dialect":
			h.Dialect, err = block.Value(d)
			if err == nil && !strings.Contains(" "+strings.Join(faces, " ")+" ", " "+h.Dialect+" ") {
				err = d.Errf("unknown dialect %s%s", h.Dialect, subdirective.Hint(h.Dialect, faces))
			}
		default:
			var known bool
			if known, err = h.unmarshalSubdirective(d, block); err == nil && !known {
				err = block.Unknown(d)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ caddyfile.Unmarshaler       = (*Handler)(nil)
	_ fleet.Index                 = (*Handler)(nil)
)
