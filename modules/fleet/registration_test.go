package fleet

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const enrollSecret = "an enrollment secret"

// openEnrollment takes registrations of nodes on this machine.
const openEnrollment = "enrollment secret \"" + enrollSecret + "\"\nnode_urls 127.0.0.0/8"

// code returns the code of a NodeError.
func code(err error) string {
	var refused *NodeError
	if errors.As(err, &refused) {
		return refused.Code
	}
	return ""
}

func TestRegistration(t *testing.T) {
	f := run(t, openEnrollment+"\nnode fixed http://127.0.0.1:1 {\nname Fixed\n}")
	ctx := t.Context()
	seeds := Registration{Name: "Seed Bank", URL: "http://127.0.0.1:9", Capabilities: []string{"search"}, Version: "1.0.1",
		Metadata: json.RawMessage(`{"region":"north"}`), OwnerProof: "a proof of sixteen bytes or more"}
	first, err := f.app.Register(ctx, seeds, enrollSecret, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !first.Created || first.Pending || first.Node.Slug != "seed-bank" || first.Node.ID == 0 || !first.Node.guarded {
		t.Fatalf("registered %+v", first)
	}
	// after a crash: the same name and proof, somewhere else
	moved := seeds
	moved.URL, moved.Capabilities = "http://127.0.0.1:10", []string{"search", "actions"}
	again, err := f.app.Register(ctx, moved, enrollSecret, nil)
	if err != nil || again.Created || again.Node.ID != first.Node.ID || again.Node.URL.Port() != "10" {
		t.Fatalf("registered again %+v: %v", again, err)
	}
	if !slices.Equal(again.Node.Capabilities, []string{"search"}) {
		t.Errorf("a node raised its capabilities to %v", again.Node.Capabilities)
	}
	// somebody else, by a wrong proof or by none
	for _, proof := range []string{"another proof of sixteen bytes", ""} {
		other := seeds
		other.OwnerProof = proof
		if _, err := f.app.Register(ctx, other, enrollSecret, nil); code(err) != CodeNodeExists {
			t.Errorf("proof %q: %v", proof, err)
		}
	}
	// the node itself, who proved it by a token
	other := seeds
	other.OwnerProof = ""
	if _, err := f.app.Register(ctx, other, enrollSecret, &Identity{ID: "seed-bank", NodeID: first.Node.ID}); err != nil {
		t.Errorf("the node itself was refused: %v", err)
	}
	if _, err := f.app.Register(ctx, other, enrollSecret, &Identity{ID: "shop", NodeID: 99}); code(err) != CodeNodeExists {
		t.Errorf("another node took the name: %v", err)
	}
	// old clients have no proof: the URL stands in for it, until there is one
	old := Registration{Name: "Mill", URL: "http://127.0.0.1:11"}
	mill, err := f.app.Register(ctx, old, enrollSecret, nil)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := f.app.Register(ctx, old, enrollSecret, nil); err != nil || back.Created || back.Node.ID != mill.Node.ID {
		t.Errorf("came back as %+v: %v", back, err)
	}
	old.URL = "http://127.0.0.1:12"
	if _, err := f.app.Register(ctx, old, enrollSecret, nil); code(err) != CodeNodeExists {
		t.Errorf("another URL took the name: %v", err)
	}
	// a node of the file registers for its tokens
	fixed, err := f.app.Register(ctx, Registration{Name: "Fixed", URL: "http://127.0.0.1:1", Description: "told", Capabilities: []string{"rag"}}, enrollSecret, nil)
	if err != nil || fixed.Created || fixed.Node.Description != "told" || fixed.Node.Source != sourceCaddyfile {
		t.Fatalf("registered %+v: %v", fixed, err)
	}
	if !slices.Equal(fixed.Node.Capabilities, []string{"search", "actions"}) {
		t.Errorf("a node of the file has %v", fixed.Node.Capabilities)
	}
	if _, err := f.app.Register(ctx, Registration{Name: "Fixed", URL: "http://127.0.0.1:2"}, enrollSecret, nil); code(err) != CodeNodeExists {
		t.Errorf("another URL took a name of the file: %v", err)
	}
}

func TestRegistrationIsRefused(t *testing.T) {
	f := run(t, openEnrollment)
	good := Registration{Name: "Shop", URL: "http://127.0.0.1:9"}
	with := func(change func(*Registration)) Registration {
		r := good
		change(&r)
		return r
	}
	for name, c := range map[string]struct {
		r      Registration
		secret string
		code   string
	}{
		"no secret":    {good, "", CodeEnrollmentRequired},
		"wrong secret": {good, "another secret of some length", CodeEnrollmentRefused},
		"no name":      {with(func(r *Registration) { r.Name = " " }), enrollSecret, CodeInvalid},
		"long name":    {with(func(r *Registration) { r.Name = strings.Repeat("x", 256) }), enrollSecret, CodeInvalid},
		"no letters":   {with(func(r *Registration) { r.Name = "---" }), enrollSecret, CodeInvalid},
		"bad slug":     {with(func(r *Registration) { r.Slug = "Shop" }), enrollSecret, CodeInvalid},
		"local":        {with(func(r *Registration) { r.Slug = "local" }), enrollSecret, CodeInvalid},
		"no url":       {with(func(r *Registration) { r.URL = "" }), enrollSecret, CodeInvalid},
		"ftp":          {with(func(r *Registration) { r.URL = "ftp://127.0.0.1" }), enrollSecret, CodeInvalid},
		"user":         {with(func(r *Registration) { r.URL = "http://u:p@127.0.0.1" }), enrollSecret, CodeInvalid},
		"dots":         {with(func(r *Registration) { r.URL = "http://127.0.0.1:9/a/../b" }), enrollSecret, CodeInvalid},
		"hidden dots":  {with(func(r *Registration) { r.URL = "http://127.0.0.1:9/a/%2e%2e/b" }), enrollSecret, CodeInvalid},
		"empty part":   {with(func(r *Registration) { r.URL = "http://127.0.0.1:9/a//b" }), enrollSecret, CodeInvalid},
		"placeholder":  {with(func(r *Registration) { r.URL = "http://127.0.0.1/{env.PATH}" }), enrollSecret, CodeInvalid},
		"private":      {with(func(r *Registration) { r.URL = "http://10.0.0.1" }), enrollSecret, CodeURLRefused},
		"metadata":     {with(func(r *Registration) { r.URL = "http://169.254.169.254" }), enrollSecret, CodeURLRefused},
		"ula":          {with(func(r *Registration) { r.URL = "http://[fc00::1]" }), enrollSecret, CodeURLRefused},
		"type":         {with(func(r *Registration) { r.Type = "king" }), enrollSecret, CodeInvalid},
		"dialect":      {with(func(r *Registration) { r.Dialect = "json" }), enrollSecret, CodeInvalid},
		"privilege":    {with(func(r *Registration) { r.Capabilities = []string{"search", "nodes:write"} }), enrollSecret, CodeNotPermitted},
		"tokens":       {with(func(r *Registration) { r.Capabilities = []string{"tokens"} }), enrollSecret, CodeNotPermitted},
		"short proof":  {with(func(r *Registration) { r.OwnerProof = "short" }), enrollSecret, CodeInvalid},
		"many words":   {with(func(r *Registration) { r.Keywords = make([]string, 501) }), enrollSecret, CodeInvalid},
		"long word":    {with(func(r *Registration) { r.Domains = []string{strings.Repeat("x", 256)} }), enrollSecret, CodeInvalid},
	} {
		if _, err := f.app.Register(t.Context(), c.r, c.secret, nil); code(err) != c.code {
			t.Errorf("%s: %v, expected %s", name, err, c.code)
		}
	}
	closed := run(t, "")
	if _, err := closed.app.Register(t.Context(), good, enrollSecret, nil); code(err) != CodeEnrollmentOff {
		t.Errorf("without enrollment: %v", err)
	}
	for _, f := range []*federated{f, closed} {
		if records, err := f.store.Nodes().List(t.Context()); err != nil || len(records) != 0 {
			t.Errorf("refused, and written all the same: %v %v", records, err)
		}
	}
}

// TestARedirectHomeIsRefused: a node that sends callers where nodes may not live.
func TestARedirectHomeIsRefused(t *testing.T) {
	f := run(t, openEnrollment)
	for target, expected := range map[string]string{"http://10.0.0.1/": CodeURLRefused, "http://[::1]/": CodeURLRefused, "http://[::1/": CodeURLRefused, "/elsewhere": "", "": ""} {
		node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if target != "" {
				w.Header().Set("Location", target)
			}
			w.WriteHeader(http.StatusFound)
		}))
		_, err := f.app.Register(t.Context(), Registration{Name: "Shop", URL: node.URL, Slug: SlugOf("shop" + target)}, enrollSecret, nil)
		node.Close()
		if code(err) != expected {
			t.Errorf("a redirect to %s: %v", target, err)
		}
	}
}

func TestApproval(t *testing.T) {
	f := run(t, "enrollment approval\nnode_urls 127.0.0.0/8")
	ctx := t.Context()
	r := Registration{Name: "Shop", URL: "http://127.0.0.1:9", OwnerProof: "a proof of sixteen bytes or more"}
	asked, err := f.app.Register(ctx, r, "", nil)
	if err != nil || !asked.Created || !asked.Pending || asked.Node.Refusal() != "pending" {
		t.Fatalf("asked %+v: %v", asked, err)
	}
	if again, err := f.app.Register(ctx, r, "", nil); err != nil || again.Created || !again.Pending {
		t.Errorf("asked again %+v: %v", again, err)
	}
	if _, err := f.app.SetAdminState(ctx, "shop", AdminDraining); code(err) != CodeNodeConflict {
		t.Errorf("drained a node that waits: %v", err)
	}
	if node, err := f.app.SetAdminState(ctx, "shop", AdminEnabled); err != nil || node.Refusal() != "" {
		t.Fatalf("approved: %v", err)
	}
	if again, err := f.app.Register(ctx, r, "", nil); err != nil || again.Pending {
		t.Errorf("after approval %+v: %v", again, err)
	}
	// without a proof it could never ask again
	if _, err := f.app.Register(ctx, Registration{Name: "Mill", URL: "http://127.0.0.1:10"}, "", nil); code(err) != CodeInvalid {
		t.Errorf("without a proof: %v", err)
	}
}

// TestAURLIsNoSecret: a node that came without a proof, moved, and finds the
// enrollment open to all by now.
func TestAURLIsNoSecret(t *testing.T) {
	f := run(t, openEnrollment)
	ctx := t.Context()
	r := Registration{Name: "Mill", URL: "http://127.0.0.1:9"}
	first, err := f.app.Register(ctx, r, enrollSecret, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.URL = "http://127.0.0.1:10"
	if _, err := f.app.Register(ctx, r, enrollSecret, &Identity{ID: "mill", NodeID: first.Node.ID}); err != nil {
		t.Fatal(err)
	}
	if back, err := f.app.Register(ctx, r, enrollSecret, nil); err != nil || back.Node.ID != first.Node.ID {
		t.Errorf("at its new URL: %v", err)
	}
	old := r
	old.URL = "http://127.0.0.1:9"
	if _, err := f.app.Register(ctx, old, enrollSecret, nil); code(err) != CodeNodeExists {
		t.Errorf("who has its old URL: %v", err)
	}
	if err := f.reload("enrollment approval\nnode_urls 127.0.0.0/8", nil); err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{"http://127.0.0.1:9", "http://127.0.0.1:10"} {
		for _, proof := range []string{"", "a proof of sixteen bytes or more"} {
			if _, err := f.app.Register(ctx, Registration{Name: "Mill", URL: url, OwnerProof: proof}, "", nil); code(err) != CodeNodeExists {
				t.Errorf("%s with proof %q: %v", url, proof, err)
			}
		}
	}
}

func TestNobodyRaisesWhatItMayDoByRegistering(t *testing.T) {
	f := run(t, openEnrollment+"\nnode_defaults {\ncapabilities search\n}")
	ctx := t.Context()
	register := func(name string, capabilities ...string) *Node {
		t.Helper()
		r, err := f.app.Register(ctx, Registration{Name: name, URL: "http://127.0.0.1:9", Capabilities: capabilities}, enrollSecret, nil)
		if err != nil {
			t.Fatal(err)
		}
		return r.Node
	}
	if _, err := f.app.AddNode(ctx, NodeConfig{Slug: "added", URL: "http://127.0.0.1:9"}); err != nil {
		t.Fatal(err)
	}
	register("Shop")
	for _, name := range []string{"Shop", "Added", "New"} {
		if node := register(name, "search", "actions", "billing"); !slices.Equal(node.Capabilities, []string{"search"}) {
			t.Errorf("%s may do %v", name, node.Capabilities)
		}
	}
	free := run(t, openEnrollment)
	for _, c := range []string{"search tokens", " tokens", "TOKENS", "Nodes:Write", "", "a\"b"} {
		if _, err := free.app.Register(ctx, Registration{Name: "Other", URL: "http://127.0.0.1:9", Capabilities: []string{c}}, enrollSecret, nil); code(err) != CodeInvalid && code(err) != CodeNotPermitted {
			t.Errorf("%q: %v", c, err)
		}
	}
}

func TestADisabledNodeChangesNothing(t *testing.T) {
	f := run(t, openEnrollment)
	ctx := t.Context()
	r := Registration{Name: "Shop", URL: "http://127.0.0.1:9"}
	if _, err := f.app.Register(ctx, r, enrollSecret, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := f.app.SetAdminState(ctx, "shop", AdminDisabled); err != nil {
		t.Fatal(err)
	}
	r.Description = "changed"
	if _, err := f.app.Register(ctx, r, enrollSecret, nil); code(err) != CodeNodeDisabled || f.node("shop").Description != "" {
		t.Errorf("a disabled node registered: %v, and is %q", err, f.node("shop").Description)
	}
}

func TestANodeTakesNoNameOfAClient(t *testing.T) {
	f := run(t, openEnrollment)
	ctx := t.Context()
	if _, _, err := f.app.NewClientKey(ctx, "dash", []string{"search"}, time.Time{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"dash", "federated"} {
		if _, err := f.app.Register(ctx, Registration{Name: name, URL: "http://127.0.0.1:9"}, enrollSecret, nil); code(err) != CodeNodeExists {
			t.Errorf("%s registered: %v", name, err)
		}
		if _, err := f.app.AddNode(ctx, NodeConfig{Slug: name, URL: "http://127.0.0.1:9"}); code(err) != CodeNodeExists {
			t.Errorf("%s was added: %v", name, err)
		}
	}
}

func TestManyRegisterOneName(t *testing.T) {
	f := run(t, openEnrollment)
	var group sync.WaitGroup
	var mu sync.Mutex
	created, ids := 0, make(map[int64]bool)
	for range 100 {
		group.Go(func() {
			registered, err := f.app.Register(t.Context(), Registration{Name: "Shop", URL: "http://127.0.0.1:9"}, enrollSecret, nil)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
				return
			}
			ids[registered.Node.ID] = true
			if registered.Created {
				created++
			}
		})
	}
	group.Wait()
	if created != 1 || len(ids) != 1 {
		t.Errorf("%d were created under the ids %v", created, ids)
	}
}
