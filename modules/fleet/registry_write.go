package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/cespare/xxhash/v2"
	"github.com/eapache/go-resiliency/retrier"
	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/store"
)

// writers lets those who change one node through this gateway go one after
// the other, so that only other gateways can be in their way. Nodes share a
// place by the hash of their slug.
type writers [64]chan struct{}

func newWriters() *writers {
	w := new(writers)
	for i := range w {
		w[i] = make(chan struct{}, 1)
	}
	return w
}

// conflicted waits a little longer after each of ten times that another
// gateway was faster, with jitter.
var conflicted = func() *retrier.Retrier {
	r := retrier.New(retrier.LimitedExponentialBackoff(10, 2*time.Millisecond, 100*time.Millisecond), conflicts{})
	r.SetJitter(0.5)
	return r
}()

type conflicts struct{}

func (conflicts) Classify(err error) retrier.Action {
	switch {
	case err == nil:
		return retrier.Succeed
	case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrExists):
		return retrier.Retry // look again at what stands now
	default:
		return retrier.Fail
	}
}

// write runs a read-and-put of one node until no one else came between.
func (r *registry) write(ctx context.Context, slug string, change func(context.Context) error) error {
	place := r.writers[xxhash.Sum64String(slug)%uint64(len(r.writers))]
	select {
	case place <- struct{}{}:
		defer func() { <-place }()
		return conflicted.RunCtx(ctx, change)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fits tells whether a node can be made of a record, before it is written: one
// that cannot would be left out of every snapshot. The error is a [NodeError].
func (r *registry) fits(record *nodeRecord) error {
	data, err := record.encode()
	if err != nil {
		return err
	}
	said, err := readNodeRecord(store.NodeRecord{Slug: record.Slug, Data: data})
	if err != nil {
		return invalidNode("", "%s", err.Error())
	}
	config, source := said.NodeConfig, sourceRegistry
	if fixed, ok := r.static[record.Slug]; ok {
		config, source = fixed.over(said.NodeConfig), sourceCaddyfile
	}
	if name := dialectName(config.DialectRaw); name != "" && !slices.Contains(Dialects(), name) {
		return invalidNode("dialect", "there is no dialect %s, expected one of %s", clipWord(name), strings.Join(Dialects(), ", "))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.built[record.Slug]
	built, err := r.build(config, 0, source, said)
	if err != nil {
		r.app.logger.Info("settings of a node are refused", zap.String("node", record.Slug), zap.Error(err))
		reason := strings.TrimPrefix(err.Error(), fmt.Sprintf("node %q: ", record.Slug))
		if strings.HasPrefix(reason, "dialect ") { // what a module says of its settings is for the log
			reason = "its settings do not fit the dialect; see the gateway's log"
		}
		return invalidNode("", "%s", reason)
	}
	if was == nil || built.node.dialect != was.node.dialect { // else it shares what stands
		built.release()
	}
	return nil
}

// Dialects names the dialects that are built in, sorted.
func Dialects() []string {
	var names []string
	for _, module := range caddy.GetModules(DialectNamespace) {
		names = append(names, module.ID.Name())
	}
	slices.Sort(names)
	return names
}

func dialectName(raw json.RawMessage) string {
	var inline struct {
		Dialect string `json:"dialect"`
	}
	_ = json.Unmarshal(raw, &inline) // what is no object is refused when it is loaded
	return inline.Dialect
}

// written makes the next snapshot with a record that was just written here,
// so that it counts at once, and returns its node; the watcher reads the rest
// soon.
func (r *registry) written(ctx context.Context, nodes store.Nodes, record store.NodeRecord) (*Node, error) {
	if err := r.include(ctx, nodes, record); err != nil {
		return nil, err
	}
	node := r.current.Load().Node(record.Slug)
	if node == nil {
		return nil, invalidNode("", "the node's settings do not work together; see the gateway's log")
	}
	return node, nil
}

func (r *registry) include(ctx context.Context, nodes store.Nodes, record store.NodeRecord) error {
	r.mu.Lock()
	known := r.app.shared.store.memory.nodes.Load()
	if !r.numbered(known) {
		r.mu.Unlock()
		return r.read(ctx, nodes)
	}
	defer r.mu.Unlock()
	next := &knownNodes{known.ids, slices.Clone(known.records)}
	i, stands := slices.BinarySearchFunc(next.records, record.Slug, func(r store.NodeRecord, slug string) int {
		return strings.Compare(r.Slug, slug)
	})
	switch {
	case !stands:
		next.records = slices.Insert(next.records, i, record)
	case next.records[i].ID > record.ID || next.records[i].ID == record.ID && next.records[i].Revision >= record.Revision:
		return nil // somebody's later word was read already
	default:
		next.records[i] = record
	}
	r.app.shared.store.memory.nodes.Store(next)
	return r.rebuild(next.ids, next.records)
}

// numbered tells whether what was read covers the configured nodes; what was
// read for another configuration may not.
func (r *registry) numbered(known *knownNodes) bool {
	if known == nil {
		return false
	}
	for slug := range r.static {
		if known.ids[slug] == 0 {
			return false
		}
	}
	return true
}
