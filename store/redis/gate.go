package redis

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/eapache/go-resiliency/breaker"
	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// A gate shuts when the server fails, so that nobody waits for it: the first
// calls that find it hung wait for their timeout, later ones for nothing.
// While it is shut only its keeper asks the server.
const (
	// gateFailures shut the gate, when no shutFor lies between them.
	gateFailures = 3
	// shutFor is the time until the keeper tries again, up to half as long
	// more, so that gateways do not come back in one moment.
	shutFor = 250 * time.Millisecond
	// tryTimeout bounds one such try.
	tryTimeout = 500 * time.Millisecond
)

// gate is the breaker of one server, or of one section in a Cluster.
type gate struct {
	breaker *breaker.Breaker
	probe   string // a key that is never there
	ping    string // a key that pings write
	fault   atomic.Pointer[error]
	// diagnosis is what a failure without words of its own means, until the
	// server was used once. Only the keeper has it, once the store is open.
	diagnosis error
}

// newGate makes the gate of a section, whose keys begin with this one.
func newGate(section string) *gate {
	return &gate{breaker: breaker.New(gateFailures, 1, shutFor), probe: section + ":probe", ping: section + ":ping"}
}

func (g *gate) open() bool { return g.breaker.GetState() == breaker.Closed }

// blame remembers why the gate is about to shut.
func (g *gate) blame(err error) {
	err = plain(err)
	g.fault.Store(&err)
}

// trip shuts the gate at once.
func (g *gate) trip(err error) {
	g.blame(err)
	for g.breaker.GetState() != breaker.Open {
		_ = g.breaker.Run(func() error { return err })
	}
}

// call is the context of one command.
type call struct {
	context.Context
	own  bool // its deadline is ours
	held bool // the keeper's: it passes a shut gate
}

// keepers is the context of a command that passes a shut gate.
func keepers(ctx context.Context) context.Context { return call{Context: ctx, own: true, held: true} }

// hook holds commands up at their gate.
type hook struct {
	gates map[section]*gate // one for all of a server
	shut  chan struct{}     // wakes the keeper
}

// gateOf finds the gate of a command by its first key.
func (h *hook) gateOf(command goredis.Cmder) *gate {
	position := 1
	if command.Name() == "evalsha" || command.Name() == "eval" {
		position = 3
	}
	if args := command.Args(); len(args) > position {
		if key, ok := args[position].(string); ok {
			return h.gates[sectionOf(key)]
		}
	}
	return nil
}

// ProcessHook implements [goredis.Hook].
func (h *hook) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook {
	return func(ctx context.Context, command goredis.Cmder) error {
		c, ours := ctx.(call)
		if !ours || c.held {
			return next(ctx, command)
		}
		g := h.gateOf(command)
		if g == nil {
			return next(ctx, command) // a connection that introduces itself
		}
		result := breaker.ErrBreakerOpen
		if g.open() {
			_ = g.breaker.Run(func() error {
				if result = next(ctx, command); failed(result, c.own) {
					g.blame(result)
					return result
				}
				return nil
			})
		}
		if errors.Is(result, breaker.ErrBreakerOpen) {
			command.SetErr(*g.fault.Load())
			return command.Err()
		}
		if !g.open() {
			h.wake()
		}
		return result
	}
}

// wake tells the keeper that a gate is shut.
func (h *hook) wake() {
	select {
	case h.shut <- struct{}{}:
	default: // it is told already
	}
}

// DialHook implements [goredis.Hook].
func (h *hook) DialHook(next goredis.DialHook) goredis.DialHook {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		return next(ctx, network, address)
	}
}

// ProcessPipelineHook implements [goredis.Hook]. The store pipelines nothing.
func (h *hook) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return next
}

// keep opens the gates again when their server is back.
func (s *Store) keep(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.hook.shut:
		}
		if s.allOpen() {
			continue // it was open again before we came
		}
		since := time.Now()
		s.logger.Warn("redis cannot be used", zap.Error(s.fault()), zap.Strings("addresses", s.settings.Addresses))
		for !s.allOpen() {
			if !pause(ctx, shutFor+rand.N(shutFor/2)) {
				return
			}
			s.retry(ctx)
		}
		s.logger.Info("redis is used again", zap.Duration("after", time.Since(since)))
		s.changedAll()
	}
}

// retry tries each shut gate once.
func (s *Store) retry(ctx context.Context) {
	for _, g := range s.gates {
		if g.breaker.GetState() != breaker.HalfOpen {
			continue
		}
		_ = g.breaker.Run(func() error {
			bounded, cancel := context.WithTimeout(ctx, tryTimeout)
			defer cancel()
			err := s.handshake(bounded, g)
			switch {
			case err == nil:
				g.diagnosis = nil
			case ctx.Err() == nil && g.diagnosis != nil && code(err) == "":
				g.blame(g.diagnosis)
			case ctx.Err() == nil:
				g.blame(err)
			}
			return err
		})
	}
}

// allOpen tells whether no gate is shut.
func (s *Store) allOpen() bool { return s.fault() == nil }

// fault is why a gate is shut, nil when none is.
func (s *Store) fault() error {
	for _, g := range s.gates {
		if !g.open() {
			return *g.fault.Load()
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// sectionOf reads the section out of a key's hash tag.
func sectionOf(key string) section {
	if !strings.HasPrefix(key, "{") {
		return ""
	}
	tag, _, _ := strings.Cut(key, "}")
	return section(tag[strings.LastIndexByte(tag, ':')+1:])
}
