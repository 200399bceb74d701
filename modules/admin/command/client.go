package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddy-federation/caddy-federation/modules/admin"
)

// maxAnswer is the largest answer that is read.
const maxAnswer = 64 << 20

// client makes calls to the admin endpoint.
type client struct {
	http       *http.Client
	address    string // for people
	origin     string
	federation string
	hasOrigin  bool
}

// newClient finds the endpoint as Caddy's own commands do: by --address, else
// in the configuration file, else Caddy's default.
func newClient(o *options) (*client, error) {
	if o.adapter != "" && o.config == "" {
		return nil, usage("--adapter needs --config")
	}
	text, err := caddycmd.DetermineAdminAPIAddress(o.address, nil, o.config, o.adapter)
	if err != nil {
		return nil, usage("finding the admin endpoint: %w", err)
	}
	if text == "off" {
		return nil, &failure{exitUnreachable, errors.New("the configuration has its admin endpoint off")}
	}
	address, err := caddy.ParseNetworkAddress(text)
	if err != nil || address.PortRangeSize() > 1 {
		return nil, usage("%q is not the address of an admin endpoint, expected host:port or unix//path", text)
	}
	c := &client{address: text, federation: o.federation, hasOrigin: true, origin: "http://" + address.JoinHostPort(0)}
	network, target := address.Network, address.JoinHostPort(0)
	if address.IsUnixNetwork() || address.IsFdNetwork() {
		target, _, _ = strings.Cut(address.Host, "|") // the socket's permissions
		c.origin, c.hasOrigin = "http://127.0.0.1", false
	}
	c.http = &http.Client{
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, target)
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// call sends a request to a path below /federation/ and decodes the answer.
// into may be nil, or a *json.RawMessage for the answer as it is.
func (c *client) call(ctx context.Context, method, path string, query url.Values, body, into any) error {
	status, answer, err := c.do(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	if status >= 400 {
		return refusal(status, answer)
	}
	return decode(answer, into)
}

var errNotOurs = &failure{exitUnreachable, errors.New("the answer is not what was expected: is the address that of Caddy's admin endpoint, and of this version?")}

func decode(answer []byte, into any) error {
	switch into := into.(type) {
	case nil:
		return nil
	case *json.RawMessage:
		*into = answer
		return nil
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return errNotOurs
	}
	return nil
}

// do sends a request and returns the status and body of the answer.
func (c *client) do(ctx context.Context, method, path string, query url.Values, body any) (int, []byte, error) {
	var reader io.Reader = http.NoBody
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return 0, nil, usage("%w", err)
		}
		reader = bytes.NewReader(encoded)
	}
	if query == nil {
		query = url.Values{}
	}
	if c.federation != "" {
		query.Set("federation", c.federation)
	}
	target := c.origin + admin.Prefix + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, method, target, reader)
	if err != nil {
		return 0, nil, usage("%q is not the address of an admin endpoint", c.address)
	}
	if c.hasOrigin {
		request.Header.Set("Origin", c.origin)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := c.http.Do(request)
	if err != nil {
		return 0, nil, c.unreachable(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return 0, nil, c.unreachable(err)
	}
	if response.StatusCode < 400 && response.Header.Get(admin.Header) == "" {
		return 0, nil, errNotOurs
	}
	return response.StatusCode, answer, nil
}

func (c *client) unreachable(err error) error {
	var timeout net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		return &failure{exitTimeout, fmt.Errorf("the admin endpoint at %s did not answer in time", c.address)}
	}
	var cause *net.OpError
	if errors.As(err, &cause) {
		err = cause.Err
	}
	return &failure{exitUnreachable, fmt.Errorf("cannot reach Caddy's admin endpoint at %s (%w): is Caddy running? Name another with --address or --config", c.address, err)}
}

// refusal turns an answer with an error into a failure.
func refusal(status int, answer []byte) error {
	var body struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(answer, &body) != nil || body.Error == "" {
		if status == http.StatusNotFound {
			return &failure{exitUnreachable, errors.New("the Caddy that answers has no federation in it: build it with this module")}
		}
		return &failure{exitUnreachable, fmt.Errorf("what answers, with HTTP %d, is not Caddy's admin endpoint", status)}
	}
	code := exitUsage
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		code = exitUnauthorised
	case http.StatusNotFound:
		code = exitNotFound
	case http.StatusRequestTimeout, http.StatusGatewayTimeout:
		code = exitTimeout
	case http.StatusServiceUnavailable:
		code = exitUnreachable
	case http.StatusInternalServerError:
		code = exitFailed
	}
	return &failure{code, errors.New(body.Error)}
}
