package integration

import (
	"strings"
	"testing"
	"time"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/store/redistest"
)

// TestWhatKeepsAGatewayFromItsRedisIsSaid: a federation starts without its store,
// and tells in words what is wrong with the way to it.
func TestWhatKeepsAGatewayFromItsRedisIsSaid(t *testing.T) {
	sentinels := redistest.StartSentinels(t)
	for name, c := range map[string]struct{ store, says string }{
		"no such socket":                  {"unix:///nowhere/redis.sock", "the unix socket of redis does not exist"},
		"a master that nobody watches":    {strings.Join(sentinels.URLs(), " ") + " {\n master_name nobody\n}", "no Sentinel knows the master"},
		"a Sentinel where nobody listens": {"redis://127.0.0.1:1 {\n master_name " + sentinels.Name + "\n}", "redis refuses the connection"},
	} {
		t.Run(name, func(t *testing.T) {
			load(t, strings.Replace(federation(loopback.FreePort(t), "", ""), "store memory", "store redis "+c.store, 1))
			app := fleet.Running("test")
			within(t, 10*time.Second, "it is said", func() bool { return strings.Contains(app.StoreState().Error, c.says) })
		})
	}
}
