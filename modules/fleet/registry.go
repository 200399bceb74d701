package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/store"
)

// Snapshot is all nodes at one moment. It is never changed.
type Snapshot struct {
	// Nodes are sorted by slug.
	Nodes []*Node
	// Epoch rises with every change of the node set.
	Epoch uint64

	bySlug map[string]*Node
	byID   map[int64]*Node
}

// Node returns the node with the slug, or nil.
func (s *Snapshot) Node(slug string) *Node { return s.bySlug[slug] }

// NodeByID returns the node with the id, or nil.
func (s *Snapshot) NodeByID(id int64) *Node { return s.byID[id] }

// registry makes snapshots out of the configured nodes and the store's.
type registry struct {
	app     *App
	ctx     caddy.Context
	static  map[string]NodeConfig
	current atomic.Pointer[Snapshot]
	keep    bool // a copy on disk, for a start without the store

	mu    sync.Mutex // for building: the watcher, and who writes to the registry
	built map[string]*builtNode
}

// builtNode is a node with what it was made of, so that an unchanged node
// keeps its dialect's memory and its connections.
type builtNode struct {
	node    *Node
	config  []byte
	release func()
}

// Where a node is from.
const (
	sourceCaddyfile = "caddyfile"
	sourceRegistry  = "registry"
)

// read numbers the static nodes, reads the registered ones and makes the next
// snapshot of both.
func (r *registry) read(ctx context.Context, nodes store.Nodes) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.restore(ctx, nodes); err != nil {
		return err
	}
	ids, err := nodes.AssignIDs(ctx, slices.Collect(maps.Keys(r.static)))
	if err != nil {
		return err
	}
	records, err := nodes.List(ctx)
	if err != nil {
		return err
	}
	known := &knownNodes{maps.Clone(ids), records}
	for _, record := range records {
		known.ids[record.Slug] = record.ID
	}
	r.app.shared.store.memory.nodes.Store(known)
	if r.keep {
		r.app.keepLastKnown(known)
	}
	return r.rebuild(ids, records)
}

// recall makes the next snapshot of what was last read: by this config, the
// one before, or the process before.
func (r *registry) recall() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.app.shared.store.memory.nodes.Load()
	if known == nil && r.keep {
		known = r.app.lastKnown()
	}
	if known == nil {
		return nil
	}
	return r.rebuild(maps.Clone(known.ids), known.records)
}

// rebuild makes the next snapshot. What is registered and cannot be built is
// logged and left out, and a static node then stands as the file has it; a
// static one that cannot be built fails, which only Provision can meet.
func (r *registry) rebuild(ids map[string]int64, records []store.NodeRecord) error {
	configs := make(map[string]NodeConfig, len(r.static)+len(records))
	said := make(map[string]nodeRecord, len(records))
	sources := make(map[string]string, len(configs))
	overlaid := make(map[string]bool)
	for slug, config := range r.static {
		configs[slug], sources[slug] = config, sourceCaddyfile
	}
	for _, record := range records {
		registered, err := readNodeRecord(record)
		if err != nil {
			r.app.logger.Error("registered node is left out: its record cannot be read", zap.String("node", record.Slug), zap.Error(err))
			continue
		}
		said[record.Slug] = registered
		if fixed, ok := r.static[record.Slug]; ok {
			configs[record.Slug], overlaid[record.Slug] = fixed.over(registered.NodeConfig), true
			continue
		}
		configs[record.Slug], sources[record.Slug] = registered.NodeConfig, sourceRegistry
		ids[record.Slug] = record.ID
	}

	next := make(map[string]*builtNode, len(configs))
	snapshot := &Snapshot{bySlug: make(map[string]*Node, len(configs)), byID: make(map[int64]*Node, len(configs))}
	if old := r.current.Load(); old != nil {
		snapshot.Epoch = old.Epoch + 1
	}
	for slug, config := range configs {
		built, err := r.build(config, ids[slug], sources[slug], said[slug])
		if err != nil && overlaid[slug] {
			r.app.logger.Error("what is registered of the node is left out", zap.String("node", slug), zap.Error(err))
			built, err = r.build(r.static[slug], ids[slug], sources[slug], nodeRecord{})
		}
		if err != nil {
			if sources[slug] == sourceCaddyfile && r.current.Load() == nil {
				return err
			}
			r.app.logger.Error("node is left out", zap.String("node", slug), zap.Error(err))
			continue
		}
		next[slug] = built
		snapshot.Nodes = append(snapshot.Nodes, built.node)
		snapshot.bySlug[slug] = built.node
		if built.node.ID != 0 { // before Start they have no number
			snapshot.byID[built.node.ID] = built.node
		}
	}
	slices.SortFunc(snapshot.Nodes, func(a, b *Node) int { return strings.Compare(a.Slug, b.Slug) })

	old := r.built
	r.built = next
	r.current.Store(snapshot)
	for slug, was := range old {
		// a renumbered node shares its dialect and transport with the one it replaces
		if now := next[slug]; now == nil || now.node.dialect != was.node.dialect {
			was.release()
		}
	}
	r.app.shared.keep(r.app, snapshot.Nodes)
	return nil
}

// build makes a node, from the one that stands when only its id is new.
func (r *registry) build(config NodeConfig, id int64, source string, said nodeRecord) (*builtNode, error) {
	if r.app.NodeDefaults != nil {
		defaults := *r.app.NodeDefaults
		if source == sourceRegistry {
			defaults.TransportRaw = nil // ours alone looks at each address it dials
		}
		config = config.over(defaults)
	}
	config = config.withDefaults()
	said.NodeConfig = config
	encoded, err := json.Marshal(said)
	if err != nil {
		return nil, fmt.Errorf("node %q: %w", config.Slug, err)
	}
	if was := r.built[config.Slug]; was != nil && bytes.Equal(was.config, encoded) && was.node.Source == source {
		if was.node.ID == id {
			return was, nil
		}
		renumbered := *was.node
		renumbered.ID = id
		return &builtNode{node: &renumbered, config: encoded, release: was.release}, nil
	}
	if err := config.Validate(); err != nil {
		return nil, err
	}
	repl := caddy.NewReplacer()
	address, err := repl.ReplaceOrErr(config.URL, true, true)
	if err != nil {
		return nil, fmt.Errorf("node %q: url: %w", config.Slug, err)
	}
	u, err := parseNodeURL(address)
	if err != nil {
		return nil, fmt.Errorf("node %q: %w", config.Slug, err)
	}

	// Provision's own context may load modules only while Provision runs;
	// later nodes have one each, which ends with them.
	ctx, release := r.ctx, func() {}
	if r.current.Load() != nil {
		ctx, release = caddy.NewContext(r.ctx)
	}
	node := &Node{
		ID: id, Slug: config.Slug, Name: config.Name, URL: u, Description: config.Description,
		Type: config.Type, Weight: config.Weight, Group: config.Group, Required: *config.Required,
		Capabilities: config.Capabilities, Domains: config.Domains, Keywords: config.Keywords,
		DataTypes: config.DataTypes, Collections: config.Collections, AdminState: config.AdminState,
		Subject: config.Subject, Timeout: time.Duration(config.Timeout), Source: source,
		Version: said.Version, Metadata: said.Metadata, Registered: said.Registered,
		settings:        config.open(),
		guarded:         source == sourceRegistry && !said.Trusted,
		maxResponseSize: config.MaxResponseSize,
		gate: &Gate{
			member: r.app.shared.member(config.Slug, u.String()),
			rules:  r.app.breakerRules, fellows: r.app.fellows, maxRequests: int64(config.MaxRequests),
		},
	}
	if err := node.load(ctx, config, r.app, repl); err != nil {
		release()
		return nil, fmt.Errorf("node %q: %w", config.Slug, err)
	}
	return &builtNode{node: node, config: encoded, release: func() {
		release()
		node.closeIdle()
	}}, nil
}

// load fills in what comes from modules and secrets.
func (n *Node) load(ctx caddy.Context, config NodeConfig, app *App, repl *caddy.Replacer) error {
	var inline struct {
		Dialect string `json:"dialect"`
	}
	if err := json.Unmarshal(config.DialectRaw, &inline); err != nil {
		return fmt.Errorf("dialect: %w", err)
	}
	module, err := ctx.LoadModule(&config, "DialectRaw")
	if err != nil {
		return fmt.Errorf("dialect %s: %w", inline.Dialect, err)
	}
	dialect, ok := module.(Dialect)
	if !ok {
		return fmt.Errorf("dialect %s: the module is not a dialect", inline.Dialect)
	}
	n.dialect = dialect
	n.allowance.limiter = app.shared.limiter
	if n.allowance.budget, err = config.Budget.load(); err != nil {
		return err
	}
	if config.Budget == nil {
		n.allowance.dialect, _ = dialect.(Budgeted)
	}
	if config.TransportRaw == nil {
		var control dialControl
		if n.guarded {
			control = app.urlPolicy.control(n.URL.Hostname())
		}
		n.transport = newTransport(config.MaxRequests, control)
	} else {
		module, err := ctx.LoadModule(&config, "TransportRaw")
		if err != nil {
			return fmt.Errorf("transport: %w", err)
		}
		if n.transport, ok = module.(http.RoundTripper); !ok {
			return errors.New("transport: the module is not a transport")
		}
		n.foreignTransport = true
	}
	if n.credential, err = newCredential(config.Credentials, inline.Dialect, app.keys, config.Slug, app.Issuer, repl); err != nil {
		return err
	}
	for name, values := range config.HeaderUp {
		field := headerField{name: http.CanonicalHeaderKey(name)}
		for _, v := range values {
			resolved, err := repl.ReplaceOrErr(v, true, true)
			if err != nil {
				return fmt.Errorf("header_up %s: %w", name, err)
			}
			field.values = append(field.values, resolved)
		}
		n.headers = append(n.headers, field)
	}
	return nil
}

// registryRetry is how soon a registry that could not be read is read again,
// without a change to wait for.
const registryRetry = 5 * time.Second

// watch follows the store's changes until they end. While the store is gone
// the last snapshot stays. readable is whether it could be read at the start.
func (r *registry) watch(ctx context.Context, nodes store.Nodes, changes <-chan struct{}, readable bool) {
	failing := !readable
	var retry <-chan time.Time
	if failing {
		retry = time.After(registryRetry)
	}
	for {
		select {
		case _, more := <-changes:
			if !more {
				return
			}
		case <-retry:
		}
		err := r.read(ctx, nodes)
		if retry = nil; err != nil {
			retry = time.After(registryRetry)
		}
		if (err != nil) != failing && ctx.Err() == nil {
			failing = err != nil
			if failing {
				r.app.logger.Error("the registry cannot be read, the nodes stay as they are", zap.Error(err))
			} else {
				r.app.logger.Info("the registry is read again")
			}
		}
	}
}

// release gives up everything that was built.
func (r *registry) release() {
	for _, built := range r.built {
		built.release()
	}
	r.built = nil
}
