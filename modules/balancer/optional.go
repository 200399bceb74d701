package balancer

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// What Caddy asks of a transport beyond a round trip is the inner transport's
// to answer. For one that was never asked, the answer here is the one that
// Caddy takes the silence for.

// TLSEnabled implements [reverseproxy.TLSTransport].
func (t *Transport) TLSEnabled() bool {
	inner, ok := t.inner.(reverseproxy.TLSTransport)
	return ok && inner.TLSEnabled()
}

// EnableTLS implements [reverseproxy.TLSTransport]. Caddy calls it while a
// Caddyfile is adapted.
func (t *Transport) EnableTLS(base *reverseproxy.TLSConfig) error {
	inner, ok := t.orDefault().(reverseproxy.TLSTransport)
	if !ok {
		return fmt.Errorf("upstreams are configured for HTTPS but transport module does not support TLS: %T", t.inner)
	}
	if err := inner.EnableTLS(base); err != nil {
		return err
	}
	t.encodeInner()
	return nil
}

// EnableH2C implements [reverseproxy.H2CTransport]. Caddy calls it while a
// Caddyfile is adapted.
func (t *Transport) EnableH2C() error {
	inner, ok := t.orDefault().(reverseproxy.H2CTransport)
	if !ok {
		return nil
	}
	if err := inner.EnableH2C(); err != nil {
		return err
	}
	t.encodeInner()
	return nil
}

// orDefault is the inner transport, which a Caddyfile need not name.
func (t *Transport) orDefault() http.RoundTripper {
	if t.inner == nil {
		t.inner, t.innerName = new(reverseproxy.HTTPTransport), "http"
	}
	return t.inner
}

// encodeInner writes the inner transport into the config.
func (t *Transport) encodeInner() {
	t.TransportRaw = caddyconfig.JSONModuleObject(t.inner, "protocol", t.innerName, nil)
}

// ProxyProtocolEnabled implements [reverseproxy.ProxyProtocolTransport].
func (t *Transport) ProxyProtocolEnabled() bool {
	inner, ok := t.inner.(reverseproxy.ProxyProtocolTransport)
	return ok && inner.ProxyProtocolEnabled()
}

// OverrideHealthCheckScheme implements [reverseproxy.HealthCheckSchemeOverriderTransport].
func (t *Transport) OverrideHealthCheckScheme(base *url.URL, port string) {
	if inner, ok := t.inner.(reverseproxy.HealthCheckSchemeOverriderTransport); ok {
		inner.OverrideHealthCheckScheme(base, port)
	}
}

// RequiresContentLength implements [reverseproxy.ContentLengthRequiredTransport].
func (t *Transport) RequiresContentLength() bool {
	inner, ok := t.inner.(reverseproxy.ContentLengthRequiredTransport)
	return ok && inner.RequiresContentLength()
}

// DefaultBufferSizes implements [reverseproxy.BufferedTransport].
func (t *Transport) DefaultBufferSizes() (request, response int64) {
	if inner, ok := t.inner.(reverseproxy.BufferedTransport); ok {
		return inner.DefaultBufferSizes()
	}
	return 0, 0
}

// RequestHeaderOps implements [reverseproxy.RequestHeaderOpsTransport].
func (t *Transport) RequestHeaderOps() *headers.HeaderOps {
	if inner, ok := t.inner.(reverseproxy.RequestHeaderOpsTransport); ok {
		return inner.RequestHeaderOps()
	}
	return nil
}

// CloseIdleConnections closes the connections that are in no use.
func (t *Transport) CloseIdleConnections() {
	if inner, ok := t.inner.(interface{ CloseIdleConnections() }); ok {
		inner.CloseIdleConnections()
	}
}

// Interface guards
var (
	_ reverseproxy.TLSTransport                        = (*Transport)(nil)
	_ reverseproxy.H2CTransport                        = (*Transport)(nil)
	_ reverseproxy.ProxyProtocolTransport              = (*Transport)(nil)
	_ reverseproxy.HealthCheckSchemeOverriderTransport = (*Transport)(nil)
	_ reverseproxy.ContentLengthRequiredTransport      = (*Transport)(nil)
	_ reverseproxy.BufferedTransport                   = (*Transport)(nil)
	_ reverseproxy.RequestHeaderOpsTransport           = (*Transport)(nil)
)
