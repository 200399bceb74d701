package dialects

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/goleak"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wire is a [fleet.Caller] over real HTTP, without the fleet.
type wire struct {
	t    *testing.T
	url  string
	node *fleet.Node
	sent []*fleet.Request
}

func (w *wire) Node() *fleet.Node { return w.node }

func (w *wire) Do(ctx context.Context, request *fleet.Request) (*fleet.Response, error) {
	w.sent = append(w.sent, request)
	method := request.Method
	if method == "" {
		method = http.MethodGet
		if request.Body != nil {
			method = http.MethodPost
		}
	}
	var body io.Reader = http.NoBody
	if request.Body != nil {
		body = newReader(request.Body)
	}
	r, err := http.NewRequestWithContext(ctx, method, w.url+request.Path, body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json")
	for name, values := range request.Header {
		r.Header[name] = values
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return nil, &fleet.StatusError{Status: response.StatusCode, Header: response.Header, Body: text}
	}
	if err := fleet.CheckJSON(text); err != nil {
		return nil, err
	}
	return &fleet.Response{Status: response.StatusCode, Header: response.Header, Body: text}, nil
}

type reader struct{ rest []byte }

func newReader(b []byte) io.Reader { return &reader{b} }

func (r *reader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// connect returns a caller to a handler.
func connect(t *testing.T, handler http.HandlerFunc) *wire {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(func() {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		server.Close()
	})
	return &wire{t: t, url: server.URL, node: fleet.NewNode("shop")}
}

// provisioned reads a dialect's Caddyfile block and provisions it.
func provisioned[T interface {
	fleet.Dialect
	caddy.Provisioner
	caddyfile.Unmarshaler
}](t *testing.T, dialect T, text string) T {
	t.Helper()
	if err := dialect.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); err != nil {
		t.Fatal(err)
	}
	if err := dialect.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	return dialect
}

// says serves a body as JSON with a status.
func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func kettle(limit int) *fleet.SearchQuery {
	return &fleet.SearchQuery{Text: "kettle", Limit: limit}
}

func isPayload(err error) bool {
	var payload *fleet.PayloadError
	return errors.As(err, &payload)
}
