package integration

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestTheCommandIssuesAndExplainsTokens(t *testing.T) {
	o := operate(t, "", "key main hs256 \"a secret of at least thirty-two bytes\"\nnode shop http://shop.test")
	var tokens struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	issued := o.expect(0, "", "token", "issue", "shop", "-o", "json")
	if err := json.Unmarshal([]byte(issued.out), &tokens); err != nil || tokens.Access == "" || tokens.Refresh == "" {
		t.Fatalf("%v: %s", err, issued.out)
	}
	r := o.expect(0, "", "token", "inspect", tokens.Access)
	if !strings.Contains(r.out, "accepted as shop") || !strings.Contains(r.out, "kind: access token") || strings.Contains(r.out, tokens.Access) {
		t.Errorf("%s", r.out)
	}
	o.expect(0, tokens.Access+"\n", "token", "inspect")
	forged := tokens.Access[:len(tokens.Access)-8] + "AAAAAAAA"
	if r := o.expect(7, forged, "token", "inspect", "-"); !strings.Contains(r.out, "signature") || strings.Contains(r.out, forged) {
		t.Errorf("%s", r.out)
	}
	if r := o.expect(7, "", "token", "inspect", "nonsense", "-o", "json"); !strings.Contains(r.out, `"accepted": false`) {
		t.Errorf("%s", r.out)
	}
	if r := o.expect(7, "", "token", "inspect", tokens.Refresh); !strings.Contains(r.out, "refresh token") {
		t.Errorf("%s", r.out)
	}
	o.expect(0, tokens.Access, "token", "revoke")
	if r := o.expect(7, tokens.Access, "token", "inspect"); !strings.Contains(r.out, "revoked") {
		t.Errorf("%s", r.out)
	}

	// an API key of the node, and one of a client
	key := o.issueKey("shop", "--api-key")
	if r := o.expect(0, key.APIKey, "token", "inspect"); !strings.Contains(r.out, "accepted as shop") || !strings.Contains(r.out, "kind: API key") {
		t.Errorf("%s", r.out)
	}
	client := o.issueKey("--client", "app", "--capabilities", "search", "--expires", "24h")
	list := o.expect(0, "", "token", "ls")
	for _, want := range []string{key.ID, client.ID, "node shop", "client app  search"} {
		if !strings.Contains(steady(list.out), want) {
			t.Errorf("there is no %q in %s", want, list.out)
		}
	}
	if strings.Contains(list.out, key.APIKey) || strings.Contains(o.expect(0, "", "token", "ls", "shop", "-o", "json").out, client.ID) {
		t.Errorf("%s", list.out)
	}
	o.expect(0, "", "token", "revoke", "--key", client.ID)
	o.expect(4, "", "token", "revoke", "--key", client.ID)
	o.expect(7, client.APIKey, "token", "inspect")
	o.expect(0, "", "token", "revoke", "--node", "shop")
	o.expect(7, key.APIKey, "token", "inspect")

	o.expect(4, "", "token", "issue", "nobody")
	o.expect(4, "", "token", "ls", "nobody")
	o.expect(1, "", "token", "issue", "--client", "shop", "--capabilities", "search")
	o.expect(0, "", "nodes", "disable", "shop")
	if r := o.expect(1, "", "token", "issue", "shop"); !strings.Contains(r.errout, "is disabled") {
		t.Errorf("%s", r.errout)
	}
}

type issuedKey struct {
	ID     string `json:"id"`
	APIKey string `json:"api_key"`
}

func (o operator) issueKey(args ...string) (key issuedKey) {
	o.Helper()
	r := o.expect(0, "", append([]string{"token", "issue", "-o", "json"}, args...)...)
	if err := json.Unmarshal([]byte(r.out), &key); err != nil || key.APIKey == "" || key.ID == "" {
		o.Fatalf("%v: %s", err, r.out)
	}
	return key
}

func TestWithoutAKeyNoTokenIsIssued(t *testing.T) {
	o := operate(t, "", "node shop http://shop.test")
	if r := o.expect(1, "", "token", "issue", "shop"); !strings.Contains(r.errout, "no key that may sign") {
		t.Errorf("%s", r.errout)
	}
}

func TestANodeGoesOnWithItsOldAPIKey(t *testing.T) {
	o := operate(t, "", "")
	o.expect(0, "", "nodes", "import", dump(t, "pg_copy.sql"))
	old := strings.Repeat("k", 60) + "0001"
	if r := o.expect(0, old, "token", "inspect"); !strings.Contains(r.out, "accepted as orchard-shop") {
		t.Errorf("%s", r.out)
	}
	if r := o.expect(0, "", "token", "ls"); !strings.Contains(r.out, "imported") || strings.Contains(r.out, old) {
		t.Errorf("%s", r.out)
	}
	// a key that somebody else has makes the row invalid
	twice := `[{"name":"Thief","url":"http://thief.test","api_key":"` + old + `"}]`
	if r := o.expect(1, twice, "nodes", "import", "-"); !strings.Contains(r.out, "api_key: is somebody else's already") || strings.Contains(r.out+r.errout, old) {
		t.Errorf("%s%s", r.out, r.errout)
	}
	o.expect(0, twice, "nodes", "import", "--skip-invalid", "-")
	o.expect(4, "", "nodes", "get", "thief")
}

// TestTheCommandCleansUpAfterANameThatLeft: what was given to a node of the
// Caddyfile can be listed and ended when the node has left it.
func TestTheCommandCleansUpAfterANameThatLeft(t *testing.T) {
	const key = "key main hs256 \"a secret of at least thirty-two bytes\"\n"
	o := operate(t, "", key+"node shop http://shop.test\nnode docs http://docs.test")
	given := o.issueKey("docs", "--api-key")
	load(t, administered(o.address, "test", key+"node shop http://shop.test"))
	if r := o.expect(0, "", "token", "ls", "docs"); !strings.Contains(r.out, given.ID) {
		t.Errorf("%s", r.out)
	}
	o.expect(4, "", "token", "issue", "docs")
	o.expect(0, "", "token", "revoke", "--node", "docs")
	if r := o.expect(0, "", "token", "ls", "docs"); strings.Contains(r.out, given.ID) {
		t.Errorf("%s", r.out)
	}
	o.expect(0, "", "nodes", "rm", "docs")
	for _, args := range [][]string{{"nodes", "rm", "docs"}, {"token", "ls", "docs"}, {"token", "revoke", "--node", "docs"}} {
		o.expect(4, "", args...)
	}
}
