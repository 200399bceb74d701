package fleet

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/caddy-federation/caddy-federation/modules/fleet/token"
)

// pemFile writes a new Ed25519 key and returns it with its file.
func pemFile(t *testing.T, id string) (*token.Key, string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	file := filepath.Join(t.TempDir(), id+".pem")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := token.NewPEM(id, token.EdDSA, text)
	if err != nil {
		t.Fatal(err)
	}
	return key, file
}

// published serves the public parts of keys as somebody else would.
type published struct {
	*httptest.Server
	asked  atomic.Int64
	answer atomic.Pointer[func(http.ResponseWriter)]
}

func publish(t *testing.T) *published {
	p := new(published)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p.asked.Add(1)
		(*p.answer.Load())(w)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *published) answers(answer func(http.ResponseWriter)) { p.answer.Store(&answer) }

func (p *published) keys(t *testing.T, keys ...*token.Key) {
	set, err := token.NewKeySet(keys...)
	if err != nil {
		t.Fatal(err)
	}
	document, err := set.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	p.answers(func(w http.ResponseWriter) { _, _ = w.Write(document) })
}

func signedBy(t *testing.T, key *token.Key, issuer string) string {
	t.Helper()
	now := time.Now()
	raw, err := key.Sign(jwt.MapClaims{
		"iss": issuer, "sub": "shop", "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "jti": token.ID(), "type": "child", "capabilities": []string{"search"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestRemoteKeys: keys that others publish verify, with their issuer only, and
// outlive a reload and the loss of who publishes them.
func TestRemoteKeys(t *testing.T) {
	server := publish(t)
	first, _ := pemFile(t, "theirs")
	server.keys(t, first)
	block := "jwks " + server.URL + " https://idp.example\nnode shop http://127.0.0.1:1\n"
	if _, err := loadShared(t.Name()); err != nil { // as the next config holds it before this one ends
		t.Fatal(err)
	}
	defer func() { _, _ = pool.Delete(t.Name()) }()
	f := run(t, block)
	raw := signedBy(t, first, "https://idp.example")
	f.eventually(func() bool { return f.app.authority.keys.Load().Key("theirs") != nil })
	f.authenticates(raw, "shop")
	f.refuses(signedBy(t, first, "caddy-federation"), "wrong_iss")
	if strings.Contains(string(f.app.JWKS()), "theirs") {
		t.Error("we publish the keys of others")
	}
	server.answers(func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) })
	if err := f.reload(block, nil); err != nil {
		t.Fatal(err)
	}
	f.authenticates(raw, "shop") // at once, before anything is read
	asked := server.asked.Load()
	f.eventually(func() bool { return server.asked.Load() > asked }) // and it is tried again
	f.authenticates(raw, "shop")

	second, _ := pemFile(t, "next")
	server.keys(t, second)
	f.eventually(func() bool { return f.app.authority.keys.Load().Key("next") != nil })
	f.refuses(raw, "unknown_kid") // retired
	f.authenticates(signedBy(t, second, "https://idp.example"), "shop")
}

// TestRemoteKeysAreOursFirst: nobody replaces a key of the config.
func TestRemoteKeysAreOursFirst(t *testing.T) {
	server := publish(t)
	ours, file := pemFile(t, "main")
	theirs, _ := pemFile(t, "main")
	more, _ := pemFile(t, "more")
	server.keys(t, theirs)
	f := run(t, "key main eddsa "+file+"\njwks "+server.URL+"\nnode shop http://127.0.0.1:1\n")
	f.eventually(func() bool { return server.asked.Load() > 0 && f.said.FilterMessage("keys were read").Len() > 0 })
	f.authenticates(signedBy(t, ours, "caddy-federation"), "shop")
	f.refuses(signedBy(t, theirs, "caddy-federation"), "bad_signature")
	f.refuses(signedBy(t, more, "caddy-federation"), "unknown_kid")
	if !strings.Contains(string(f.app.JWKS()), `"kid":"main"`) || strings.Contains(string(f.app.JWKS()), `"d"`) {
		t.Errorf("we publish %s", f.app.JWKS())
	}
}

// TestBadRemoteKeys: what cannot be read changes nothing.
func TestBadRemoteKeys(t *testing.T) {
	server := publish(t)
	key, _ := pemFile(t, "theirs")
	for name, answer := range map[string]func(http.ResponseWriter){
		"redirect": func(w http.ResponseWriter) {
			w.Header().Set("Location", server.URL)
			w.WriteHeader(http.StatusFound)
		},
		"too large":   func(w http.ResponseWriter) { _, _ = w.Write(make([]byte, maxJWKSSize+1)) },
		"html":        func(w http.ResponseWriter) { _, _ = w.Write([]byte("<html>")) },
		"no key":      func(w http.ResponseWriter) { _, _ = w.Write([]byte(`{"keys":[]}`)) },
		"not allowed": func(w http.ResponseWriter) { w.WriteHeader(http.StatusForbidden) },
	} {
		server.answers(answer)
		before := server.asked.Load()
		if keys, _, err := readJWKS(t.Context(), JWKSConfig{URL: server.URL}); err == nil {
			t.Errorf("%s: %d keys", name, len(keys))
		}
		if server.asked.Load() != before+1 {
			t.Errorf("%s: asked %d times", name, server.asked.Load()-before)
		}
	}
	server.keys(t, key)
	if keys, fresh, err := readJWKS(t.Context(), JWKSConfig{URL: server.URL}); err != nil || len(keys) != 1 || fresh != time.Hour {
		t.Errorf("%d keys, fresh for %v, %v", len(keys), fresh, err)
	}
	for value, expected := range map[string]time.Duration{
		"": time.Hour, "no-store": time.Hour, "public, max-age=600": 10 * time.Minute, "max-age=0": time.Minute, "Max-Age=9999999": 24 * time.Hour,
		"max-age=soon": time.Hour, "s-maxage=5": time.Hour,
	} {
		if got := freshness(http.Header{"Cache-Control": {value}}); got != expected {
			t.Errorf("%q: %v", value, got)
		}
	}
}

// TestUnknownKeyReadsAgain: a token of an unknown key makes the document be
// read again, at most every 30 seconds, and never waits for it.
func TestUnknownKeyReadsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &App{Name: t.Name(), RemoteKeys: []JWKSConfig{{URL: "http://127.0.0.1:1/keys"}}, shared: &shared{}, logger: root().Logger()}
		if err := a.loadKeys(); err != nil {
			t.Fatal(err)
		}
		auth, err := newAuthority(a)
		if err != nil {
			t.Fatal(err)
		}
		wake := auth.remote.wakes[0]
		start := time.Now()
		var reads []time.Duration
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			auth.loop(ctx, wake, func() (time.Duration, error) {
				reads = append(reads, time.Since(start))
				return time.Hour, nil
			})
		}()
		for range 200 { // an unknown kid every second
			auth.remote.missed()
			auth.remote.missed()
			time.Sleep(time.Second)
		}
		cancel()
		<-done
		if fmt.Sprint(reads) != "[0s 30s 1m0s 1m30s 2m0s 2m30s 3m0s]" {
			t.Errorf("read after %v", reads)
		}
	})
}
