package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/modules/fleet/token"
	"github.com/caddy-federation/caddy-federation/store"
)

// How keys of others are read.
const (
	jwksTimeout    = 10 * time.Second
	maxJWKSSize    = 256 << 10
	jwksFresh      = time.Hour        // when the answer does not say
	jwksMinFresh   = time.Minute      // whatever it says
	jwksMaxFresh   = 24 * time.Hour   // whatever it says
	jwksMissPause  = 30 * time.Second // between two reads because of unknown kids
	jwksFirstRetry = time.Second
	jwksLastRetry  = 5 * time.Minute
)

// remoteKeys are the keys that others publish. They are read in the
// background; a request never waits for them.
type remoteKeys struct {
	mu    sync.Mutex // for assembling the set of all keys
	wakes []chan struct{}
}

// missed tells the readers that a token named a key that nobody knows.
func (r *remoteKeys) missed() {
	for _, wake := range r.wakes {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}

// start begins to follow what is granted, revoked and published, until ctx ends.
func (t *authority) start(ctx context.Context, opened store.Store, changes <-chan struct{}) {
	t.behind.ended = ctx.Done()
	t.app.running.Go(func() { t.watch(ctx, opened, changes) })
	t.app.running.Go(func() { t.keepUp(ctx, opened) })
	for i, config := range t.app.RemoteKeys {
		t.app.running.Go(func() { t.follow(ctx, config, t.remote.wakes[i]) })
	}
}

// follow reads one JWKS document again and again.
func (t *authority) follow(ctx context.Context, config JWKSConfig, wake <-chan struct{}) {
	logger := t.app.logger.With(zap.String("jwks", config.address()))
	failing := false
	t.loop(ctx, wake, func() (time.Duration, error) {
		keys, fresh, err := readJWKS(ctx, config)
		if ctx.Err() != nil {
			return 0, err
		}
		if err == nil {
			t.publish(config, keys, logger)
		}
		if (err != nil) != failing {
			failing = err != nil
			if failing {
				logger.Error("the keys cannot be read, the last known ones count", zap.Error(err))
			} else {
				logger.Info("the keys are read again")
			}
		}
		return fresh, err
	})
}

// loop reads until ctx ends: when what was read is no longer fresh, after a
// failure with growing pauses, and when a token named an unknown key, but for
// that not more often than every jwksMissPause.
func (t *authority) loop(ctx context.Context, wake <-chan struct{}, read func() (fresh time.Duration, err error)) {
	retry := jwksFirstRetry
	for {
		at := time.Now()
		pause, err := read()
		if err == nil {
			retry = jwksFirstRetry
		} else {
			pause, retry = retry, min(2*retry, jwksLastRetry)
		}
		// spread, so that gateways which started together do not ask together
		next := at.Add(pause - time.Duration(rand.Int64N(int64(pause)/4)))
		timer := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-wake:
			if soon := at.Add(jwksMissPause); soon.Before(next) {
				timer.Reset(time.Until(soon))
			}
			select {
			case <-ctx.Done():
			case <-timer.C:
			}
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
		select { // what was missed meanwhile is answered by the same read
		case <-wake:
		default:
		}
	}
}

// readJWKS reads one document, and how long it is fresh.
func readJWKS(ctx context.Context, config JWKSConfig) ([]*token.Key, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, jwksTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, config.URL, http.NoBody)
	if err != nil {
		return nil, 0, err
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	transport := newTransport(1, nil)
	defer transport.CloseIdleConnections()        // the next read is far off
	response, err := transport.RoundTrip(request) // and follows no redirect
	if err != nil {
		return nil, 0, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, 0, fmt.Errorf("the answer has status %d, expected 200", response.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxJWKSSize+1))
	if err != nil {
		return nil, 0, err
	}
	if len(text) > maxJWKSSize {
		return nil, 0, errors.New("the document is larger than 256 KiB")
	}
	keys, err := token.ParseJWKS(text)
	if err != nil {
		return nil, 0, err
	}
	for _, key := range keys {
		key.Issuer, key.Remote = config.Issuer, true
	}
	return keys, freshness(response.Header), nil
}

// freshness is what `Cache-Control: max-age` says, within reason.
func freshness(header http.Header) time.Duration {
	for _, directive := range strings.Split(strings.Join(header.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		if !strings.EqualFold(name, "max-age") {
			continue
		}
		if seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
			return min(max(time.Duration(seconds)*time.Second, jwksMinFresh), jwksMaxFresh)
		}
	}
	return jwksFresh
}

// publish takes over the keys of one document, and forgets the tokens of
// those that are gone.
func (t *authority) publish(config JWKSConfig, keys []*token.Key, logger *zap.Logger) {
	t.remote.mu.Lock()
	defer t.remote.mu.Unlock()
	known, _ := t.app.shared.remote.Load(config)
	old, _ := known.([]*token.Key)
	kept := 0
	for i, key := range keys {
		for _, was := range old {
			if key.Same(was) {
				keys[i] = was // its tokens stay verified
				kept++
			}
		}
	}
	if kept == len(keys) && kept == len(old) && t.holds(keys) {
		return
	}
	t.app.shared.remote.Store(config, keys)
	t.assemble(logger)
	if kept < len(old) {
		t.good.InvalidateAll()
	}
	logger.Info("keys were read", zap.Int("keys", len(keys)))
}

// holds tells whether the set of all keys has these.
func (t *authority) holds(keys []*token.Key) bool {
	set := t.keys.Load()
	for _, key := range keys {
		if set.Key(key.ID) == nil {
			return false
		}
	}
	return true
}

// assemble makes the set of all keys. A key of others never takes the place
// of one of ours, or of the document that was named before.
func (t *authority) assemble(logger *zap.Logger) {
	all := append([]*token.Key(nil), t.app.localKeys...)
	taken := make(map[string]bool)
	for _, key := range all {
		taken[key.ID] = true
	}
	for _, config := range t.app.RemoteKeys {
		known, _ := t.app.shared.remote.Load(config)
		keys, _ := known.([]*token.Key)
		for _, key := range keys {
			if taken[key.ID] {
				logger.Warn("key of a JWKS is left out: another has its id", zap.String("key", key.ID), zap.String("jwks", config.address()))
				continue
			}
			taken[key.ID] = true
			all = append(all, key)
		}
	}
	set, err := token.NewKeySet(all...)
	if err != nil { // no two have one id
		logger.Error("the keys cannot be put together", zap.Error(err))
		return
	}
	t.keys.Store(set)
}
