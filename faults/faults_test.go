package faults

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/store/redistest"
)

// fault breaks the servers, and mends them.
type fault struct {
	begin func()
	// end returns when the servers can be used again.
	end func()
	// says is why the store cannot be used meanwhile, in words; empty where it
	// goes on, or comes back too soon to be noticed every time.
	says string
}

// slowly is what is said of a server that is not heard of.
const slowly = "did not answer in time"

// scene are servers, and what can happen to them.
type scene struct {
	store   string // as the store's directive names them
	servers []*redistest.Server
	faults  map[string]fault
}

// suffer runs faults of a scene, which is built anew for each, and looks for
// goroutines that are left when all is over.
func suffer(t *testing.T, build func(t *testing.T) scene, names ...string) {
	for _, name := range names {
		before := goleak.IgnoreCurrent()
		t.Run(name, func(t *testing.T) {
			s := build(t)
			f, ok := s.faults[name]
			if !ok {
				t.Fatalf("there is no fault %q", name)
			}
			s.run(t, f)
		})
		if err := leaks(before); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// run serves a load while the fault lasts, and after it.
func (s scene) run(t *testing.T, f fault) {
	t.Helper()
	quiet := s.connections()
	g := startGateway(t, s.store)
	defer g.stop()
	guest := &node{name: "guest", url: startNode(t)}
	eventually(t, "a node can register", func() bool {
		status, err := g.enroll(guest)
		return err == nil && status == http.StatusCreated
	})
	l := g.startLoad(guest)
	l.each(20)
	busy := s.connections()

	f.begin()
	if f.says != "" {
		eventually(t, "the loss is noticed", func() bool { return !g.app().StoreState().Usable })
		if says := g.app().StoreState().Error; !strings.Contains(says, f.says) || strings.Contains(says, "127.0.0.1") {
			t.Errorf("the loss is told as %q, expected %q", says, f.says)
		}
	}
	l.each(50)
	f.end()
	returned := time.Now()
	newcomers, last := 0, ""
	eventually(t, "everything works again", func() bool {
		newcomers++
		n := &node{name: fmt.Sprint("newcomer ", newcomers), url: fmt.Sprint("http://127.0.0.1:", 1000+newcomers)}
		status, err := g.enroll(n)
		if now := fmt.Sprintf("a newcomer gets status %d, %v; limits are lost: %v", status, err, fleet.Limiters()["faults"].Lost()); now != last {
			last = now
			t.Logf("after %v %s", time.Since(returned), now)
		}
		return err == nil && status == http.StatusCreated && !fleet.Limiters()["faults"].Lost()
	})
	within := 2 * time.Second
	if raced {
		within *= 5
	}
	if took := time.Since(returned); took > within {
		t.Errorf("everything worked again %v after the servers, expected within %v", took, within)
	} else {
		t.Logf("everything worked again after %v", took)
	}
	eventually(t, "it is said that the store can be used", func() bool { return g.app().StoreState().Usable })
	l.each(20)
	l.end()
	// one of the pool more or less, and what listens
	eventually(t, "there are not more connections than before", func() bool { return s.connections() <= max(busy, quiet+s.most()) })
	g.stop()
	eventually(t, "all connections are closed", func() bool { return s.connections() <= quiet })
}

// connections are those of clients to all servers.
func (s scene) connections() (n int) {
	for _, server := range s.servers {
		if server.Running() {
			n += server.Clients()
		}
	}
	return n
}

// most is how many connections the client library's pools may have: ten for
// each processor and server, and what listens.
func (s scene) most() int { return len(s.servers) * 21 * 2 }

// one is a server, with a proxy before it.
func one(t *testing.T) scene {
	server := redistest.Start(t)
	p := startProxy(t, server.Addr)
	during := func(toxics []toxic, says string) fault {
		return fault{func() { p.poison(toxics...) }, p.heal, says}
	}
	return scene{p.url(), []*redistest.Server{server}, map[string]fault{
		"killed and restarted empty": {server.Kill, server.Restart, "redis "},
		"restarted empty at once":    {func() { server.Kill(); server.Restart() }, func() {}, ""},
		"emptied":                    {func() { server.Do("FLUSHALL") }, func() {}, ""},
		"hung":                       {server.Hang, server.Continue, slowly},
		"read-only": {
			func() { server.Do("REPLICAOF", "127.0.0.1", "1") },
			func() { server.Do("REPLICAOF", "NO", "ONE") }, "read-only replica"},
		"out of memory": {
			func() { server.Do("CONFIG", "SET", "maxmemory", "1") },
			func() { server.Do("CONFIG", "SET", "maxmemory", "0") }, "redis has used its maxmemory"},
		"latency":                    during(slow, slowly),
		"a little latency":           during(uneven, ""),
		"reset":                      during(reset, "closed the connection"),
		"half-open":                  during(halfOpen, slowly),
		"half-open for answers":      during(deaf, slowly),
		"cut in an answer":           during(cut, ""),
		"closed late":                during(lingering, ""),
		"a kilobyte a second":        during(narrow, ""),
		"answers in pieces":          during(crumbs, ""),
		"nobody listens at its door": {p.Stop, p.restart, "refuses the connection"},
	}}
}

func TestOneRedis(t *testing.T) {
	suffer(t, one, "killed and restarted empty", "restarted empty at once", "emptied", "hung", "read-only", "out of memory",
		"latency", "a little latency", "reset", "half-open", "half-open for answers", "cut in an answer", "closed late",
		"a kilobyte a second", "answers in pieces", "nobody listens at its door")
}

// watched is a master with a replica, and three Sentinels.
func watched(t *testing.T) scene {
	f := redistest.StartSentinels(t)
	master, replica := f.Servers[0], f.Servers[1]
	taken := func() {
		redistest.Eventually(t, "the replica is the master", func() bool {
			return f.Master() == replica && strings.Contains(replica.Do("INFO", "replication"), "role:master")
		})
	}
	set := func(name, value string) func() {
		return func() {
			for _, s := range f.Servers {
				s.Do("CONFIG", "SET", name, value)
			}
		}
	}
	return scene{strings.Join(f.URLs(), " ") + " {\n master_name " + f.Name + "\n}", f.Servers, map[string]fault{
		"master killed":           {master.Kill, taken, ""},
		"master hung":             {master.Hang, func() { taken(); master.Continue() }, ""},
		"failed over":             {f.Failover, taken, ""},
		"restarted empty at once": {func() { master.Kill(); master.Restart() }, func() {}, ""},
		"no replica to write to":  {set("min-replicas-to-write", "5"), set("min-replicas-to-write", "0"), "too few replicas"},
		"out of memory":           {set("maxmemory", "1"), set("maxmemory", "0"), "redis has used its maxmemory"},
	}}
}

func TestSentinels(t *testing.T) {
	suffer(t, watched, "master killed", "master hung", "failed over", "restarted empty at once", "no replica to write to", "out of memory")
}

// clustered is a Cluster of three masters with a replica each. What happens,
// happens to the master that has the tokens.
func clustered(t *testing.T) scene {
	c := redistest.StartCluster(t)
	const key = "{fed:faults:tokens}"
	master := c.MasterOf(key)
	taken := func() {
		redistest.Eventually(t, "a replica is the master", func() bool {
			now := c.MasterOf(key)
			return now != nil && now != master && c.Whole()
		})
	}
	set := func(name, value string) func() {
		return func() {
			for _, s := range c.Servers {
				s.Do("CONFIG", "SET", name, value)
			}
		}
	}
	return scene{strings.Join(c.URLs(), " "), c.Servers, map[string]fault{
		"master killed":           {master.Kill, taken, "redis"},
		"master hung":             {master.Hang, func() { taken(); master.Continue() }, slowly},
		"failed over":             {func() { c.Failover(master) }, taken, ""},
		"restarted empty at once": {func() { master.Kill(); master.Restart() }, func() {}, ""},
		"no replica to write to":  {set("min-replicas-to-write", "5"), set("min-replicas-to-write", "0"), "too few replicas"},
		"out of memory":           {set("maxmemory", "1"), set("maxmemory", "0"), "redis has used its maxmemory"},
	}}
}

func TestACluster(t *testing.T) {
	suffer(t, clustered, "master killed", "master hung", "failed over", "restarted empty at once", "no replica to write to", "out of memory")
}
