package fleet

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"

	"github.com/caddy-federation/caddy-federation/caddyfile/subdirective"
	"github.com/caddy-federation/caddy-federation/modules/fleet/limiter"
	"github.com/caddy-federation/caddy-federation/store"
)

// UnmarshalCaddyfile reads the global option. Syntax:
//
//	federation [<name>] {
//	    store         memory | bolt [<file>] | redis <url...> { ... }
//	    issuer        <iss>
//	    audience      <aud...>
//	    key           <kid> hs256|rs256|es256|eddsa <secret or file> [verify_only]
//	    jwks          <url> [<iss>]
//	    access_ttl    <duration>
//	    refresh_ttl   <duration>
//	    refresh_grace <duration>|off
//	    leeway        <duration>|off
//	    enrollment    off | secret <shared secret> | approval
//	    node_urls     <cidr|host pattern|public...>
//	    node          <slug> <url> { ... }
//	    node_defaults { ... }
//	    health        [off] { ... }
//	    breaker       [off] { ... }
//	    alert         webhook <url> { ... }
//	    on_store_failure local | open | closed
//	}
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // federation
	if d.NextArg() {
		a.Name = d.Val()
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	block := subdirective.New("federation", append([]string{
		"store", "enrollment", "node_urls", "node", "node_defaults", "health", "breaker", "alert", "on_store_failure",
	}, tokenSubdirectives...)...)
	for d.NextBlock(0) {
		var err error
		switch d.Val() {
		case "store":
			if err = block.Once(d); err == nil {
				a.StoreRaw, err = guestModule(d, store.Namespace, "module")
			}
		case "enrollment":
			err = a.unmarshalEnrollment(d, block)
		case "node_urls":
			err = a.unmarshalNodeURLs(d, block)
		case "node":
			err = a.unmarshalNode(d)
		case "node_defaults":
			if err = block.Flag(d); err == nil {
				a.NodeDefaults = new(NodeConfig)
				err = a.NodeDefaults.unmarshalBlock(d, "node_defaults")
				if err == nil && len(a.NodeDefaults.Keys) > 0 {
					err = d.Errf("node_defaults: key cannot stand here: it would be every node's")
				}
			}
		case "health":
			if err = block.Once(d); err == nil {
				a.Health = new(HealthConfig)
				err = a.Health.UnmarshalCaddyfile(d)
			}
		case "breaker":
			if err = block.Once(d); err == nil {
				a.Breaker = new(BreakerConfig)
				err = a.Breaker.UnmarshalCaddyfile(d)
			}
		case "alert":
			err = a.unmarshalAlert(d)
		case "on_store_failure":
			if a.OnStoreFailure, err = block.Value(d); err == nil {
				if _, wrong := limiter.ParseFailure(a.OnStoreFailure); wrong != nil {
					return d.Errf("federation: on_store_failure: %v", wrong)
				}
			}
		default:
			err = a.unmarshalTokens(d, block)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *App) unmarshalNode(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 2 {
		return d.Errf("federation: node takes <slug> <url>, got %d arguments", len(args))
	}
	node := NodeConfig{Slug: args[0], URL: args[1]}
	if err := node.Validate(); err != nil {
		return d.Errf("federation: %v", err)
	}
	for _, other := range a.Nodes {
		if other.Slug == node.Slug {
			return d.Errf("federation: node %s is set twice", node.Slug)
		}
	}
	if err := node.unmarshalBlock(d, "node "+node.Slug); err != nil {
		return err
	}
	a.Nodes = append(a.Nodes, node)
	return nil
}

// nodeSubdirectives are what a node's block and node_defaults may hold.
var nodeSubdirectives = []string{
	"name", "dialect", "weight", "group", "required", "type", "capabilities", "description", "domains",
	"keywords", "data_types", "collections", "credentials", "subject", "header_up", "timeout",
	"max_requests", "max_response_size", "budget", "transport", "admin_state", "key",
}

// unmarshalBlock reads the block of a node. Syntax:
//
//	name              <text>
//	dialect           auto | laravel | json | gateway | <module> [{ ... }]
//	weight            <number>
//	group             <name>
//	required
//	type              child | master
//	capabilities      <c...>
//	description       <text>
//	domains           <d...>
//	keywords          <k...>
//	data_types        <t...>
//	collections       <c...>
//	credentials       jwt [<kid>] | shared_secret <s> | api_key <k> | bearer <t> | basic <u> <p> | header <name> <value> | none
//	key               <kid> hs256|rs256|es256|eddsa <secret or file> [verify_only]
//	subject           <value>
//	header_up         <name> <value>
//	timeout           <duration>
//	max_requests      <n>
//	max_response_size <size>
//	budget            <calls> <window> [per_path] | off
//	transport         <module> [{ ... }]
//	admin_state       enabled | draining | maintenance | disabled
func (c *NodeConfig) unmarshalBlock(d *caddyfile.Dispenser, owner string) error {
	block := subdirective.New(owner, nodeSubdirectives...)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := c.unmarshalSubdirective(d, block); err != nil {
			return err
		}
		// checked line by line, so that the error has the line
		if err := c.ValidateSettings(); err != nil {
			return d.Errf("%s: %v", owner, err)
		}
	}
	return nil
}

func (c *NodeConfig) unmarshalSubdirective(d *caddyfile.Dispenser, block *subdirective.Block) (err error) {
	var text string
	switch d.Val() {
	case "name":
		c.Name, err = block.Value(d)
	case "description":
		c.Description, err = block.Value(d)
	case "group":
		c.Group, err = block.Value(d)
	case "subject":
		c.Subject, err = block.Value(d)
	case "type":
		c.Type, err = block.Value(d)
	case "admin_state":
		text, err = block.Value(d)
		if c.AdminState = AdminState(text); c.AdminState == AdminPending {
			return d.Errf("admin_state pending is for nodes that register, expected enabled, draining, maintenance or disabled")
		}
	case "capabilities":
		c.Capabilities, err = block.Values(d)
	case "domains":
		c.Domains, err = block.Values(d)
	case "keywords":
		c.Keywords, err = block.Values(d)
	case "data_types":
		c.DataTypes, err = block.Values(d)
	case "collections":
		var names []string
		names, err = block.Values(d)
		for _, name := range names {
			c.Collections = append(c.Collections, Collection{Name: name})
		}
	case "required":
		yes := true
		c.Required, err = &yes, block.Flag(d)
	case "weight":
		if text, err = block.Value(d); err == nil {
			if c.Weight, err = strconv.ParseFloat(text, 64); err != nil || !(c.Weight > 0) {
				return d.Errf("weight %s is not a number above 0", text)
			}
		}
	case "timeout":
		if text, err = block.Value(d); err == nil {
			duration, parseErr := caddy.ParseDuration(text)
			if parseErr != nil || duration <= 0 {
				return d.Errf("timeout %s is not a duration above 0, as in 5s", text)
			}
			c.Timeout = caddy.Duration(duration)
		}
	case "max_requests":
		if text, err = block.Value(d); err == nil {
			if c.MaxRequests, err = strconv.Atoi(text); err != nil || c.MaxRequests < 1 {
				return d.Errf("max_requests %s is not a whole number above 0", text)
			}
		}
	case "budget":
		c.Budget, err = unmarshalBudget(d, block)
	case "max_response_size":
		if text, err = block.Value(d); err == nil {
			size, parseErr := humanize.ParseBytes(text)
			if parseErr != nil || size == 0 || size > MaxMaxResponseSize {
				return d.Errf("max_response_size %s is not a size from 1B to 1GiB, as in 8MiB", text)
			}
			c.MaxResponseSize = int64(size)
		}
	case "header_up":
		args := d.RemainingArgs()
		if len(args) != 2 {
			return d.Errf("header_up takes <name> <value>, got %d arguments", len(args))
		}
		if c.HeaderUp == nil {
			c.HeaderUp = make(http.Header)
		}
		c.HeaderUp.Add(args[0], args[1])
	case "credentials":
		if err = block.Once(d); err == nil {
			c.Credentials, err = unmarshalCredentials(d)
		}
	case "key":
		err = unmarshalKey(d, "node", &c.Keys)
	case "dialect":
		if err = block.Once(d); err == nil {
			c.DialectRaw, err = guestModule(d, DialectNamespace, "dialect")
		}
	case "transport":
		if err = block.Once(d); err == nil {
			c.TransportRaw, err = guestModule(d, "http.reverse_proxy.transport", "protocol")
		}
	default:
		err = block.Unknown(d)
	}
	return err
}

// credentialArgs says how many arguments each type takes, at least and at most.
var credentialArgs = map[string][2]int{
	"jwt": {0, 1}, "shared_secret": {1, 1}, "api_key": {1, 1}, "bearer": {1, 1},
	"basic": {2, 2}, "header": {2, 2}, "none": {0, 0},
}

func unmarshalCredentials(d *caddyfile.Dispenser) (*CredentialsConfig, error) {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return nil, d.Errf("credentials: the type is missing%s", subdirective.Hint("", credentialTypes()))
	}
	count, ok := credentialArgs[args[0]]
	if !ok { // which may be the secret itself, and is not quoted
		return nil, d.Errf("credentials: unknown type%s", subdirective.Hint(args[0], credentialTypes()))
	}
	c, args := &CredentialsConfig{Type: args[0]}, args[1:]
	if len(args) < count[0] || len(args) > count[1] {
		// the arguments may be secrets: count them, do not quote them
		return nil, d.Errf("credentials %s takes %d to %d arguments, got %d", c.Type, count[0], count[1], len(args))
	}
	switch {
	case c.Type == "jwt" && len(args) == 1:
		c.Key = args[0]
	case c.Type == "basic":
		c.User, c.Value = args[0], args[1]
	case c.Type == "header":
		c.Header, c.Value = args[0], args[1]
	case len(args) == 1:
		c.Value = args[0]
	}
	return c, nil
}

func credentialTypes() []string {
	types := make([]string, 0, len(credentialArgs))
	for name := range credentialArgs {
		types = append(types, name)
	}
	return types
}

// guestModule reads `<subdirective> <module> [args] [{ ... }]`.
func guestModule(d *caddyfile.Dispenser, namespace, inlineKey string) (json.RawMessage, error) {
	what := d.Val()
	if !d.NextArg() {
		return nil, d.Errf("%s: the name of a module is missing%s", what, subdirective.Hint("", guestNames(namespace)))
	}
	name := d.Val()
	if _, err := caddy.GetModule(namespace + "." + name); err != nil {
		return nil, d.Errf("%s: unknown module %s%s", what, name, subdirective.Hint(name, guestNames(namespace)))
	}
	module, err := caddyfile.UnmarshalModule(d, namespace+"."+name)
	if err != nil {
		return nil, err
	}
	return caddyconfig.JSONModuleObject(module, inlineKey, name, nil), nil
}

func guestNames(namespace string) []string {
	var names []string
	for _, info := range caddy.GetModules(namespace) {
		names = append(names, strings.TrimPrefix(string(info.ID), namespace+"."))
	}
	return names
}

// Interface guard
var _ caddyfile.Unmarshaler = (*App)(nil)
