package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
)

// journal: a hash per run, sorted sets of ids, all and by state, a sorted set
// of the ends of runs, and a hash per claim that expires by itself.
type journal struct{ *Store }

func (j journal) at(rest string) string { return j.key(runsAt, rest) }

func (j journal) Create(ctx context.Context, run store.Run, claim *store.Claim, claimFor time.Duration) (store.Run, *store.Claim, error) {
	what := fmt.Sprintf("creating run %q", run.ID)
	args := []any{j.at(""), run.ID, run.State, micros(run.Expires), run.Data}
	names, claimed := []string{run.ID}, ""
	if claim != nil {
		claimed = claim.Key
		names = append(names, claim.Key)
		args = append(args, claim.Fingerprint, claim.Run, claimFor.Milliseconds())
	}
	if err := checkRecord(len(run.Data), names...); err != nil {
		return store.Run{}, nil, fmt.Errorf("%s: %w", what, err)
	}
	r, err := j.run(ctx, what, runCreate, []string{j.at(":run:" + run.ID), j.at(":claim:" + claimed)}, args...)
	if err != nil {
		if errors.Is(err, store.ErrExists) && len(r) == 2 {
			return store.Run{}, &store.Claim{Key: claimed, Fingerprint: r.text(0), Run: r.text(1)}, err
		}
		return store.Run{}, nil, err
	}
	run.Revision = 1
	return run, nil, nil
}

func (j journal) Get(ctx context.Context, id string) (store.Run, error) {
	r, err := j.run(ctx, fmt.Sprintf("getting run %q", id), runGet, []string{j.at(":run:" + id)})
	if err != nil {
		return store.Run{}, err
	}
	return readRun(id, r), nil
}

// readRun reads revision, state, end and data of a run.
func readRun(id string, r reply) store.Run {
	return store.Run{ID: id, Revision: uint64(r.number(0)), State: r.text(1), Expires: r.time(2), Data: []byte(r.text(3))}
}

func (j journal) Update(ctx context.Context, run store.Run) (store.Run, error) {
	what := fmt.Sprintf("updating run %q", run.ID)
	if err := checkRecord(len(run.Data), run.ID); err != nil {
		return store.Run{}, fmt.Errorf("%s: %w", what, err)
	}
	_, err := j.run(ctx, what, runUpdate, []string{j.at(":run:" + run.ID)},
		j.at(""), run.ID, run.State, micros(run.Expires), run.Data, run.Revision)
	if err != nil {
		return store.Run{}, err
	}
	run.Revision++
	return run, nil
}

func (j journal) List(ctx context.Context, state, before string, limit int) ([]store.Run, error) {
	index := j.at(":ids")
	if state != "" {
		index = j.at(":state:" + state)
	}
	below := "+"
	if before != "" {
		below = "(" + before
	}
	r, err := j.runLong(ctx, "listing runs", runList, []string{index}, j.at(""), below, limit)
	if err != nil {
		return nil, err
	}
	var runs []store.Run
	for i := range r.list(0) {
		item := r.list(0).list(i)
		runs = append(runs, readRun(item.text(0), item[1:]))
	}
	return runs, nil
}
