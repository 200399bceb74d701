package search

import (
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-federation/caddy-federation/caddyfile/subdirective"
	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/modules/search/fusion"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("federation_search", func(helper httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		handler := new(Handler)
		return handler, handler.UnmarshalCaddyfile(helper.Dispenser)
	})
}

// UnmarshalCaddyfile reads the directive. Syntax:
//
//	federation_search [<matcher>] {
//	    timeout       <duration>
//	    node_timeout  <duration>
//	    min_nodes     <n>
//	    fusion        rrf | relative | raw
//	    dedup         exact | off
//	    limit         <default> [<maximum>]
//	    local         <index module> ... | off
//	    server_timing
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // federation_search
	if d.NextArg() {
		return d.ArgErr()
	}
	block := subdirective.New("federation_search",
		"timeout", "node_timeout", "min_nodes", "fusion", "dedup", "limit", "local", "server_timing")
	for d.NextBlock(0) {
		if err := h.unmarshalSubdirective(d, block); err != nil {
			return err
		}
	}
	return nil
}

func (h *Handler) unmarshalSubdirective(d *caddyfile.Dispenser, block *subdirective.Block) (err error) {
	switch d.Val() {
	case "timeout":
		h.Timeout, err = duration(d, block)
	case "node_timeout":
		h.NodeTimeout, err = duration(d, block)
	case "min_nodes":
		h.MinNodes, err = wholeNumber(d, block)
	case "fusion":
		if h.Fusion, err = block.Value(d); err == nil && fusion.Methods[h.Fusion] == nil {
			return d.Errf("fusion: unknown method %s%s", h.Fusion, subdirective.Hint(h.Fusion, methodNames()))
		}
	case "dedup":
		if h.Dedup, err = block.Value(d); err == nil && h.Dedup != "exact" && h.Dedup != "off" {
			return d.Errf("dedup: unknown method %s%s", h.Dedup, subdirective.Hint(h.Dedup, dedupNames))
		}
	case "limit":
		return h.unmarshalLimit(d, block)
	case "local":
		return h.unmarshalLocal(d, block)
	case "server_timing":
		h.ServerTiming, err = true, block.Flag(d)
	default:
		err = block.Unknown(d)
	}
	return err
}

func (h *Handler) unmarshalLimit(d *caddyfile.Dispenser, block *subdirective.Block) error {
	values, err := block.Values(d)
	if err != nil {
		return err
	}
	if len(values) > 2 {
		return d.Errf("limit takes <default> [<maximum>], got %d arguments", len(values))
	}
	numbers := []*int{&h.Limit, &h.MaxLimit}
	for i, value := range values {
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > maxWindow {
			return d.Errf("limit: %s is not a whole number from 1 to %d", value, maxWindow)
		}
		*numbers[i] = n
	}
	if len(values) == 1 {
		h.MaxLimit = max(100, h.Limit)
	}
	if h.Limit > h.MaxLimit {
		return d.Errf("limit: the default %d is above the maximum %d", h.Limit, h.MaxLimit)
	}
	return nil
}

func (h *Handler) unmarshalLocal(d *caddyfile.Dispenser, block *subdirective.Block) error {
	if err := block.Once(d); err != nil {
		return err
	}
	if !d.NextArg() {
		return d.Errf("local: the name of an index is missing, as in local bleve ./documents")
	}
	name := d.Val()
	if name == "off" {
		if d.NextArg() {
			return d.ArgErr()
		}
		return nil
	}
	id := fleet.IndexNamespace + "." + name
	if _, err := caddy.GetModule(id); err != nil {
		return d.Errf("local: unknown index %s%s", name, subdirective.Hint(name, []string{"bleve", "off"}))
	}
	module, err := caddyfile.UnmarshalModule(d, id)
	if err != nil {
		return err
	}
	h.LocalRaw = caddyconfig.JSONModuleObject(module, "index", name, nil)
	return nil
}

func duration(d *caddyfile.Dispenser, block *subdirective.Block) (caddy.Duration, error) {
	name := d.Val()
	value, err := block.Value(d)
	if err != nil {
		return 0, err
	}
	parsed, err := caddy.ParseDuration(value)
	if err != nil || parsed < time.Millisecond {
		return 0, d.Errf("%s: %s is not a duration of at least 1ms, as in 2s", name, value)
	}
	return caddy.Duration(parsed), nil
}

func wholeNumber(d *caddyfile.Dispenser, block *subdirective.Block) (int, error) {
	name := d.Val()
	value, err := block.Value(d)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 {
		return 0, d.Errf("%s: %s is not a whole number above 0", name, value)
	}
	return n, nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Handler)(nil)
