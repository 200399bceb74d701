package auth

import (
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

func init() { caddy.RegisterModule(new(Provider)) }

// Provider is the same for Caddy's own `authentication` handler. That one
// answers all refusals with 401 and its own error; the challenge is ours.
type Provider struct {
	Rules
}

// CaddyModule returns the Caddy module information.
func (*Provider) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.authentication.providers.federation", New: func() caddy.Module { return new(Provider) }}
}

// Provision reads the configuration.
func (p *Provider) Provision(ctx caddy.Context) error {
	registerMetrics(ctx)
	return p.provision(ctx)
}

// Authenticate implements [caddyauth.Authenticator].
func (p *Provider) Authenticate(w http.ResponseWriter, r *http.Request) (caddyauth.User, bool, error) {
	identity, denied := p.authenticate(r)
	if denied != nil {
		p.note(r, denied)
		if denied.challenge != "" {
			// beside what other providers ask for
			w.Header().Add("WWW-Authenticate", denied.challenge)
		}
		return caddyauth.User{}, false, nil
	}
	fleet.SetIdentity(r, identity)
	return caddyauth.User{ID: identity.ID, Metadata: map[string]string{
		"federation_id": identity.FederationID, "name": identity.Name, "type": identity.Type, "method": identity.Method,
		"capabilities": strings.Join(identity.Capabilities, " "),
	}}, true, nil
}

// Interface guards
var (
	_ caddy.Provisioner       = (*Provider)(nil)
	_ caddyauth.Authenticator = (*Provider)(nil)
)
