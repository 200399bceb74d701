package fleet

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/store"
)

// StoreState tells whether the store can be used, and what happens when not.
type StoreState struct {
	// Usable is whether the store could be read and written when it was last asked.
	Usable bool `json:"usable"`
	// Full is whether it can be read and has no room for what is written.
	Full bool `json:"full,omitempty"`
	// Shared is whether other gateways can use the same store.
	Shared bool `json:"shared"`
	// Since is when Usable became what it is, on this gateway's clock.
	Since time.Time `json:"since"`
	// Error is why the store cannot be used, in words. Empty while it can.
	Error string `json:"error,omitempty"`
	// Modes says what each feature does while the store cannot be used, by the
	// feature's name.
	Modes map[string]string `json:"modes"`
}

// What features do while the store cannot be used.
const (
	// StoreModeLocal goes on with what this gateway knows by itself.
	StoreModeLocal = "local"
	// StoreModeOpen lets everything pass.
	StoreModeOpen = "open"
	// StoreModeClosed refuses.
	StoreModeClosed = "closed"
)

// storeHealth is what is known of the store over config reloads.
type storeHealth struct {
	state    atomic.Pointer[StoreState] // without modes
	identity atomic.Pointer[string]     // a random one until the store's is known
	learned  atomic.Bool                // it is the store's
	names    atomic.Pointer[[]string]   // all identities that this process had
	mu       sync.Mutex                 // one identity after the other
	memory   recollection
}

// storeModes are what the features of one config declared.
type storeModes struct {
	mu    sync.Mutex
	modes map[string]string
}

// The store is asked once in this time whether it is there.
const (
	storeCheckInterval = time.Second
	storeCheckTimeout  = time.Second
)

// DeclareStoreMode tells what a feature of this config does while the store
// cannot be used, for [App.StoreState]. Call it while provisioning. The mode
// is one of [StoreModeLocal], [StoreModeOpen] and [StoreModeClosed], or a few
// words when none of them says it.
func (a *App) DeclareStoreMode(feature, mode string) {
	a.modes.mu.Lock()
	defer a.modes.mu.Unlock()
	if a.modes.modes == nil {
		a.modes.modes = make(map[string]string)
	}
	a.modes.modes[feature] = mode
}

// StoreState returns whether the store can be used, as it was at most a
// second ago, and the declared modes. Before Start it is not usable.
func (a *App) StoreState() StoreState {
	state := StoreState{Error: "the federation has not started"}
	if seen := a.shared.store.state.Load(); seen != nil && a.Store() != nil {
		state = *seen
	}
	a.modes.mu.Lock()
	defer a.modes.mu.Unlock()
	state.Modes = maps.Clone(a.modes.modes)
	return state
}

// watchStore asks the store again and again whether it is there.
func (a *App) watchStore(ctx context.Context, opened store.Store) {
	ticker := time.NewTicker(storeCheckInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		bounded, cancel := context.WithTimeout(ctx, storeCheckTimeout)
		err := opened.Ping(bounded)
		if err == nil {
			a.learnIdentity(bounded, opened)
		}
		cancel()
		if ctx.Err() == nil {
			a.noteStore(opened, err)
		}
	}
}

// noteStore remembers how the store is. Of a change it is told once, also
// when two configs look at once during a reload.
func (a *App) noteStore(opened store.Store, err error) {
	health := &a.shared.store
	was := health.state.Load()
	now := &StoreState{Usable: err == nil, Shared: opened.Shared(), Since: time.Now()}
	if err != nil {
		now.Error, now.Full = err.Error(), errors.Is(err, store.ErrFull)
	}
	if was != nil && was.Usable == now.Usable {
		now.Since = was.Since
		if was.Error != now.Error || was.Full != now.Full {
			health.state.CompareAndSwap(was, now)
		}
		return
	}
	if !health.state.CompareAndSwap(was, now) {
		return
	}
	switch {
	case err != nil:
		a.logger.Error("store lost: features go on as they declare", zap.Error(err), zap.Any("modes", a.StoreState().Modes))
		a.Emit("store_down", "", a.ofGateway(map[string]any{"error": now.Error, "shared": now.Shared}))
	case was != nil:
		a.logger.Info("store is back", zap.Duration("after", now.Since.Sub(was.Since)))
		a.Emit("store_up", "", a.ofGateway(map[string]any{"seconds": now.Since.Sub(was.Since).Seconds()}))
	}
}

// learnIdentity learns the store's identity, which may come late.
func (a *App) learnIdentity(ctx context.Context, opened store.Store) {
	if identity, err := opened.Identity(ctx); err == nil {
		a.shared.store.identify(identity)
		a.shared.store.learned.Store(true)
	}
}

// ensureIdentity gives the federation an identity of this process's own until
// the store's is known, so that loops through this gateway are seen.
func (h *storeHealth) ensureIdentity() error {
	if h.identity.Load() != nil {
		return nil
	}
	random := make([]byte, 16)
	if _, err := rand.Read(random); err != nil {
		return err
	}
	h.identify(hex.EncodeToString(random))
	return nil
}

// identify takes over an identity. What was sent under one before is known
// still: other identities are other federations.
func (h *storeHealth) identify(identity string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if names := h.known(); !slices.Contains(names, identity) {
		names = append(slices.Clone(names), identity)
		h.names.Store(&names)
	}
	if now := h.identity.Load(); now == nil || *now != identity {
		h.identity.Store(&identity)
	}
}

// known are the identities that this process had.
func (h *storeHealth) known() []string {
	if names := h.names.Load(); names != nil {
		return *names
	}
	return nil
}

// sender is how what is sent to a node names this federation.
func (h *storeHealth) sender() string {
	if identity := h.identity.Load(); identity != nil {
		return *identity
	}
	return ""
}
