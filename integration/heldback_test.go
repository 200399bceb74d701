package integration

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// heldBack is a body that is sent once something has happened: the gateway asks
// for it after it has let the caller in.
type heldBack struct {
	first func()
	rest  io.Reader
}

func (b *heldBack) Read(p []byte) (int, error) {
	if b.first != nil {
		b.first()
		b.first = nil
	}
	return b.rest.Read(p)
}

// sendHeldBack sends a request whose body comes after first, and returns the
// status of the answer.
func (g gateway) sendHeldBack(method, path, credential, body string, first func()) int {
	g.Helper()
	request, err := http.NewRequest(method, g.url+path, &heldBack{first, bytes.NewBufferString(body)})
	if err != nil {
		g.Fatal(err)
	}
	request.ContentLength = int64(len(body))
	request.Header = http.Header{"Authorization": {"Bearer " + credential}, "Content-Type": {"application/json"}, "Expect": {"100-continue"}}
	transport := &http.Transport{ExpectContinueTimeout: 20 * time.Second}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	if err != nil {
		g.Fatal(err)
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

// TestNoSearchAfterTheRevocation: on neither face, and a node is asked nothing.
func TestNoSearchAfterTheRevocation(t *testing.T) {
	asked := make(chan string, 10)
	there := node(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			asked <- r.URL.Path
		}
		answers(hits("a"))(w, r)
	})
	const search = "\nhandle %s {\nfederation_auth\nfederation_search\n}\n"
	g := registryGateway(t, "node there "+there+" {\n dialect gateway\n}\n",
		openNodes+fmt.Sprintf(search, "/v1/search")+fmt.Sprintf(search, "/api/ai-engine/search"))
	app := fleet.Running("test")
	access, _ := g.enrolled("Mill", node(t, answers(`{"status":"pass"}`)))
	for _, path := range []string{"/v1/search", "/api/ai-engine/search"} {
		key, id, err := app.NewClientKey(t.Context(), "reader", []string{"search"}, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		for _, credential := range []string{key, access} {
			if status := g.sendHeldBack("POST", path, credential, `{"query":"x","nodes":["there"]}`, func() {}); status != http.StatusOK {
				t.Fatalf("%s with a body that takes its time: %d", path, status)
			}
		}
		for len(asked) > 0 {
			<-asked
		}
		if status := g.sendHeldBack("POST", path, key, `{"query":"x"}`, func() {
			if err := app.DeleteAPIKey(t.Context(), id); err != nil {
				t.Error(err)
			}
		}); status != http.StatusUnauthorized {
			t.Errorf("%s with a key that was deleted: %d", path, status)
		}
	}
	if status := g.sendHeldBack("POST", "/v1/search", access, `{"query":"x"}`, func() {
		if _, err := app.SetAdminState(t.Context(), "mill", fleet.AdminDisabled); err != nil {
			t.Error(err)
		}
	}); status != http.StatusUnauthorized {
		t.Errorf("a node that was disabled: %d", status)
	}
	if len(asked) > 0 {
		t.Errorf("a node was asked %s", <-asked)
	}
}

// TestABodyAfterTheRevocation: a caller who is let in, and revoked before its
// body comes, changes nothing any more.
func TestABodyAfterTheRevocation(t *testing.T) {
	g := registryGateway(t, "node boss http://127.0.0.1:9\n", openNodes+"\nhandle /held/* {\nfederation_auth\nfederation_nodes {\ncompat laravel\n}\n}\n")
	app := fleet.Running("test")
	access, _ := g.enrolled("Mill", node(t, answers(`{"status":"pass"}`)))
	if status := g.sendHeldBack("PATCH", "/v1/nodes/mill", access, `{"description":"before"}`, func() {}); status != 200 {
		t.Fatalf("a body that takes its time: %d", status)
	}
	operator := func() (key, id string) {
		t.Helper()
		key, id, err := app.NewClientKey(t.Context(), "ops", []string{"nodes:write", "tokens", "actions"}, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		return key, id
	}
	for _, c := range [][3]string{
		{"PATCH", "/v1/nodes/mill", `{"admin_state":"disabled","description":"after"}`},
		{"POST", "/v1/nodes", `{"name":"Ghost","url":"http://127.0.0.1:9"}`},
		{"POST", "/held/v1/nodes", `{"name":"Ghost","url":"http://127.0.0.1:9"}`},
		{"POST", "/held/api/ai-engine/register", `{"name":"Ghost","url":"http://127.0.0.1:9"}`},
		{"POST", "/held/api/ai-engine/actions", `{"action":"sync","node":"boss"}`},
		{"POST", "/v1/nodes/mill/breaker", `{"force":"open"}`},
	} {
		key, id := operator()
		letIn := false
		status := g.sendHeldBack(c[0], c[1], key, c[2], func() {
			letIn = true
			if err := app.DeleteAPIKey(t.Context(), id); err != nil {
				t.Error(err)
			}
		})
		// who registers is asked when the body has come, and has no secret then
		if !letIn || status != http.StatusUnauthorized && (c[1] != "/v1/nodes" || status != http.StatusForbidden) {
			t.Errorf("%s %s with a key that was deleted: %d, let in before: %v", c[0], c[1], status, letIn)
		}
	}
	status := g.sendHeldBack("PATCH", "/v1/nodes/mill", access, `{"description":"after"}`, func() {
		if err := app.RevokeNode(t.Context(), "mill"); err != nil {
			t.Error(err)
		}
	})
	if status != http.StatusUnauthorized {
		t.Errorf("a node that was revoked: %d", status)
	}
	mill := app.Snapshot().Node("mill")
	if mill.Description != "before" || mill.AdminState != fleet.AdminEnabled || mill.Refusal() != "" || app.Snapshot().Node("ghost") != nil {
		t.Errorf("it is %+v, ghost %v", mill, app.Snapshot().Node("ghost"))
	}
}
