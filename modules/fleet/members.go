package fleet

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"reflect"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/store"
)

// Members are the gateways of a federation at one moment. It is never changed.
type Members struct {
	// Self is the id of this gateway.
	Self string `json:"self"`
	// Gateways are those that are alive, this one included, sorted by id. A
	// gateway whose store is its own is alone.
	Gateways []Gateway `json:"gateways"`
	// Skew is how far the store's clock is ahead of this gateway's.
	Skew time.Duration `json:"clock_skew_ns"`
	// Drift is set while gateways run with different configs of the federation.
	Drift bool `json:"configuration_drift"`
	// Stale is set while the store cannot be asked: these are the last known.
	Stale bool `json:"stale"`
}

// Count is how many gateways there are, at least 1. While the store is gone it
// is how many there were.
func (m *Members) Count() int { return max(len(m.Gateways), 1) }

// Gateway is what one gateway tells the others.
type Gateway struct {
	// ID is made once per process.
	ID string `json:"id"`
	// Host is the name of its machine, for people.
	Host string `json:"host"`
	// Version is the version of this plugin that it runs.
	Version string `json:"version"`
	// Config is a hash of its federation's configuration, the store left out.
	Config string `json:"config"`
	// Skew is how far the store's clock is ahead of the gateway's.
	Skew time.Duration `json:"clock_skew_ns"`
	// Beat is when it was last heard of, on the store's clock.
	Beat time.Time `json:"beat"`
}

// clockSkewBound is how far the store's clock may be from this gateway's
// before it is logged: tokens and logs are on the gateways' own clocks.
const clockSkewBound = time.Second

// membership is what is known of the members over config reloads.
type membership struct {
	current atomic.Pointer[Members]
	skewed  atomic.Bool
	drifted atomic.Bool
}

// Members returns the gateways of the federation, as they were a second ago
// or so. It takes no lock.
func (a *App) Members() *Members {
	if members := a.shared.membership.current.Load(); members != nil {
		return members
	}
	return &Members{Self: a.shared.circuits.gateway}
}

// version is the version of this plugin.
var version = sync.OnceValue(func() string {
	const module = "github.com/caddy-federation/caddy-federation"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if info.Main.Path == module {
		return info.Main.Version
	}
	for _, dependency := range info.Deps {
		if dependency.Path == module {
			return dependency.Version
		}
	}
	return "unknown"
})

// hostName names this machine for people.
var hostName = sync.OnceValue(func() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
})

// configHash tells configurations of the federation apart. Where the store is
// may differ from gateway to gateway.
func (a *App) configHash() string {
	config, sum := reflect.ValueOf(a).Elem(), sha256.New()
	for i := range config.NumField() {
		field := config.Type().Field(i)
		if !field.IsExported() || field.Name == "StoreRaw" {
			continue
		}
		text, err := json.Marshal(config.Field(i).Interface())
		if err != nil {
			return ""
		}
		sum.Write(append(append([]byte(field.Name+" "), text...), '\n'))
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}

// noteMembers remembers who is alive. sent and back are when the store was
// asked and when it had answered, storeNow is its clock in between.
func (a *App) noteMembers(alive []store.Member, storeNow, sent, back time.Time) {
	half := back.Sub(sent) / 2
	next := &Members{Self: a.shared.circuits.gateway, Skew: storeNow.Sub(sent.Add(half))}
	config := ""
	for _, m := range alive {
		var word gatewayWord
		_ = json.Unmarshal(m.Data, &word) // a gateway of another version is alive all the same
		gateway := word.Gateway
		gateway.ID, gateway.Beat = m.ID, m.Beat
		next.Gateways = append(next.Gateways, gateway)
		if gateway.Config != "" && config == "" {
			config = gateway.Config
		}
		next.Drift = next.Drift || gateway.Config != "" && gateway.Config != config
	}
	a.shared.membership.current.Store(next)

	// what the way there and back took is no skew
	skewed := next.Skew.Abs()-half > clockSkewBound
	if a.shared.membership.skewed.CompareAndSwap(!skewed, skewed) {
		if skewed {
			a.logger.Warn("this gateway's clock and the store's differ", zap.Duration("store_ahead", next.Skew))
		} else {
			a.logger.Info("this gateway's clock and the store's agree")
		}
	}
	if a.shared.membership.drifted.CompareAndSwap(!next.Drift, next.Drift) {
		if next.Drift {
			configs := make(map[string]string, len(next.Gateways))
			for _, g := range next.Gateways {
				configs[g.Host+"/"+g.ID] = g.Config
			}
			a.logger.Warn("gateways run with different configs of the federation", zap.Any("configs", configs))
		} else {
			a.logger.Info("gateways run with one config of the federation")
		}
	}
}

// loseMembers keeps the last known members while the store cannot be asked.
func (a *App) loseMembers() {
	if last := a.shared.membership.current.Load(); last != nil && !last.Stale {
		stale := *last
		stale.Stale = true
		a.shared.membership.current.CompareAndSwap(last, &stale)
	}
}
