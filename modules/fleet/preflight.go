package fleet

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"
)

// preflightTimeout bounds the one request that a registration sends.
const preflightTimeout = 3 * time.Second

// allowURL refuses a URL where nodes may not live, also when the node itself
// sends callers there.
func (a *App) allowURL(ctx context.Context, u *url.URL) error {
	refused := func(err error) error {
		var policy *URLRefusedError
		if errors.As(err, &policy) {
			return &NodeError{CodeURLRefused, "url", policy.Reason}
		}
		return err
	}
	err := a.urlPolicy.Check(ctx, u)
	if a.enrollment.mode != EnrollmentSecret {
		// strangers make us send nothing, and hear nothing of which names there are here
		var policy *URLRefusedError
		if errors.As(err, &policy) {
			err = &URLRefusedError{"the host of the url does not stand for an address where nodes may live"}
		}
		return refused(err)
	}
	if err != nil {
		return refused(err)
	}
	ctx, cancel := context.WithTimeout(ctx, preflightTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.JoinPath("/api/ai-engine/health").String(), http.NoBody)
	if err != nil {
		return invalidNode("url", "the url cannot be requested")
	}
	request.Header.Set("Accept", "application/json")
	transport := newTransport(1, a.urlPolicy.control(u.Hostname()))
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	if err != nil {
		var refusal *RefusalError
		if errors.As(err, &refusal) {
			return &NodeError{CodeURLRefused, "url", "the host of the url has an address where nodes may not live"}
		}
		return nil // a node that is down may register
	}
	_ = response.Body.Close()
	if response.StatusCode < 300 || response.StatusCode > 399 || response.Header.Get("Location") == "" {
		return nil
	}
	location, err := response.Location()
	if err != nil {
		return &NodeError{CodeURLRefused, "url", "the url redirects to what is no url"}
	}
	var policy *URLRefusedError
	if err := a.urlPolicy.Check(ctx, location); errors.As(err, &policy) {
		return &NodeError{CodeURLRefused, "url", "the url redirects to where nodes may not live"}
	}
	return nil
}
