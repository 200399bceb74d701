package fleet

import (
	"context"
	"encoding/json"

	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/modules/fleet/alert"
	"github.com/caddy-federation/caddy-federation/store"
)

// load reads the state and counts what waits then.
func (p *alertPlanner) load(ctx context.Context, begins bool) error {
	if err := p.read(ctx, begins); err != nil {
		return err
	}
	for _, hook := range p.app.alertHooks {
		if err := p.count(ctx, hook); err != nil {
			return err
		}
	}
	return nil
}

// read reads the state. Where there is none, one begins if begins is set, else
// it is not known. Most of the time it is the one that is known already, so its
// revision is looked at first.
func (p *alertPlanner) read(ctx context.Context, begins bool) error {
	if p.state != nil {
		revision, err := p.store.Alerts().Revision(ctx)
		if err != nil || revision != 0 && revision == p.revision {
			return err
		}
	}
	stored, err := p.store.Alerts().State(ctx)
	if err != nil {
		return err
	}
	switch {
	case stored.Revision != 0:
		read := new(alert.State)
		if err := json.Unmarshal(stored.Data, read); err != nil {
			p.app.logger.Error("what is stored of the alerts is left out: it cannot be read", zap.Error(err))
			read = nil
		}
		if read == nil {
			if read, err = p.begin(ctx); err != nil {
				return err
			}
		}
		p.remember(read, stored.Revision)
		return nil
	case !begins:
		return nil
	}
	first, err := p.begin(ctx)
	if err != nil {
		return err
	}
	p.revision = 0
	return p.commit(ctx, first, nil)
}

// begin is the state of a store that has none: what is known here, if a store
// lost it, else one that knows nothing of the past.
func (p *alertPlanner) begin(ctx context.Context) (*alert.State, error) {
	p.home.mu.Lock()
	last := p.home.shared
	p.home.mu.Unlock()
	if last != nil {
		known := last.Clone()
		known.Cursor = 0 // its events begin anew
		return known, nil
	}
	fresh := new(alert.State)
	for {
		page, err := p.store.Events().Since(ctx, fresh.Cursor, store.MaxEvents)
		if err != nil || len(page) == 0 {
			return fresh, err
		}
		fresh.Cursor = page[len(page)-1].Sequence
	}
}

func (p *alertPlanner) remember(state *alert.State, revision uint64) {
	p.state, p.revision = state, revision
	p.home.mu.Lock()
	defer p.home.mu.Unlock()
	p.home.shared = state.Clone()
	p.heed(state)
}

func (p *alertPlanner) count(ctx context.Context, hook *alertHook) error {
	n, err := p.store.Alerts().Pending(ctx, hook.id)
	if err == nil {
		p.home.mu.Lock()
		p.home.queue(hook.id).stored = n
		p.home.mu.Unlock()
	}
	return err
}
