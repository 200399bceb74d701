package redistest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
)

// Sentinels are three Sentinels that look after a master and its replica.
type Sentinels struct {
	// Name is the master's.
	Name string
	// Servers are the master first, at the start, and its replica.
	Servers []*Server

	t         testing.TB
	sentinels []*Server
}

// StartSentinels starts a master, a replica and three Sentinels, which fail
// over after the master has been silent for half a second.
func StartSentinels(t testing.TB) *Sentinels {
	t.Helper()
	f := &Sentinels{Name: "fleet", t: t}
	master := Start(t)
	host, port, _ := net.SplitHostPort(master.Addr)
	f.Servers = []*Server{master, Start(t, "--replicaof", host, port)}
	for range 3 {
		config := filepath.Join(t.TempDir(), "sentinel.conf")
		text := fmt.Sprintf("sentinel monitor %[1]s %[2]s %[3]s 2\nsentinel down-after-milliseconds %[1]s 500\n"+
			"sentinel failover-timeout %[1]s 3000\n", f.Name, host, port)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		f.sentinels = append(f.sentinels, startSentinel(t, config))
	}
	Eventually(t, "the Sentinels know the replica and each other", func() bool {
		for _, s := range f.sentinels {
			about, err := s.try("SENTINEL", "MASTER", f.Name)
			if err != nil || !strings.Contains(about, "num-slaves 1 num-other-sentinels 2") {
				return false
			}
		}
		return strings.Contains(f.Servers[1].Do("INFO", "replication"), "master_link_status:up")
	})
	return f
}

func startSentinel(t testing.TB, config string) *Server {
	t.Helper()
	port := loopback.FreePort(t)
	s := &Server{
		Addr: fmt.Sprint("127.0.0.1:", port), t: t, path: Installed.path(t), output: new(output),
		args: []string{config, "--sentinel", "--port", fmt.Sprint(port), "--bind", "127.0.0.1", "--dir", t.TempDir()},
	}
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			t.Logf("sentinel %s said:\n%s", s.Addr, s.output)
		}
	})
	s.launch()
	return s
}

// URLs are the Sentinels' addresses as the store reads them.
func (f *Sentinels) URLs() (urls []string) {
	for _, s := range f.sentinels {
		urls = append(urls, s.URL())
	}
	return urls
}

// Failover makes the replica the master, as an operator does.
func (f *Sentinels) Failover() { f.sentinels[0].Do("SENTINEL", "FAILOVER", f.Name) }

// Master is the server that the Sentinels hold for the master now, nil when
// they do not agree.
func (f *Sentinels) Master() *Server {
	var address string
	for _, s := range f.sentinels {
		reply, err := s.try("SENTINEL", "GET-MASTER-ADDR-BY-NAME", f.Name)
		said := strings.ReplaceAll(reply, " ", ":")
		if err != nil || address != "" && said != address {
			return nil
		}
		address = said
	}
	for _, s := range f.Servers {
		if s.Addr == address {
			return s
		}
	}
	return nil
}

// Cluster is a Redis Cluster of three masters with a replica each.
type Cluster struct {
	Servers []*Server
}

// StartCluster starts a Cluster, which fails over after a master has been
// silent for a second.
func StartCluster(t testing.TB) *Cluster {
	t.Helper()
	f := new(Cluster)
	args := []string{"--cluster", "create"}
	for range 6 {
		s := Start(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-config-file", "nodes.conf")
		f.Servers = append(f.Servers, s)
		args = append(args, s.Addr)
	}
	made, err := exec.CommandContext(t.Context(), "redis-cli", append(args, "--cluster-replicas", "1", "--cluster-yes")...).CombinedOutput()
	if err != nil {
		t.Fatalf("making the Cluster: %v\n%s", err, made)
	}
	Eventually(t, "the Cluster is whole", func() bool {
		masters := 0
		for _, s := range f.Servers {
			info, err := s.try("CLUSTER", "INFO")
			if err != nil || !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:6") {
				return false
			}
			replication, err := s.try("INFO", "replication")
			if err != nil {
				return false
			}
			if strings.Contains(replication, "role:master") {
				masters++
			} else if !strings.Contains(replication, "master_link_status:up") {
				return false
			}
		}
		return masters == 3
	})
	return f
}

// URLs are the servers' addresses as the store reads them.
func (f *Cluster) URLs() (urls []string) {
	for _, s := range f.Servers {
		urls = append(urls, s.URL())
	}
	return urls
}

// Failover makes the replica of a master the master, as an operator does.
func (f *Cluster) Failover(master *Server) {
	master.t.Helper()
	id := master.Do("CLUSTER", "MYID")
	for _, s := range f.Servers {
		if s != master && strings.Contains(s.Do("CLUSTER", "NODES"), "myself,slave "+id) {
			s.Do("CLUSTER", "FAILOVER")
			return
		}
	}
	master.t.Fatalf("%s has no replica", master.Addr)
}

// Whole tells whether every server that runs holds that all slots are served.
func (f *Cluster) Whole() bool {
	for _, s := range f.Servers {
		if info, err := s.try("CLUSTER", "INFO"); err == nil && !strings.Contains(info, "cluster_state:ok") {
			return false
		}
	}
	return true
}

// MasterOf is the server that has the key's slot, nil while none does.
func (f *Cluster) MasterOf(key string) *Server {
	for _, s := range f.Servers {
		_, err := s.try("GET", key)
		if err == nil || strings.HasPrefix(err.Error(), "WRONGTYPE") {
			return s
		}
		if moved, found := strings.CutPrefix(err.Error(), "MOVED "); found {
			_, address, _ := strings.Cut(moved, " ")
			for _, master := range f.Servers {
				if master.Addr == address {
					return master
				}
			}
		}
	}
	return nil
}
