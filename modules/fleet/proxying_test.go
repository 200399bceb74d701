package fleet

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestDirectPointsARequestAtTheNode(t *testing.T) {
	f := run(t, `
		node plain http://10.0.0.1
		node secure https://secure.example:8443/a%2Fb {
			credentials bearer secret
			header_up X-Tenant acme
		}
		node named https://10.0.0.3 {
			header_up Host shop.example
		}`)
	for _, c := range []struct {
		slug, path            string
		credentials, keepHost bool
		url, host, header     string
	}{
		{"plain", "/x?q=1", false, false, "http://upstream/x?q=1", "client", "Bearer caller, caller, "},
		{"plain", "/x", true, false, "http://upstream/x", "client", ", , "},
		{"secure", "/x%20y?q", false, false, "https://upstream/a%2Fb/x%20y?q", "secure.example:8443", "Bearer caller, caller, acme"},
		{"secure", "/", true, true, "https://upstream/a%2Fb/", "client", "Bearer secret, secret, acme"},
		{"secure", "/%2F", true, false, "https://upstream/a%2Fb/%2F", "secure.example:8443", "Bearer secret, secret, acme"},
		{"named", "/", false, false, "https://upstream/", "shop.example", "Bearer caller, caller, "},
	} {
		t.Run(c.slug+c.path, func(t *testing.T) {
			address, err := url.Parse(c.path)
			if err != nil {
				t.Fatal(err)
			}
			address.Host = "upstream"
			shared := &http.Request{URL: address, Host: "client", Header: http.Header{
				"Authorization": {"Bearer caller"}, "X-Node-Token": {"caller"}, "X-Api-Key": {"caller"},
			}}
			attempt := *shared // as Caddy does it
			got, err := f.node(c.slug).Direct(&attempt, c.credentials, c.keepHost)
			if err != nil {
				t.Fatal(err)
			}
			if got.URL.String() != c.url || got.Host != c.host {
				t.Errorf("%s for %s, expected %s for %s", got.URL, got.Host, c.url, c.host)
			}
			header := strings.Join([]string{got.Header.Get("Authorization"), got.Header.Get("X-Node-Token"), got.Header.Get("X-Tenant")}, ", ")
			if header != c.header || c.credentials && got.Header.Get("X-Api-Key") != "" {
				t.Errorf("the header is %q (%v), expected %q", header, got.Header, c.header)
			}
			if shared.Header.Get("Authorization") != "Bearer caller" || len(shared.Header) != 3 || shared.URL.EscapedPath() != address.EscapedPath() || !strings.HasPrefix(c.path, shared.URL.EscapedPath()) {
				t.Errorf("the request that other attempts share became %v %v", shared.URL, shared.Header)
			}
		})
	}
}

func TestARegisteredNodeIsReachedWhereItMayLive(t *testing.T) {
	f := run(t, "node fixed http://127.0.0.1:1")
	f.put("registered", `{"url":"http://127.0.0.1:1"}`)
	deadline := time.Now().Add(10 * time.Second)
	for f.app.Snapshot().Node("registered") == nil {
		if time.Now().After(deadline) {
			t.Fatal("the node never came")
		}
		time.Sleep(time.Millisecond)
	}
	if f.node("fixed").OwnTransport() != nil {
		t.Error("a node of the file needs no transport of its own")
	}
	own := f.node("registered").OwnTransport()
	if own == nil {
		t.Fatal("nobody looks at the address of a registered node")
	}
	request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:1/", nil)
	response, err := own.RoundTrip(request)
	if err == nil {
		response.Body.Close()
	}
	var refusal *RefusalError
	if !errors.As(err, &refusal) || refusal.Reason != "address" {
		t.Errorf("the error is %v, expected a refusal of the address", err)
	}
}

func TestAProxiedCallKeepsItsPlace(t *testing.T) {
	gates, err := LoadGates(t.Name(), &BreakerConfig{Consecutive: 2}, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer gates.Close()
	gate := gates.Gate("a")
	gates.Gate("b")
	admit := func() Ticket {
		t.Helper()
		ticket, err := gate.Admit(t.Context(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return ticket
	}
	ticket := admit()
	answer := ticket.Answered(Result{Outcome: OutcomeOK, Status: 200, Latency: time.Millisecond}, false)
	if _, err := gate.Admit(t.Context(), time.Now()); err == nil || gate.InFlight() != 1 {
		t.Errorf("after the header: %v, %d in flight", err, gate.InFlight())
	}
	answer.End()
	for range 2 { // answers that break off open the breaker, in spite of their headers
		admit().Answered(fine, false).Broke(hard)
	}
	if gate.InFlight() != 0 || gate.Refusal() != "open" {
		t.Errorf("%d in flight, refusal %q", gate.InFlight(), gate.Refusal())
	}
	// none of this refuses the last resort
	ticket, err = gate.AdmitLastResort(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gate.AdmitLastResort(time.Now()); err == nil {
		t.Error("the bulkhead does not hold")
	}
	ticket.Answered(Result{Outcome: OutcomeOK, Status: 200}, false).End()
	if err := gate.Force("open", "", "", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := gate.AdmitLastResort(time.Now()); err == nil || gate.LastResort() || gate.InFlight() != 0 {
		t.Errorf("forced open: %v, %d in flight", err, gate.InFlight())
	}
	var none Ticket
	none.Answered(Result{}, false).End()
	Answer{}.Broke(Result{})
}

// TestProxiedCallsAreInTheLastHour, with the reason of the last that failed.
func TestProxiedCallsAreInTheLastHour(t *testing.T) {
	n := NewNode("shop")
	for _, r := range []Result{
		ResultOfResponse(&http.Response{StatusCode: 200}, 40*time.Millisecond),
		ResultOfResponse(&http.Response{StatusCode: 404}, time.Millisecond), // says nothing of the node
		ResultOfResponse(&http.Response{StatusCode: 502}, time.Millisecond),
	} {
		ticket, err := n.Gate().Admit(t.Context(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		ticket.Answered(r, false).End()
	}
	recent := n.Recent()
	if recent.Calls != 2 || recent.Failed != 1 || recent.Latency == nil || recent.Latency.P50 < 39 || recent.Latency.P50 > 41 ||
		recent.LastError == nil || recent.LastError.Reason != "the node answered HTTP 502" {
		t.Errorf("%+v", recent)
	}
	ticket, err := n.Gate().Admit(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ticket.Answered(ResultOfResponse(&http.Response{StatusCode: 200}, time.Millisecond), false).Broke(ResultOfError(t.Context(), io.ErrUnexpectedEOF, 0))
	if recent := n.Recent(); recent.Calls != 3 || recent.Failed != 2 || recent.LastError.Reason != "the node closed the connection before the answer was complete" {
		t.Errorf("%+v", recent)
	}
}
