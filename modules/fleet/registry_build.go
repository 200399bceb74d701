package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/store"
)

// builtNode is a node with what it was made of, so that an unchanged node
// keeps its dialect's memory and its connections.
type builtNode struct {
	node    *Node
	config  []byte
	record  *[]byte // what the store holds of it, nil when nothing
	release func()
}

// rebuild makes the next snapshot. What is registered and cannot be built is
// logged and left out, and a static node then stands as the file has it; a
// static one that cannot be built fails, which only Provision can meet.
func (r *registry) rebuild(ids map[string]int64, records []store.NodeRecord) error {
	old := r.current.Load()
	next := make(map[string]*builtNode, len(r.static)+len(records))
	displaced := r.displacedIn(records)
	for _, record := range records {
		if _, gone := displaced[record.Slug]; gone {
			continue
		}
		id := record.ID
		if _, fixed := r.static[record.Slug]; fixed {
			id = ids[record.Slug]
		}
		built := r.standing(record.Slug, id, &record.Data)
		if built == nil {
			built = r.registered(record, id)
		}
		if built != nil {
			next[record.Slug] = built
		}
	}
	for slug, config := range r.static {
		if next[slug] != nil {
			continue // with what is registered of it
		}
		id := ids[slug]
		if word, other := displaced[slug]; other {
			id = 0 // it is the other's, until the store was told
			config = config.over(word.NodeConfig)
		}
		built := r.standing(slug, id, nil)
		if built == nil {
			var err error
			if built, err = r.build(config, id, sourceCaddyfile, nodeRecord{}); err != nil && old == nil {
				return err
			} else if err != nil {
				r.app.logger.Error("node is left out", zap.String("node", slug), zap.Error(err))
				continue
			}
			built.record = nil
		}
		next[slug] = built
	}
	r.publish(next, old)
	return nil
}

// standing returns the node as it was built before, when nothing of it is new.
func (r *registry) standing(slug string, id int64, record *[]byte) *builtNode {
	was := r.built[slug]
	if was == nil || was.node.ID != id || (was.record == nil) != (record == nil) || record != nil && !bytes.Equal(*was.record, *record) {
		return nil
	}
	return was
}

// registered builds a node of the store, over the file's where there is one;
// nil, and a line in the log, when it cannot be.
func (r *registry) registered(record store.NodeRecord, id int64) *builtNode {
	said, err := readNodeRecord(record)
	if err != nil {
		r.app.logger.Error("registered node is left out: its record cannot be read", zap.String("node", record.Slug), zap.Error(err))
		return nil
	}
	r.settle(&said) // at once, also while the store cannot be told
	config, source := said.NodeConfig, sourceRegistry
	if fixed, ok := r.static[record.Slug]; ok {
		config, source = fixed.over(said.NodeConfig), sourceCaddyfile
	} else if said.vacant() {
		return nil
	}
	built, err := r.build(config, id, source, said)
	if err != nil {
		r.app.logger.Error("what is registered of the node is left out", zap.String("node", record.Slug), zap.Error(err))
		return nil
	}
	built.record = &record.Data
	return built
}

// publish makes the snapshot that everybody sees, and lets go of what is no
// longer in it.
func (r *registry) publish(next map[string]*builtNode, old *Snapshot) {
	snapshot := &Snapshot{
		Nodes:  make([]*Node, 0, len(next)),
		bySlug: make(map[string]*Node, len(next)), byID: make(map[int64]*Node, len(next)),
	}
	if old != nil {
		snapshot.Epoch = old.Epoch + 1
	}
	for slug, built := range next {
		snapshot.Nodes = append(snapshot.Nodes, built.node)
		snapshot.bySlug[slug] = built.node
		if built.node.ID != 0 { // before Start they have no number
			snapshot.byID[built.node.ID] = built.node
		}
	}
	slices.SortFunc(snapshot.Nodes, func(a, b *Node) int { return strings.Compare(a.Slug, b.Slug) })

	before := r.built
	r.built = next
	r.current.Store(snapshot)
	for slug, was := range before {
		// a renumbered node shares its dialect and transport with the one it replaces
		if now := next[slug]; now == nil || now.node.dialect != was.node.dialect {
			was.release()
		}
	}
	r.app.shared.keep(r.app, snapshot.Nodes)
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
		adopted:         said.Adopted, since: said.Since,
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
	n.allowance.limiter, n.allowance.used, n.elsewhere = app.shared.limiter, new(usedUp), app.PeersInFlight
	if n.allowance.budget, err = config.Budget.load(); err != nil {
		return err
	}
	if config.Budget == nil {
		n.allowance.dialect, _ = dialect.(Budgeted)
	}
	n.gate.limits = func() bool { return n.allowance.current() != nil }
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
	if n.credential, err = newCredential(config.Credentials, inline.Dialect, app.keys, config.Slug, app.Issuer, app.shared.store.sender, repl); err != nil {
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
	n.secrets = secretsOf(n.credential, config, n.headers)
	n.echoes = spellings(n.secrets)
	return nil
}
