package redis

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/watch"
)

// section is a part of the key space. All keys of one share a hash tag, so
// that in a Cluster each script finds its keys on one server.
type section string

const (
	meta     section = "meta"
	nodesAt  section = "nodes"
	tokensAt section = "tokens"
	limitsAt section = "limits"
	breakAt  section = "breakers"
	cacheAt  section = "cache"
	runsAt   section = "runs"
	linesAt  section = "requests"
	leasesAt section = "leases"
	eventsAt section = "events"
	memberAt section = "members"
	alertsAt section = "alerts"
)

var sections = []section{meta, nodesAt, tokensAt, limitsAt, breakAt, cacheAt, runsAt, linesAt, leasesAt, eventsAt, memberAt, alertsAt}

// Store is a [store.Store] on a server.
type Store struct {
	client   goredis.UniversalClient
	settings settings
	logger   *zap.Logger
	name     string // prefix and federation, as keys and channels begin
	identity atomic.Pointer[string]
	lastID   atomic.Int64 // the highest number of a node that was seen

	hook  *hook
	gates []*gate // the first is the one of the section meta
	hub   *watch.Hub
	seen  seenVersions

	closed  atomic.Bool
	closing context.CancelFunc
	running sync.WaitGroup
	close   func() error
}

// open makes the store, and fails when its server can never be it.
func open(ctx context.Context, config settings, federation string, logger *zap.Logger) (*Store, error) {
	s := &Store{
		client: config.client(), settings: config, logger: logger,
		// escaped, because a federation's name may be any text
		name: config.Prefix + ":" + url.PathEscape(federation),
		hook: &hook{gates: make(map[section]*gate), shut: make(chan struct{}, 1)},
		hub:  watch.NewHub(),
	}
	for _, part := range sections {
		if config.Cluster || len(s.gates) == 0 {
			s.gates = append(s.gates, newGate(s.key(part, "")))
		}
		s.hook.gates[part] = s.gates[len(s.gates)-1]
	}
	s.client.AddHook(s.hook)
	background, stop := context.WithCancel(context.Background())
	s.closing = stop
	s.close = sync.OnceValue(s.end)
	for _, g := range s.gates {
		if err := s.greet(ctx, g); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	if s.allOpen() {
		s.begin(ctx)
	}
	s.running.Go(func() { s.keep(background) })
	s.running.Go(func() { s.listen(background) })
	s.running.Go(func() { s.poll(background) })
	return s, nil
}

// greetTimeout bounds the first look at a server.
const greetTimeout = 2 * time.Second

// greet looks at a server for the first time. When it cannot be reached its
// gate begins shut.
func (s *Store) greet(ctx context.Context, g *gate) error {
	if err := s.fault(); err != nil && g != s.gates[0] {
		g.trip(err) // its neighbours were waited for
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, greetTimeout)
	defer cancel()
	err := s.handshake(bounded, g)
	if err == nil {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("store redis: %w", err)
	}
	err = s.diagnose(ctx, err)
	if errors.Is(err, errTLS) || errors.Is(err, errNoTLS) {
		g.diagnosis = err
	}
	final, told := explain(err)
	if final {
		return told
	}
	g.trip(told)
	s.hook.wake()
	return nil
}

// key is a key of a section.
func (s *Store) key(part section, rest string) string {
	return "{" + s.name + ":" + string(part) + "}" + rest
}

// channel is where the changes of a topic are published.
func (s *Store) channel(topic watch.Topic) string { return s.name + ":" + string(topic) }

// Close implements [store.Store]. Closing twice is harmless.
func (s *Store) Close() error { return s.close() }

func (s *Store) end() error {
	s.closed.Store(true)
	s.closing()
	s.running.Wait()
	s.hub.Close()
	return s.client.Close()
}

// Shared implements [store.Store].
func (s *Store) Shared() bool { return true }

// Now implements [store.Store]. In a Cluster each section goes by the clock
// of its own server; this is one of them.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	r, err := s.run(ctx, "reading the store's clock", clockScript, []string{s.key(meta, "")})
	if err != nil {
		return time.Time{}, err
	}
	return r.time(0), nil
}

// Identity implements [store.Store]. It is known once the server was reached.
func (s *Store) Identity(ctx context.Context) (string, error) {
	if err := s.usable(ctx); err != nil {
		return "", err
	}
	if known := s.identity.Load(); known != nil {
		return *known, nil
	}
	return "", fmt.Errorf("reading the store's identity: %w", s.why())
}

// why is the fault of a gate, for something that is missing because of it.
func (s *Store) why() error {
	if fault := s.fault(); fault != nil {
		return fault
	}
	return store.ErrUnavailable
}

// pingSeconds is how long what a ping writes stays.
const pingSeconds = 10

// Ping implements [store.Store]: it writes a little to each server, because
// one that has used its memory answers and takes nothing. While a gate is shut
// it costs nothing.
func (s *Store) Ping(ctx context.Context) error {
	const what = "pinging the store"
	if fault := s.fault(); fault != nil && !s.closed.Load() {
		return fmt.Errorf("%s: %w", what, fault)
	}
	if err := s.usable(ctx); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	for _, g := range s.gates {
		if err := s.ping(ctx, g); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}

func (s *Store) ping(ctx context.Context, g *gate) error {
	bounded, cancel := bound(ctx, s.settings.Timeout)
	defer cancel()
	if err := s.command(bounded, "set", g.ping, 1, "ex", pingSeconds).Err(); err != nil {
		return bounded.plain(ctx, err)
	}
	return nil
}

// Nodes implements [store.Store], and so do the others.
func (s *Store) Nodes() store.Nodes       { return nodes{s} }
func (s *Store) Tokens() store.Tokens     { return tokens{s} }
func (s *Store) Limits() store.Limits     { return limits{s} }
func (s *Store) Breakers() store.Breakers { return breakers{s} }
func (s *Store) Cache() store.Cache       { return cache{s} }
func (s *Store) Journal() store.Journal   { return journal{s} }
func (s *Store) Requests() store.Requests { return requests{s} }
func (s *Store) Leases() store.Leases     { return leases{s} }
func (s *Store) Events() store.Events     { return events{s} }
func (s *Store) Members() store.Members   { return members{s} }
func (s *Store) Alerts() store.Alerts     { return alerts{s} }

func (s *Store) usable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.closed.Load() {
		return store.ErrClosed
	}
	return nil
}

var _ store.Store = (*Store)(nil)
