// Package fleet is the Caddy app `federation`: the nodes, everything known
// about them, and the one way to call them. Handlers of other rooms reach it
// through [FromContext].
package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/modules/fleet/breaker"
	"github.com/caddy-federation/caddy-federation/modules/fleet/limiter"
	"github.com/caddy-federation/caddy-federation/modules/fleet/token"
	"github.com/caddy-federation/caddy-federation/store"
)

func init() { caddy.RegisterModule(new(App)) }

// defaultName is the name of a federation that is given none.
const defaultName = "default"

// App is the federation: a set of nodes under one name and one store.
type App struct {
	// Name tells federations apart. Gateways with one name and one store are
	// one federation. Default: "default".
	Name string `json:"name,omitempty"`
	// StoreRaw is what must outlive a request: memory, bolt or redis. Default:
	// bolt, in Caddy's data directory under federation/<name>.db.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=federation.stores inline_key=module"`
	// Issuer is the `iss` of tokens. Default: "caddy-federation".
	Issuer string `json:"issuer,omitempty"`
	// Audience is the values of `aud`: tokens must name one of them, and ours
	// name all. Default: none, and `aud` is not looked at.
	Audience []string `json:"audience,omitempty"`
	// Keys sign and verify tokens; the first that may sign, signs. Default: none.
	Keys []KeyConfig `json:"keys,omitempty"`
	// RemoteKeys are keys that others publish. Default: none.
	RemoteKeys []JWKSConfig `json:"jwks,omitempty"`
	// AccessTTL is the life of an access token; one that lives longer is
	// refused. Default: 1h.
	AccessTTL caddy.Duration `json:"access_ttl,omitempty"`
	// RefreshTTL is the life of a refresh token that is not used. Default: 30d.
	RefreshTTL caddy.Duration `json:"refresh_ttl,omitempty"`
	// RefreshGrace is how long a refresh token that was used gives the same
	// successor again; later it is a replay. Default: 30s; negative: none.
	RefreshGrace caddy.Duration `json:"refresh_grace,omitempty"`
	// Leeway is how far the clock of who issues tokens may be ahead of ours.
	// Default: 30s; negative: none.
	Leeway caddy.Duration `json:"leeway,omitempty"`
	// Nodes are the static nodes. Default: none; the registry may hold more.
	Nodes []NodeConfig `json:"nodes,omitempty"`
	// NodeDefaults are for nodes that do not set a field. Default: see [NodeConfig].
	NodeDefaults *NodeConfig `json:"node_defaults,omitempty"`
	// Enrollment says who may register as a node. Default: nobody.
	Enrollment *EnrollmentConfig `json:"enrollment,omitempty"`
	// NodeURLs say where a node that registers may live: prefixes such as
	// 10.1.0.0/16, host patterns such as *.nodes.example, and the word public.
	// Default: public addresses only.
	NodeURLs []string `json:"node_urls,omitempty"`
	// Breaker is when the circuit breakers of the nodes open and how they
	// close again. Default: see [BreakerConfig].
	Breaker *BreakerConfig `json:"breaker,omitempty"`
	// OnStoreFailure is what rate limits do when a store that gateways share
	// cannot be used: local admits the limit divided by the number of gateways
	// last seen, open everything, closed nothing. A handler may say otherwise.
	// Default: local.
	OnStoreFailure string `json:"on_store_failure,omitempty"`
	// Health is how the nodes are checked. Default: see [HealthConfig].
	Health *HealthConfig `json:"health,omitempty"`
	// AlertWebhooks are told when something is wrong, and when it is over.
	// Default: none.
	AlertWebhooks []AlertWebhook `json:"alert_webhooks,omitempty"`
	// AlertGroup is how long the first change waits for others that are sent in
	// the same message, from 1s to 10m. What is over by then is not sent at
	// all. Default: 10s.
	AlertGroup caddy.Duration `json:"alert_group,omitempty"`

	logger     *zap.Logger
	opener     store.Opener
	keys       *token.KeySet // of the config
	localKeys  []*token.Key
	jwks       []byte
	authority  *authority
	enrollment enrollment
	urlPolicy  *URLPolicy
	failure    limiter.Failure
	shared     *shared
	pooled     bool // shared is held in the pool
	registry   *registry
	prober     *prober

	caddyEvents  *caddyevents.App
	eventContext caddy.Context
	raised       *eventQueue // on their way to Caddy's event handlers
	breakerRules *breaker.Rules
	fellows      *fellows
	alertHooks   []*alertHook

	modes   storeModes
	store   store.Store
	started chan struct{}
	inForce func() bool // the config is not one that may still be refused
	stop    context.CancelFunc
	detach  func() // the limits from the store
	running sync.WaitGroup
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "federation", New: func() caddy.Module { return new(App) }}
}

// FromContext returns the federation of the config that ctx belongs to. A
// config that names none has an empty one with the defaults.
func FromContext(ctx caddy.Context) (*App, error) {
	module, err := ctx.App("federation")
	if err != nil {
		return nil, fmt.Errorf("loading the federation: %w", err)
	}
	return module.(*App), nil
}

// Provision reads the configuration. It opens no file and no connection.
func (a *App) Provision(ctx caddy.Context) error {
	a.logger = ctx.Logger()
	a.started = make(chan struct{})
	a.inForce = a.isActive
	a.raised = newEventQueue()
	if a.Name == "" {
		a.Name = defaultName
	}
	if err := RegisterMetrics(ctx); err != nil {
		return err
	}
	if a.Issuer == "" {
		a.Issuer = "caddy-federation"
	}
	if err := a.loadStore(ctx); err != nil {
		return err
	}
	if err := a.loadKeys(); err != nil {
		return err
	}
	if err := a.defaultTokens(); err != nil {
		return err
	}
	if err := a.provisionLimits(); err != nil {
		return err
	}
	if err := a.provisionEvents(ctx); err != nil {
		return err
	}
	var err error
	if a.enrollment, err = a.Enrollment.load(caddy.NewReplacer()); err != nil {
		return err
	}
	if err := a.provisionAlerts(caddy.NewReplacer()); err != nil {
		return err
	}
	if a.urlPolicy, err = ParseURLPolicy(a.NodeURLs); err != nil {
		return err
	}
	static := make(map[string]NodeConfig, len(a.Nodes))
	for _, node := range a.Nodes {
		if !ValidSlug(node.Slug) {
			return node.Validate()
		}
		if _, twice := static[node.Slug]; twice {
			return fmt.Errorf("node %q is configured twice", node.Slug)
		}
		if node.AdminState == AdminPending {
			return fmt.Errorf("node %q: admin_state pending is for nodes that register, expected enabled, draining, maintenance or disabled", node.Slug)
		}
		static[node.Slug] = node
	}
	if a.NodeDefaults != nil {
		if a.NodeDefaults.Slug != "" || a.NodeDefaults.URL != "" {
			return fmt.Errorf("node_defaults cannot have a slug or url")
		}
		if err := a.NodeDefaults.ValidateSettings(); err != nil {
			return fmt.Errorf("node_defaults: %w", err)
		}
	}
	if a.Health != nil {
		if err := a.Health.Validate(); err != nil {
			return fmt.Errorf("health: %w", err)
		}
	}
	if a.Breaker != nil {
		if err := a.Breaker.Validate(); err != nil {
			return fmt.Errorf("breaker: %w", err)
		}
	}
	shared, err := loadShared(a.Name)
	if err != nil {
		return err
	}
	a.shared, a.pooled = shared, true
	a.breakerRules = a.Breaker.rules()
	a.fellows = a.nodesAsFellows()
	if a.authority, err = newAuthority(a); err != nil {
		return err
	}
	for feature, mode := range map[string]string{
		"nodes": "as last read", "registration": StoreModeClosed, "request log": "lost", "events": "wait in memory",
		"token checks": "as last read", "token endpoints": StoreModeClosed, "breakers": StoreModeLocal, "gateways": "as last seen",
		"alerts": "each gateway for itself",
	} {
		a.DeclareStoreMode(feature, mode)
	}
	a.registry = &registry{app: a, ctx: ctx, static: static, writers: newWriters()}
	return a.registry.rebuild(make(map[string]int64), nil)
}

func (a *App) loadStore(ctx caddy.Context) error {
	if a.StoreRaw == nil {
		a.StoreRaw = json.RawMessage(`{"module":"bolt"}`)
	}
	module, err := ctx.LoadModule(a, "StoreRaw")
	if err != nil {
		return fmt.Errorf("loading the store: %w", err)
	}
	opener, ok := module.(store.Opener)
	if !ok {
		return fmt.Errorf("loading the store: the module is not a store")
	}
	a.opener = opener
	return nil
}

// startTimeout bounds what Start asks of the store.
const startTimeout = 10 * time.Second

// Start opens the store, numbers the nodes and begins to look after them.
func (a *App) Start() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	opened, err := a.opener.Open(ctx, a.Name, a.logger)
	if err != nil {
		return fmt.Errorf("opening the store of federation %q: %w", a.Name, err)
	}
	a.registry.keep, a.registry.opened = opened.Shared(), opened
	inForce := a.inForce()
	a.registry.inForce.Store(inForce)
	background, stop := context.WithCancel(context.Background())
	// watched before it is read, so that no change falls in between
	changes, err := opened.Nodes().Watch(background)
	if err != nil {
		a.logger.Error("the registry's changes are not seen until the next reload", zap.Error(err))
	}
	grants, err := opened.Tokens().Watch(background)
	if err != nil {
		a.logger.Error("revocations and api keys are not pushed to this gateway, it asks for them", zap.Error(err))
	}
	a.announce(ctx, opened)
	err = a.readStore(ctx, opened)
	if err != nil && !errors.Is(err, store.ErrUnavailable) {
		stop()
		a.withdraw()
		_ = opened.Close()
		return fmt.Errorf("starting federation %q: %w", a.Name, err)
	}
	a.noteStore(opened, err)
	a.authority.start(background, opened, grants)
	a.store, a.stop, a.detach = opened, stop, a.attachLimits(opened)
	a.startBreakers(ctx, background)
	if opened.Shared() {
		a.running.Go(func() { a.beat(background, opened.Members()) })
		a.running.Go(func() { a.sharePauses(background, opened) })
	}
	a.running.Go(func() { a.shared.log.write(background, opened.Requests(), a.logger) })
	a.running.Go(func() { a.watchStore(background, opened) })
	a.running.Go(func() { a.storeEvents(background, opened.Events()) })
	a.running.Go(func() { a.raiseEvents(background) })
	if changes != nil {
		readable := err == nil
		a.running.Go(func() { a.registry.watch(background, opened.Nodes(), changes, readable) })
	}
	if !inForce {
		a.running.Go(func() { a.awaitForce(background, opened.Nodes()) })
	}
	a.prober = newProber(a)
	a.running.Go(func() { a.prober.run(background) })
	a.startAlerts(background, opened)
	close(a.started)
	a.enter()
	a.logger.Info("federation started", zap.String("name", a.Name), zap.Int("nodes", len(a.Snapshot().Nodes)))
	return nil
}

// readStore learns who we are, and reads the nodes. When the store cannot be
// reached, the nodes are those that were last read.
func (a *App) readStore(ctx context.Context, opened store.Store) error {
	if err := a.shared.store.ensureIdentity(); err != nil {
		return err
	}
	a.learnIdentity(ctx, opened)
	err := a.authority.read(ctx, opened.Tokens())
	if err == nil {
		err = a.registry.read(ctx, opened.Nodes())
	}
	if errors.Is(err, store.ErrUnavailable) {
		return errors.Join(err, a.registry.recall())
	}
	return err
}

// Stop ends what Start began, and waits for it.
func (a *App) Stop() error {
	if a.stop == nil {
		return nil
	}
	a.leave()
	a.stop()
	a.detach()
	a.running.Wait()
	a.withdraw()
	return a.store.Close()
}

// Cleanup releases what Provision took. It also runs after a Provision that failed.
func (a *App) Cleanup() error {
	if a.registry != nil {
		a.registry.release()
	}
	if !a.pooled {
		return nil
	}
	a.pooled = false
	a.shared.leave(a)
	_, err := pool.Delete(a.Name) // requests that still run keep their pointer
	return err
}

// Snapshot returns all nodes as they are now.
func (a *App) Snapshot() *Snapshot { return a.registry.current.Load() }

// Identity names this federation in loop protection: 32 hex digits, the same
// for all gateways of one store, and one of this process's own until the store
// was reached. It is empty before Start.
func (a *App) Identity() string {
	select {
	case <-a.started:
		return *a.shared.store.identity.Load()
	default:
		return ""
	}
}

// Store returns what outlives a request, or nil before Start. Use it away from
// the hot path: it may be a server on the network.
func (a *App) Store() store.Store {
	select {
	case <-a.started:
		return a.store
	default:
		return nil
	}
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
