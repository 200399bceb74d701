package balancer

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/modules/fleet/redaction"
)

func init() { caddy.RegisterModule(new(Transport)) }

// Transport is `transport federation`: it wraps another transport and passes
// every request through the circuit breaker of its upstream. It sees what no
// other part of Caddy sees, connections that are refused and answers that never
// come, for each upstream on its own, and learns from it what `lb_policy
// federation` needs.
//
// An upstream whose breaker is open is refused as if it could not be dialled, so
// Caddy knows that nothing was sent and may try another one (`lb_retries`),
// whatever the method. Everything else is the inner transport's: its errors, its
// timeouts, its protocols.
//
// What was learnt is kept over config reloads.
type Transport struct {
	// TransportRaw is the transport that does the work. Default: http.
	TransportRaw json.RawMessage `json:"transport,omitempty" caddy:"namespace=http.reverse_proxy.transport inline_key=protocol"`
	// Credentials signs requests for the node that they go to, in place of what
	// the caller sent (Authorization, X-Node-Token and X-API-Key are removed).
	// For upstreams of `dynamic federation` only. Default: false.
	Credentials bool `json:"credentials,omitempty"`
	// Breaker is when the breaker of an upstream opens and how it closes again.
	// Nodes of `dynamic federation` have the federation's. Default: as there.
	Breaker *fleet.BreakerConfig `json:"breaker,omitempty"`

	inner     http.RoundTripper
	innerName string
	gates     *fleet.Gates
	release   func() error
	upstreams *upstreams
	chosen    bool // the handler's policy is ours, and applies the breakers' ramps
	keepHost  bool // the handler sets the Host itself
}

// CaddyModule returns the Caddy module information.
func (*Transport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.transport.federation", New: func() caddy.Module { return new(Transport) }}
}

// Provision sets the transport up.
func (t *Transport) Provision(ctx caddy.Context) error {
	if t.TransportRaw == nil {
		t.TransportRaw = json.RawMessage(`{"protocol":"http"}`)
	}
	module, err := ctx.LoadModule(t, "TransportRaw")
	if err != nil {
		return fmt.Errorf("loading the inner transport: %w", err)
	}
	inner, ok := module.(http.RoundTripper)
	if !ok {
		return fmt.Errorf("loading the inner transport: the module is not a transport")
	}
	if _, twice := inner.(*Transport); twice {
		return errors.New("the inner transport is a federation transport too")
	}
	t.inner = inner
	memory, release, err := holdMemory(originUpstreams)
	if err != nil {
		return err
	}
	t.release = release
	if t.gates, err = fleet.LoadGates(originUpstreams, t.Breaker, 0); err != nil {
		return err
	}
	t.upstreams = newUpstreams(memory, t.gates)
	handler := handlerOf(ctx)
	if handler == nil {
		return nil
	}
	// the breakers' guards count upstreams, so all must be known from the start
	for _, upstream := range handler.Upstreams {
		t.upstreams.target(upstream.Dial)
	}
	if ops := handler.Headers; ops != nil && ops.Request != nil {
		_, set := ops.Request.Set["Host"]
		_, replaced := ops.Request.Replace["Host"]
		t.keepHost = set || replaced
	}
	if t.Credentials {
		var source struct {
			Source string `json:"source"`
		}
		if json.Unmarshal(handler.DynamicUpstreamsRaw, &source) != nil || source.Source != "federation" {
			return errors.New("credentials: only the nodes of `dynamic federation` have credentials")
		}
	}
	return nil
}

// Cleanup releases what Provision took. It also runs after a Provision that
// failed. The inner transport is a module of its own, which Caddy cleans up.
func (t *Transport) Cleanup() error {
	var err error
	if t.gates != nil {
		err = t.gates.Close()
	}
	if t.release != nil {
		err = errors.Join(err, t.release())
	}
	return err
}

// RoundTrip implements [http.RoundTripper].
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	info, ok := reverseproxy.GetDialInfo(ctx)
	if !ok || info.Upstream == nil || ctx.Value(caddyhttp.ServerCtxKey) == nil {
		return t.inner.RoundTrip(req) // not a request of a client: a health check
	}
	req = redaction.Proxied(req)
	a := attemptsOf(ctx, req.URL)
	to := a.targetOf(info.Upstream)
	if to == nil {
		name := info.Upstream.Dial
		if placeholder(name) {
			name = info.String()
		}
		to = t.upstreams.target(name)
	}
	start := time.Now()
	ticket, held := a.trialOf(to)
	if !held {
		how := admitAny
		switch {
		case a != nil && a.last == to.meter:
			how, a.last = admitLastResort, nil
		case t.chosen:
			how = admitChosen
		}
		var err error
		if ticket, err = to.admit(ctx, start, how); err != nil {
			a.refused(err)
			t.avoid(req, a, to)
			// 503 when nobody else can be tried either
			return nil, caddyhttp.Error(http.StatusServiceUnavailable, reverseproxy.NewDialError(err))
		}
	}
	f := a.flight()
	f.ctx, f.target, f.ticket, f.start = ctx, to, ticket, start
	a.goOn()
	response, err := t.send(req, f, a)
	if err != nil {
		f.failed(err)
		a.refused(f.refusal)
		t.avoid(req, a, to)
		return nil, err
	}
	if f.answered(response) {
		t.avoid(req, a, to)
	}
	return response, nil
}

// send hands the request to the inner transport, or to the node's own.
func (t *Transport) send(req *http.Request, f *flight, a *attempts) (*http.Response, error) {
	sent := false
	defer func() {
		if !sent { // the inner transport panicked
			f.cancel()
		}
	}()
	inner, foreign := t.inner, false
	if node := f.target.node; node != nil {
		var err error
		if t.Credentials && !a.hasPaid(f.target) {
			err = node.Spend(f.ctx, req.URL.Path)
		}
		if err == nil {
			req, err = node.Direct(req, t.Credentials, t.keepHost)
		}
		if err != nil {
			f.cancel()
			sent, f.refusal = true, err
			return nil, caddyhttp.Error(http.StatusServiceUnavailable, reverseproxy.NewDialError(err))
		}
		f.signed = t.Credentials
		if own := node.OwnTransport(); own != nil {
			inner, foreign = own, true
		}
	}
	if req.Body != nil && req.Body != http.NoBody {
		dropForbidden(req.Trailer)
		f.upload.ReadCloser, f.upload.trailer = req.Body, req.Trailer
		req.Body = &f.upload // req is this attempt's own
	}
	response, err := inner.RoundTrip(req)
	sent = true
	if err != nil && foreign {
		err = markDialling(err)
	}
	return response, err
}

// spending is the request when it is taken from the budgets of nodes, which
// those that go in the gateway's name are; else nil.
func (t *Transport) spending(r *http.Request) *http.Request {
	if t == nil || !t.Credentials {
		return nil
	}
	return r
}

// markDialling marks what happened before anything was sent, as Caddy's own
// transport does.
func markDialling(err error) error {
	var dialling *net.OpError
	if errors.As(err, &dialling) && dialling.Op == "dial" {
		return reverseproxy.NewDialError(err)
	}
	return err
}

// avoid has the request's next attempt go elsewhere.
func (t *Transport) avoid(req *http.Request, a *attempts, to *target) {
	if a == nil {
		a = beginAttempts(req)
	}
	a.avoid(to.meter)
}

// Interface guards
var (
	_ caddy.Provisioner  = (*Transport)(nil)
	_ caddy.CleanerUpper = (*Transport)(nil)
	_ http.RoundTripper  = (*Transport)(nil)
)
