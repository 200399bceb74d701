package redis

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/redistest"
	"github.com/caddy-federation/caddy-federation/store/storetest"
)

// must opens a store, and closes it when the test ends.
func must(t *testing.T, config settings) *Store {
	t.Helper()
	s, err := testOpen(t, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return s
}

// TestConformanceOnACluster runs the suite on a Cluster of one process, which
// refuses a script whose keys are in two slots as one of six does.
func TestConformanceOnACluster(t *testing.T) {
	server := redistest.StartWithClock(t, "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf")
	server.Do("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	redistest.Eventually(t, "the Cluster is up", func() bool {
		return strings.Contains(server.Do("CLUSTER", "INFO"), "cluster_state:ok")
	})
	last := settings{Addresses: []string{server.Addr}, Cluster: true}
	openLast := func(t *testing.T) store.Store {
		s, err := testOpen(t, last)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	storetest.Run(t, storetest.Backend{
		Open: func(t *testing.T) store.Store {
			server.Do("FLUSHALL")
			return openLast(t)
		},
		Reopen: openLast, Advance: server.Advance, Shared: true,
	})
}

// useAll uses every section once.
func useAll(ctx context.Context, s store.Store) error {
	now, err := s.Now(ctx)
	if err != nil {
		return err
	}
	end := now.Add(time.Hour)
	steps := map[string]func() error{
		"nodes": func() error { // as gateways do, who put back what an empty server lost
			err := s.Nodes().Restore(ctx, map[string]int64{"shop": 1}, nil)
			if err != nil && !errors.Is(err, store.ErrExists) {
				return err
			}
			_, err = s.Nodes().AssignIDs(ctx, []string{"shop"})
			return err
		},
		"tokens": func() error {
			return s.Tokens().Revoke(ctx, store.Revocation{Subject: "jti:1", At: now, Until: end})
		},
		"limits": func() error {
			_, _, err := s.Limits().Take(ctx, []store.LimitPolicy{
				{Key: "a", Emission: time.Second, Burst: 1000, Cost: 1}, {Key: "b", Emission: time.Second, Burst: 1000, Cost: 1},
			})
			return err
		},
		"breakers": func() error { return s.Breakers().Delete(ctx, "shop") },
		"cache": func() error {
			return s.Cache().Put(ctx, store.CacheEntry{Key: "k", Value: []byte("v"), Tags: []string{"node:shop"}}, time.Minute)
		},
		"journal": func() error {
			_, err := s.Journal().List(ctx, "", "", 10)
			return err
		},
		"requests": func() error {
			return s.Requests().Append(ctx, []store.RequestRecord{{Node: "a", Time: now}, {Node: "b", Time: now}})
		},
		"leases": func() error {
			_, err := s.Leases().Acquire(ctx, "prober", "me", time.Minute)
			return err
		},
		"events": func() error {
			_, err := s.Events().Append(ctx, store.Event{Kind: "node_up"})
			return err
		},
		"members": func() error {
			_, _, err := s.Members().Beat(ctx, store.Member{ID: "me"}, time.Minute)
			return err
		},
		"alerts": func() error {
			state, err := s.Alerts().State(ctx)
			if err != nil {
				return err
			}
			if _, _, err = s.Alerts().Commit(ctx, state, []store.Delivery{{Webhook: "w", Key: "k", Body: []byte("b")}}); err != nil {
				return err
			}
			d, err := s.Alerts().Claim(ctx, "w", time.Minute)
			if err != nil {
				return err
			}
			return s.Alerts().Finish(ctx, d)
		},
	}
	for name, step := range steps {
		if err := step(); err != nil {
			return errors.Join(errors.New(name), err)
		}
	}
	return nil
}

// recovers expects that every section can be used within 2s of the server's return.
func recovers(t *testing.T, s *Store, since time.Time) {
	t.Helper()
	var last error
	redistest.Eventually(t, "the store can be used again", func() bool {
		last = useAll(t.Context(), s)
		return last == nil
	})
	if took := time.Since(since); took > 2*time.Second {
		t.Errorf("the store could be used %v after its server, expected within 2s", took)
	} else {
		t.Logf("recovered after %v", took)
	}
}

func TestACluster(t *testing.T) {
	cluster := redistest.StartCluster(t)
	var addresses []string
	for _, server := range cluster.Servers {
		addresses = append(addresses, server.Addr)
	}
	s := must(t, settings{Addresses: addresses, Cluster: true, Timeout: time.Second})
	if err := useAll(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	held := make(map[*redistest.Server]bool)
	for _, part := range sections {
		held[cluster.MasterOf(s.key(part, ""))] = true
	}
	if len(held) < 2 {
		t.Errorf("all sections are on %d server", len(held))
	}
	// a change is heard on whatever server it is published
	changes, err := s.Nodes().Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	other := must(t, settings{Addresses: addresses[5:], Cluster: true, Timeout: time.Second})
	if _, err := other.Nodes().Put(t.Context(), store.NodeRecord{Slug: "shop"}); err != nil {
		t.Fatal(err)
	}
	<-changes

	master := cluster.MasterOf(s.key(limitsAt, ""))
	master.Kill()
	redistest.Eventually(t, "a replica has taken over", func() bool {
		now := cluster.MasterOf(s.key(limitsAt, ""))
		return now != nil && now != master && strings.Contains(others(cluster, master).Do("CLUSTER", "INFO"), "cluster_state:ok")
	})
	recovers(t, s, time.Now())
}

// others is a server that is another.
func others(cluster *redistest.Cluster, not *redistest.Server) *redistest.Server {
	if cluster.Servers[0] != not {
		return cluster.Servers[0]
	}
	return cluster.Servers[1]
}

func TestSentinels(t *testing.T) {
	fleet := redistest.StartSentinels(t)
	var addresses []string
	for _, url := range fleet.URLs() {
		addresses = append(addresses, strings.TrimPrefix(url, "redis://"))
	}
	s := must(t, settings{Addresses: addresses, MasterName: fleet.Name, Timeout: time.Second})
	if err := useAll(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	fleet.Servers[0].Kill()
	redistest.Eventually(t, "the replica is the master", func() bool {
		return fleet.Master() == fleet.Servers[1] && strings.Contains(fleet.Servers[1].Do("INFO", "replication"), "role:master")
	})
	recovers(t, s, time.Now())
}

func TestAServerThatCannotBeTheStoreIsRefused(t *testing.T) {
	master := redistest.Start(t, "--requirepass", "hunter2")
	open := redistest.Start(t)
	host, port, _ := strings.Cut(open.Addr, ":")
	replica := redistest.Start(t, "--replicaof", host, port)
	fleet := redistest.StartSentinels(t)
	node := redistest.Start(t, "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf")
	newer := redistest.Start(t)
	newer.Do("SET", "{fed:"+t.Name()+":meta}:format", "2")
	limited := redistest.Start(t)
	limited.Do("ACL", "SETUSER", "fleet", "on", ">secret", "+@all", "-evalsha", "-eval", "~*", "&*")
	sentinel := strings.TrimPrefix(fleet.URLs()[0], "redis://")
	for name, c := range map[string]struct {
		config settings
		says   string
	}{
		"no password":         {settings{Addresses: []string{master.Addr}}, "wants a password"},
		"wrong password":      {settings{Addresses: []string{master.Addr}, Password: "hunter3"}, "refuses the credentials"},
		"replica":             {settings{Addresses: []string{replica.Addr}}, "read-only replica"},
		"Sentinel":            {settings{Addresses: []string{sentinel}}, "set master_name"},
		"no Sentinel":         {settings{Addresses: []string{open.Addr}, MasterName: "main"}, "the server is no Sentinel"},
		"Cluster":             {settings{Addresses: []string{node.Addr}}, "node of a Cluster"},
		"no Cluster":          {settings{Addresses: []string{open.Addr}, Cluster: true}, "not a node of a Cluster"},
		"newer format":        {settings{Addresses: []string{newer.Addr}}, "damaged or foreign"},
		"no such database":    {settings{Addresses: []string{open.Addr}, DB: 99}, "has no database 99"},
		"missing permissions": {settings{Addresses: []string{limited.Addr}, Username: "fleet", Password: "secret"}, "lacks a permission"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := open2(t, c.config)
			if err == nil {
				_ = s.Close()
				t.Fatal("it was taken")
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("error is %q, expected one with %q", err, c.says)
			}
			tellsNothing(t, err)
		})
	}
}

// open2 opens a store for the federation that the parent test named.
func open2(t *testing.T, config settings) (*Store, error) {
	parent, _, _ := strings.Cut(t.Name(), "/")
	config.Prefix, config.Timeout = defaultPrefix, unhurried
	return openNamed(t, config, parent)
}

// tellsNothing expects an error without an address or a secret.
func tellsNothing(t *testing.T, err error) {
	t.Helper()
	for _, secret := range []string{"127.0.0.1", "hunter", "secret", "dial"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error tells of %q: %v", secret, err)
		}
	}
}

func TestOnlyNewEnoughServersAreTaken(t *testing.T) {
	for version, taken := range map[string]bool{
		"6.2.0": true, "6.2": true, "7.0.15": true, "8.2.1": true, "10.0.0": true, "6.0.16": false, "5.0.14": false, "": false, "x.y": false,
	} {
		if newEnough(version) != taken {
			t.Errorf("%q: taken is %v", version, !taken)
		}
	}
	s := &Store{settings: settings{}}
	if err := s.suits([]any{"server", "valkey", "version", "8.1.0", "mode", "standalone", "role", "master"}); err != nil {
		t.Errorf("Valkey: %v", err)
	}
	err := s.suits([]any{"server", "redis", "version", "6.0.16", "mode", "standalone", "role", "master"})
	if err == nil || !strings.Contains(err.Error(), "Redis 6.0.16, expected 6.2 or newer") {
		t.Errorf("Redis 6.0.16: %v", err)
	}
}
