package redis

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/redistest"
	"github.com/caddy-federation/caddy-federation/store/storetest"
)

// conforms runs the suite on a server, through the module as Caddy loads it.
func conforms(t *testing.T, server *redistest.Server, config Redis) {
	t.Helper()
	open := func(t *testing.T) store.Store {
		t.Helper()
		s, err := opened(t, config)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	storetest.Run(t, storetest.Backend{
		Open: func(t *testing.T) store.Store {
			server.Do("FLUSHALL")
			return open(t)
		},
		Reopen: open, Advance: server.Advance, Shared: true,
	})
}

// opened opens the module's store for a federation of the test's name.
func opened(t *testing.T, config Redis) (store.Store, error) {
	t.Helper()
	config.Timeout = caddy.Duration(unhurried)
	r, err := provisioned(t, config)
	if err != nil {
		t.Fatal(err)
	}
	return r.Open(t.Context(), t.Name(), zap.NewNop())
}

// documentedPermissions are those that docs/stores.md asks for.
var documentedPermissions = strings.Fields("resetchannels ~{fed:* &fed:* +@read +@write +@scripting +@connection +subscribe +unsubscribe +publish +time")

// TestConformanceOverEveryWayToAServer runs the suite over every kind of
// connection, each with the only credentials that the server takes over it.
func TestConformanceOverEveryWayToAServer(t *testing.T) {
	authority := redistest.NewAuthority(t)
	clientCert, clientKey := authority.Issue("gateway")
	t.Run("TLS", func(t *testing.T) {
		port, options := authority.TLS("127.0.0.1", "no")
		conforms(t, redistest.StartWithClock(t, options...), Redis{
			URLs: []string{fmt.Sprintf("rediss://127.0.0.1:%d", port)}, TLS: &TLS{CA: authority.File}})
	})
	t.Run("TLS with a server name", func(t *testing.T) {
		port, options := authority.TLS("redis.internal", "no")
		conforms(t, redistest.StartWithClock(t, options...), Redis{
			URLs: []string{fmt.Sprintf("rediss://127.0.0.1:%d", port)}, TLS: &TLS{CA: authority.File, ServerName: "redis.internal"}})
	})
	t.Run("TLS with a client certificate", func(t *testing.T) {
		port, options := authority.TLS("127.0.0.1", "yes")
		conforms(t, redistest.StartWithClock(t, options...), Redis{
			URLs: []string{fmt.Sprintf("rediss://127.0.0.1:%d", port)},
			TLS:  &TLS{CA: authority.File, Certificate: clientCert, Key: clientKey}})
	})
	t.Run("unix socket", func(t *testing.T) {
		socket := filepath.Join(t.TempDir(), "s")
		conforms(t, redistest.StartWithClock(t, "--unixsocket", socket), Redis{URLs: []string{"unix://" + socket}})
	})
	t.Run("unix socket and another database", func(t *testing.T) {
		socket := filepath.Join(t.TempDir(), "s")
		conforms(t, redistest.StartWithClock(t, "--unixsocket", socket), Redis{URLs: []string{"unix://" + socket + "?db=3"}})
	})
	t.Run("password", func(t *testing.T) {
		// the default user is the one that sets the others up: it may log in and no more
		server := redistest.StartWithClock(t)
		server.Do("ACL", "SETUSER", "tester", "on", ">tester", "+@all", "~*", "&*")
		server.As("tester", "tester")
		server.Do("CONFIG", "SET", "requirepass", "hunter2")
		t.Setenv("TEST_REDIS_PASSWORD", "hunter2")
		conforms(t, server, Redis{URLs: []string{server.URL()}, Password: "{env.TEST_REDIS_PASSWORD}"})
	})
	t.Run("user with the least rights", func(t *testing.T) {
		server := redistest.StartWithClock(t)
		server.Do("ACL", "SETUSER", "tester", "on", ">tester", "+@all", "~*", "&*")
		server.Do(append([]string{"ACL", "SETUSER", "fleet", "on", ">secret"}, documentedPermissions...)...)
		server.As("tester", "tester")
		server.Do("ACL", "SETUSER", "default", "off")
		t.Setenv("TEST_REDIS_URL", "redis://fleet:secret@"+server.Addr)
		conforms(t, server, Redis{URLs: []string{"{env.TEST_REDIS_URL}"}})
	})
}

// TestTLSIsChecked: a server that cannot be known for what it is, or that does
// not know the gateway, is not used, and the reason is told in words.
func TestTLSIsChecked(t *testing.T) {
	authority, stranger := redistest.NewAuthority(t), redistest.NewAuthority(t)
	cert, key := stranger.Issue("gateway")
	port, options := authority.TLS("redis.internal", "no")
	strict, strictOptions := authority.TLS("127.0.0.1", "yes")
	redistest.Start(t, options...)
	redistest.Start(t, strictOptions...)
	plain := redistest.Start(t)
	at := func(port int) []string { return []string{fmt.Sprintf("rediss://127.0.0.1:%d", port)} }
	for name, c := range map[string]struct {
		config Redis
		says   string // one of these, with | between
	}{
		"an authority that is not trusted":     {Redis{URLs: at(port), TLS: &TLS{ServerName: "redis.internal"}}, "of an unknown authority, tls ca"},
		"another authority":                    {Redis{URLs: at(port), TLS: &TLS{CA: stranger.File, ServerName: "redis.internal"}}, "of an unknown authority, tls ca"},
		"a certificate of another name":        {Redis{URLs: at(port), TLS: &TLS{CA: authority.File}}, "for another name, tls server_name"},
		"another server name":                  {Redis{URLs: at(port), TLS: &TLS{CA: authority.File, ServerName: "redis.external"}}, "for another name, tls server_name"},
		"no client certificate":                {Redis{URLs: at(strict), TLS: &TLS{CA: authority.File}}, "TLS|closed the connection"},
		"a client certificate of somebody":     {Redis{URLs: at(strict), TLS: &TLS{CA: authority.File, Certificate: cert, Key: key}}, "TLS|closed the connection"},
		"a server that does not speak TLS":     {Redis{URLs: []string{"rediss://" + plain.Addr}, TLS: &TLS{CA: authority.File}}, "redis does not speak TLS there"},
		"no TLS at a port for it":              {Redis{URLs: []string{fmt.Sprintf("redis://127.0.0.1:%d", port)}}, "redis speaks TLS there"},
		"no such socket":                       {Redis{URLs: []string{"unix:///nowhere/s"}}, "the unix socket of redis does not exist"},
		"nor at a strict one":                  {Redis{URLs: []string{fmt.Sprintf("redis://127.0.0.1:%d", strict)}}, "redis speaks TLS there"},
		"TLS at a port where nobody speaks it": {Redis{URLs: []string{plain.URL()}, TLS: &TLS{CA: authority.File}}, "redis does not speak TLS there"},
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			s, err := opened(t, c.config)
			if err != nil { // it may be another one tomorrow: the store opens without its server
				t.Fatal(err)
			}
			defer func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}()
			for _, after := range []time.Duration{0, 4 * shutFor} { // the keeper tries again, and says the same
				pause(t.Context(), after)
				err = s.Ping(t.Context())
				if !errors.Is(err, store.ErrUnavailable) || !regexp.MustCompile(c.says).MatchString(err.Error()) {
					t.Errorf("error is %v, expected one with %q", err, c.says)
				}
			}
			tellsNothing(t, err)
			t.Logf("%v after %v", err, time.Since(begin))
		})
	}
}
