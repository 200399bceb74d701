package fleet

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestEqualURLsAreOnePlace: RFC 3986, sections 6.2.2 and 6.2.3, and nothing beyond.
func TestEqualURLsAreOnePlace(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"http://h:80/x", "http://h/x", true},
		{"https://h:443", "https://h", true},
		{"https://h:0443", "https://h", true},
		{"http://h:08080", "http://h:8080", true},
		{"http://h", "http://h/", true},
		{"http://h/x", "http://h/x/", true}, // a node's own paths follow either
		{"HTTP://H.Example/x", "http://h.example/x", true},
		{"http://h/%7Ex%2d%41", "http://h/~x-A", true},
		{"http://h/a%2fb", "http://h/a%2Fb", true},
		{"http://h/%c3%bc", "http://h/\u00fc", true},
		{"http://h/a b", "http://h/a%20b", true},
		{"http://[2001:DB8:0::1]:80", "http://[2001:db8::1]", true},
		{"http://[::1]:8080", "http://[0:0::1]:8080", true},

		{"http://h/a%2Fb", "http://h/a/b", false},
		{"http://h/a%2F", "http://h/a", false},
		{"http://h/a%21", "http://h/a!", false},
		{"http://h/a%25", "http://h/a%2525", false},
		{"http://h/X", "http://h/x", false},
		{"http://h", "https://h", false},
		{"http://h:443", "http://h", false},
		{"http://h:80", "https://h", false},
		{"http://h:81", "http://h", false},
		{"http://h:8080", "http://h:8081", false},
		{"http://h", "http://h.", false},
		{"http://h/?a", "http://h/", false}, // a query is refused
		{"http://h/b/../a", "http://h/a", false},
		{"http://h/%2e%2e/a", "http://h/a", false},
		{"nowhere", "nowhere", false},
	} {
		if sameURL(c.a, c.b) != c.same || sameURL(c.b, c.a) != c.same {
			t.Errorf("%s and %s: expected same %v", c.a, c.b, c.same)
		}
		if (NormalizeURL(c.a) == NormalizeURL(c.b)) != (c.same || c.a == c.b) {
			t.Errorf("%s is %s, %s is %s", c.a, NormalizeURL(c.a), c.b, NormalizeURL(c.b))
		}
		if again := NormalizeURL(NormalizeURL(c.a)); again != NormalizeURL(c.a) {
			t.Errorf("%s is %s, and that is %s", c.a, NormalizeURL(c.a), again)
		}
	}
}

// TestANodeIsCalledWhereItsURLSays: what is escaped on purpose stays so.
func TestANodeIsCalledWhereItsURLSays(t *testing.T) {
	asked := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case asked <- r.RequestURI:
		default:
		}
	}))
	defer server.Close()
	f := run(t, "node odd "+server.URL+"/%7Ea%2Fb%2F/ {\ndialect laravel\n}")
	f.app.Ping(t.Context(), f.node("odd"))
	if got := <-asked; got[:min(len(got), 11)] != "/~a%2Fb%2F/" {
		t.Errorf("the node was asked for %s", got)
	}
}

// TestANodeKeepsItsPlaceInAnotherSpelling: one that an operator placed may say
// its URL otherwise, and loses no credentials by it.
func TestANodeKeepsItsPlaceInAnotherSpelling(t *testing.T) {
	f := run(t, openEnrollment+"\n"+twoNodes)
	node, err := f.app.AddNode(t.Context(), NodeConfig{Slug: "mill", URL: "http://127.0.0.1:80/~x",
		Credentials: &CredentialsConfig{Type: "bearer", Value: "a-secret-of-the-mill"}})
	if err != nil {
		t.Fatal(err)
	}
	change := map[string]json.RawMessage{"url": json.RawMessage(`"http://127.0.0.1/%7Ex/"`)}
	updated, err := f.app.UpdateNode(t.Context(), node.Slug, change, ByNode)
	if err != nil {
		t.Fatalf("its own place in another spelling: %v", err)
	}
	if _, kept := updated.credential.(tokenCredential); !kept || updated.ID != node.ID {
		t.Errorf("it is %d with %T", updated.ID, updated.credential)
	}
}
