package ratelimit

import (
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-federation/caddy-federation/caddyfile/subdirective"
	"github.com/caddy-federation/caddy-federation/modules/fleet/limiter"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("federation_rate_limit", func(helper httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		handler := new(Handler)
		return handler, handler.UnmarshalCaddyfile(helper.Dispenser)
	})
}

// UnmarshalCaddyfile reads the directive. Syntax:
//
//	federation_rate_limit [<matcher>] {
//	    policy <name> {
//	        limit    <events> <window>
//	        burst    <events>
//	        key      <text with placeholders>
//	        cost     <number or placeholder>
//	        per_path
//	    }
//	    on_store_failure local | open | closed
//	    on_refusal       answer | error
//	    headers          draft | legacy | both | off
//	    shadow
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // federation_rate_limit
	if d.NextArg() {
		return d.ArgErr()
	}
	block := subdirective.New("federation_rate_limit", "policy", "on_store_failure", "on_refusal", "headers", "shadow")
	for d.NextBlock(0) {
		var err error
		switch d.Val() {
		case "policy":
			err = h.unmarshalPolicy(d)
		case "on_store_failure":
			if h.OnStoreFailure, err = block.Value(d); err == nil {
				if _, wrong := limiter.ParseFailure(h.OnStoreFailure); wrong != nil {
					return d.Errf("on_store_failure: %v", wrong)
				}
			}
		case "on_refusal":
			if h.OnRefusal, err = block.Value(d); err == nil {
				if wrong := checkOnRefusal(h.OnRefusal); wrong != nil {
					return d.WrapErr(wrong)
				}
			}
		case "headers":
			if h.Headers, err = block.Value(d); err == nil {
				if _, wrong := newHeaders(h.Headers, nil); wrong != nil {
					return d.WrapErr(wrong)
				}
			}
		case "shadow":
			h.Shadow, err = true, block.Flag(d)
		default:
			err = block.Unknown(d)
		}
		if err != nil {
			return err
		}
	}
	if len(h.Policies) == 0 {
		return d.Errf("federation_rate_limit: there is no policy; add one, as in policy default { limit 60 1m }")
	}
	return nil
}

func (h *Handler) unmarshalPolicy(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 1 {
		return d.Errf("federation_rate_limit: policy takes a name, got %d arguments", len(args))
	}
	p := &Policy{Name: args[0]}
	if !policyName.MatchString(p.Name) {
		return d.Errf("policy %s: a name is 1 to 64 letters, digits and _.-", p.Name)
	}
	for _, other := range h.Policies {
		if other.Name == p.Name {
			return d.Errf("federation_rate_limit: policy %s is set twice", p.Name)
		}
	}
	if len(h.Policies) == limiter.MaxCharges {
		return d.Errf("federation_rate_limit: there are more than %d policies", limiter.MaxCharges)
	}
	block := subdirective.New("policy "+p.Name, "limit", "burst", "key", "cost", "per_path")
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := p.unmarshalSubdirective(d, block); err != nil {
			return err
		}
	}
	if p.Limit == 0 {
		return d.Errf("policy %s: the limit is missing, as in limit 60 1m", p.Name)
	}
	if err := p.provision(); err != nil {
		return d.Errf("policy %s: %v", p.Name, err)
	}
	h.Policies = append(h.Policies, p)
	return nil
}

func (p *Policy) unmarshalSubdirective(d *caddyfile.Dispenser, block *subdirective.Block) (err error) {
	var text string
	switch d.Val() {
	case "limit":
		var values []string
		if values, err = block.Values(d); err != nil {
			return err
		}
		if len(values) != 2 {
			return d.Errf("policy %s: limit takes <events> <window>, as in limit 60 1m", p.Name)
		}
		if p.Limit, err = strconv.Atoi(values[0]); err != nil || p.Limit < 1 {
			return d.Errf("policy %s: limit: %s is not a whole number above 0", p.Name, values[0])
		}
		window, err := caddy.ParseDuration(values[1])
		if err != nil || window <= 0 {
			return d.Errf("policy %s: limit: %s is not a duration above 0, as in 1m", p.Name, values[1])
		}
		p.Window = caddy.Duration(window)
	case "burst":
		if text, err = block.Value(d); err == nil {
			if p.Burst, err = strconv.Atoi(text); err != nil || p.Burst < 1 {
				return d.Errf("policy %s: burst: %s is not a whole number above 0", p.Name, text)
			}
		}
	case "key":
		p.Key, err = block.Value(d)
	case "cost":
		if p.Cost, err = block.Value(d); err == nil {
			if _, wrong := parseCost(p.Cost); wrong != nil {
				return d.Errf("policy %s: %v", p.Name, wrong)
			}
		}
	case "per_path":
		p.PerPath, err = true, block.Flag(d)
	default:
		err = block.Unknown(d)
	}
	return err
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Handler)(nil)
