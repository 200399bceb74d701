package redis

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/store/watch"
)

// A change reaches the other gateways at once through pub/sub, and within
// a second without it, reading included: each topic has a version that rises with
// every change.
const pollInterval = 800 * time.Millisecond

// topicKeys are the sections that the topics are versions of.
var topicKeys = map[watch.Topic]section{watch.Nodes: nodesAt, watch.Tokens: tokensAt, watch.Breakers: breakAt, watch.Events: eventsAt}

// version is the key of a topic's version.
func (s *Store) version(topic watch.Topic) string { return s.key(topicKeys[topic], ":version") }

// seenVersions are the versions that were told of.
type seenVersions struct {
	mu   sync.Mutex
	last map[watch.Topic]string
}

// fresh tells whether a version is another than the last, and remembers it.
func (v *seenVersions) fresh(topic watch.Topic, version string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.last == nil {
		v.last = make(map[watch.Topic]string)
	}
	last, known := v.last[topic]
	v.last[topic] = version
	return !known || last != version
}

// begin reads the versions that later ones are compared with. What cannot be
// read is told of as a change at the first poll.
func (s *Store) begin(ctx context.Context) {
	for _, topic := range watch.Topics {
		if version, err := s.readVersion(ctx, topic); err == nil {
			s.seen.fresh(topic, version)
		}
	}
}

// changedAll tells everybody, after a time in which changes may have passed unseen.
func (s *Store) changedAll() {
	for _, topic := range watch.Topics {
		s.hub.Changed(topic)
	}
}

// poll compares the versions with those that were told of.
func (s *Store) poll(ctx context.Context) {
	for pause(ctx, pollInterval-pollInterval/10+rand.N(pollInterval/10)) {
		for _, topic := range watch.Topics {
			version, err := s.readVersion(ctx, topic)
			if err != nil || !s.seen.fresh(topic, version) {
				continue
			}
			if version == "" {
				s.reintroduce(ctx) // the server came back empty before a gate shut
			}
			s.hub.Changed(topic)
		}
	}
}

// reintroduce gives an empty server the identity it had.
func (s *Store) reintroduce(ctx context.Context) {
	bounded, cancel := bound(ctx, s.settings.Timeout)
	defer cancel()
	if err := s.introduce(bounded); err != nil && ctx.Err() == nil {
		s.logger.Warn("the store's identity cannot be put back", zap.Error(plain(err)))
	}
}

func (s *Store) readVersion(ctx context.Context, topic watch.Topic) (string, error) {
	bounded, cancel := bound(ctx, s.settings.Timeout)
	defer cancel()
	version, err := s.command(bounded, "get", s.version(topic)).Text()
	if errors.Is(err, goredis.Nil) {
		return "", nil
	}
	return version, err
}

// listenPatience is how long nothing may be heard before the server is asked
// whether it is there; when it is silent again the connection is given up.
const listenPatience = 2 * time.Second

// listen hears of changes.
func (s *Store) listen(ctx context.Context) {
	topics := make(map[string]watch.Topic, len(watch.Topics))
	channels := make([]string, 0, len(watch.Topics))
	for _, topic := range watch.Topics {
		topics[s.channel(topic)] = topic
		channels = append(channels, s.channel(topic))
	}
	for again := false; ; again = true {
		if s.allOpen() {
			s.hear(ctx, channels, topics, again)
		}
		if !pause(ctx, shutFor+rand.N(shutFor/2)) {
			return
		}
	}
}

// hear listens on one connection until it breaks.
func (s *Store) hear(ctx context.Context, channels []string, topics map[string]watch.Topic, again bool) {
	heard := s.client.Subscribe(ctx, channels...)
	defer func() { _ = heard.Close() }()
	defer context.AfterFunc(ctx, func() { _ = heard.Close() })()
	asked := false
	for ctx.Err() == nil {
		message, err := heard.ReceiveTimeout(ctx, listenPatience)
		switch m := message.(type) {
		case *goredis.Message:
			asked = false
			if topic := topics[m.Channel]; s.seen.fresh(topic, m.Payload) {
				s.hub.Changed(topic)
			}
			continue
		case *goredis.Subscription:
			if again && m.Count == len(channels) {
				s.changedAll() // what happened in between was not heard
			}
			continue
		}
		if err == nil {
			asked = false // a pong
			continue
		}
		if asked || !errors.Is(err, os.ErrDeadlineExceeded) || heard.Ping(ctx) != nil {
			return
		}
		asked = true
	}
}
