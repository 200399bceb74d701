package redis

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/redistest"
)

func provisioned(t *testing.T, r Redis) (*Redis, error) {
	t.Helper()
	return &r, r.Provision(caddy.Context{Context: t.Context()})
}

func TestSecretsAreReplacedAndNotDumped(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TEST_REDIS_URL", "rediss://alice:hunter2@redis.internal:6380/3")
	t.Setenv("TEST_REDIS_USER", "bob")
	for name, c := range map[string]struct {
		config   Redis
		expected settings
	}{
		"all in a URL": {Redis{URLs: []string{"{env.TEST_REDIS_URL}"}}, settings{
			Addresses: []string{"redis.internal:6380"}, DB: 3, Username: "alice", Password: "hunter2", TLS: &TLS{}}},
		"a file": {Redis{URLs: []string{"redis://h"}, Username: "{env.TEST_REDIS_USER}", Password: "{file." + file + "}"}, settings{
			Addresses: []string{"h:6379"}, Username: "bob", Password: "from a file"}},
		"a socket": {Redis{URLs: []string{"unix:///run/redis.sock?db=2"}}, settings{Addresses: []string{"/run/redis.sock"}, DB: 2}},
		"a Cluster": {Redis{URLs: []string{"redis://a:1", "redis://b:2"}}, settings{
			Addresses: []string{"a:1", "b:2"}, Cluster: true}},
		"Sentinels": {Redis{URLs: []string{"{env.TEST_REDIS_URL}"}, MasterName: "main", Password: "p"}, settings{
			Addresses: []string{"redis.internal:6380"}, DB: 3, MasterName: "main", Password: "p",
			SentinelUsername: "alice", SentinelPassword: "hunter2", TLS: &TLS{}}},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := provisioned(t, c.config)
			if err != nil {
				t.Fatal(err)
			}
			c.expected.Prefix, c.expected.Timeout = "fed", 20*time.Millisecond
			if got, expected := canonical(t, r.settings), canonical(t, c.expected); got != expected {
				t.Errorf("settings are\n%s\nexpected\n%s", got, expected)
			}
			if (r.settings.tls != nil) != (c.expected.TLS != nil) {
				t.Errorf("TLS is %v", r.settings.tls)
			}
			dumped, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			for _, secret := range []string{"hunter2", "from a file", "bob"} {
				if strings.Contains(string(dumped), secret) {
					t.Errorf("the config shows %q: %s", secret, dumped)
				}
			}
		})
	}
}

func canonical(t *testing.T, s settings) string {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestMistakesAreNamedWithoutTheSecret(t *testing.T) {
	t.Setenv("TEST_REDIS_URL", "http://alice:hunter2@redis.internal")
	t.Setenv("TEST_REDIS_ONE", "redis://alice:hunter2@a")
	t.Setenv("TEST_REDIS_OTHER", "redis://alice:hunter3@b")
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		config Redis
		says   string
	}{
		"nothing":             {Redis{}, "the url is missing"},
		"a foreign scheme":    {Redis{URLs: []string{"{env.TEST_REDIS_URL}"}}, "expected redis, rediss or unix"},
		"no such variable":    {Redis{URLs: []string{"{env.TEST_REDIS_NOTHING}"}}, "url:"},
		"two credentials":     {Redis{URLs: []string{"{env.TEST_REDIS_ONE}", "{env.TEST_REDIS_OTHER}"}}, "differ"},
		"two schemes":         {Redis{URLs: []string{"redis://a", "rediss://b"}}, "differ"},
		"a Cluster's db":      {Redis{URLs: []string{"redis://a/1", "redis://b/1"}}, "no databases but 0"},
		"no such file":        {Redis{URLs: []string{"rediss://a"}, TLS: &TLS{CA: empty + ".no"}}, "tls: ca:"},
		"no certificate":      {Redis{URLs: []string{"rediss://a"}, TLS: &TLS{CA: empty}}, "holds no certificate"},
		"half of a pair":      {Redis{URLs: []string{"rediss://a"}, TLS: &TLS{Key: empty}}, "cert and key need each other"},
		"a negative time":     {Redis{URLs: []string{"redis://a"}, Timeout: -1}, "negative"},
		"a prefix of its own": {Redis{URLs: []string{"redis://a"}, Prefix: "a b"}, "braces and spaces"},
	} {
		_, err := provisioned(t, c.config)
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%s: error is %v, expected one with %q", name, err, c.says)
		}
	}
}

// TestAReloadKeepsTheConnections: the same config is the same store, another
// one is another.
func TestAReloadKeepsTheConnections(t *testing.T) {
	server := redistest.Start(t)
	opened := func(prefix string) store.Store {
		r, err := provisioned(t, Redis{URLs: []string{server.URL()}, Prefix: prefix, Timeout: caddy.Duration(unhurried)})
		if err != nil {
			t.Fatal(err)
		}
		s, err := r.Open(t.Context(), "one", zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	old := opened("a")
	changes, err := old.Nodes().Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fresh, other := opened("a"), opened("b")
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := fresh.Nodes().Put(t.Context(), store.NodeRecord{Slug: "shop"}); err != nil {
		t.Fatal(err)
	}
	if _, open := <-changes; !open {
		t.Error("the watch ended with the first of two handles")
	}
	if list, err := other.Nodes().List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("under another prefix there are %v: %v", list, err)
	}
	if err := fresh.Close(); err != nil {
		t.Fatal(err)
	}
	for range changes { // the last handle ends it
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	redistest.Eventually(t, "all connections are closed", func() bool { return server.Clients() == 0 })
}

// TestAnEmptiedServerKeepsItsIdentity: also when it was empty again too soon
// for a gate to shut.
func TestAnEmptiedServerKeepsItsIdentity(t *testing.T) {
	server := redistest.Start(t)
	s := must(t, settings{Addresses: []string{server.Addr}})
	if err := useAll(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	identity, err := s.Identity(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	// the poll must have seen a version, and then that there is none
	redistest.Eventually(t, "the version is known", func() bool {
		s.seen.mu.Lock()
		defer s.seen.mu.Unlock()
		return s.seen.last["events"] != ""
	})
	server.Do("FLUSHALL")
	redistest.Eventually(t, "the identity is put back", func() bool {
		return server.Do("GET", s.key(meta, ":identity")) == identity
	})
}
