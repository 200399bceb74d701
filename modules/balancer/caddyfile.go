package balancer

import (
	"net/http"
	"reflect"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-federation/caddy-federation/caddyfile/subdirective"
	"github.com/caddy-federation/caddy-federation/modules/balancer/policy"
	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// UnmarshalCaddyfile reads the transport. Syntax:
//
//	transport federation {
//	    transport   <module> { ... }
//	    credentials on | off
//	    breaker     off | { ... }
//	}
func (t *Transport) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // federation
	if d.NextArg() {
		return d.ArgErr()
	}
	block := subdirective.New("transport federation", "transport", "credentials", "breaker")
	for d.NextBlock(0) {
		var err error
		switch d.Val() {
		case "transport":
			if err = block.Once(d); err == nil {
				err = t.unmarshalInner(d)
			}
		case "credentials":
			var word string
			if word, err = block.Value(d); err == nil {
				if word != "on" && word != "off" {
					return d.Errf("credentials: expected on or off, got %s", word)
				}
				t.Credentials = word == "on"
			}
		case "breaker":
			if err = block.Once(d); err == nil {
				t.Breaker = new(fleet.BreakerConfig)
				err = t.Breaker.UnmarshalCaddyfile(d)
			}
		default:
			err = block.Unknown(d)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

const transportNamespace = "http.reverse_proxy.transport"

func (t *Transport) unmarshalInner(d *caddyfile.Dispenser) error {
	var known []string
	for _, info := range caddy.GetModules(transportNamespace) {
		if name := info.ID.Name(); name != "federation" {
			known = append(known, name)
		}
	}
	if !d.NextArg() {
		return d.Errf("transport: the name of a module is missing%s", subdirective.Hint("", known))
	}
	t.innerName = d.Val()
	if _, err := caddy.GetModule(transportNamespace + "." + t.innerName); err != nil || t.innerName == "federation" {
		return d.Errf("transport: unknown module %s%s", t.innerName, subdirective.Hint(t.innerName, known))
	}
	module, err := caddyfile.UnmarshalModule(d, transportNamespace+"."+t.innerName)
	if err != nil {
		return err
	}
	inner, ok := module.(http.RoundTripper)
	if !ok {
		return d.Errf("transport: the module %s is not a transport", t.innerName)
	}
	t.inner = inner
	if !reflect.DeepEqual(inner, new(reverseproxy.HTTPTransport)) {
		t.encodeInner()
	}
	return nil
}

// UnmarshalCaddyfile reads the policy. Syntax:
//
//	lb_policy federation [latency|least_conn|round_robin|weighted|random] {
//	    slow_start <duration> | off
//	    peers      on | off
//	}
func (s *Selection) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // federation
	if d.NextArg() {
		s.Algorithm = d.Val()
		if policy.New(s.Algorithm) == nil {
			return d.Errf("lb_policy federation: unknown policy %s%s", s.Algorithm, subdirective.Hint(s.Algorithm, policy.Names))
		}
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	block := subdirective.New("lb_policy federation", "slow_start", "peers")
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		if name != "slow_start" && name != "peers" {
			return block.Unknown(d)
		}
		word, err := block.Value(d)
		if err != nil {
			return err
		}
		if name == "peers" {
			err = s.unmarshalPeers(d, word)
		} else {
			err = s.unmarshalSlowStart(d, word)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Selection) unmarshalPeers(d *caddyfile.Dispenser, word string) error {
	if word != "on" && word != "off" {
		return d.Errf("peers: expected on or off, got %s", word)
	}
	if s.Peers = word == "on"; s.Peers && s.Algorithm != "least_conn" {
		return d.Err("peers: only least_conn counts what other gateways have in flight, as in lb_policy federation least_conn")
	}
	return nil
}

func (s *Selection) unmarshalSlowStart(d *caddyfile.Dispenser, word string) error {
	if word == "off" || word == "-1" {
		s.SlowStart = -1
		return nil
	}
	duration, err := caddy.ParseDuration(word)
	if err != nil || duration <= 0 {
		return d.Errf("slow_start: %s is not a duration above 0, as in 10s, or off", word)
	}
	s.SlowStart = caddy.Duration(duration)
	return nil
}

// UnmarshalCaddyfile reads the upstreams. Syntax:
//
//	dynamic federation {
//	    capability <c...>
//	    nodes      <slug...>
//	    domains    <d...>
//	}
func (u *Upstreams) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // federation
	if d.NextArg() {
		return d.ArgErr()
	}
	block := subdirective.New("dynamic federation", "capability", "nodes", "domains")
	for d.NextBlock(0) {
		var err error
		switch d.Val() {
		case "capability":
			u.Capabilities, err = block.Values(d)
		case "nodes":
			if u.Nodes, err = block.Values(d); err == nil {
				for _, slug := range u.Nodes {
					if !fleet.ValidSlug(slug) {
						return d.Errf("nodes: %s is not a slug: 1 to 64 characters of a-z, 0-9 and single hyphens inside", slug)
					}
				}
			}
		case "domains":
			u.Domains, err = block.Values(d)
		default:
			err = block.Unknown(d)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*Transport)(nil)
	_ caddyfile.Unmarshaler = (*Selection)(nil)
	_ caddyfile.Unmarshaler = (*Upstreams)(nil)
)
