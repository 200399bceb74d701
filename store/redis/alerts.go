package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/caddy-federation/caddy-federation/store"
)

// alerts: a hash of the state with the counters, a list per webhook of
// "<sequence> <created> <key>\n<body>", and a hash of the claims of their
// first items: "<sequence> <claim> <taken until> <attempts>" by webhook.
type alerts struct{ *Store }

func (a alerts) at(rest string) string { return a.key(alertsAt, rest) }

func (a alerts) State(ctx context.Context) (store.AlertState, error) {
	r, err := a.runLong(ctx, "reading the alerts", alertState, []string{a.at(":state")})
	if err != nil || r.number(0) == 0 {
		return store.AlertState{}, err
	}
	return store.AlertState{Revision: uint64(r.number(0)), Data: []byte(r.text(1))}, nil
}

func (a alerts) Revision(ctx context.Context) (uint64, error) {
	const what = "reading the revision of the alerts"
	if err := a.usable(ctx); err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	bounded, cancel := bound(ctx, a.settings.Timeout)
	defer cancel()
	revision, err := a.command(bounded, "hget", a.at(":state"), "revision").Uint64()
	if err != nil && !errors.Is(err, goredis.Nil) {
		return 0, fmt.Errorf("%s: %w", what, bounded.plain(ctx, err))
	}
	return revision, nil
}

func (a alerts) Commit(ctx context.Context, state store.AlertState, deliveries []store.Delivery) (store.AlertState, int, error) {
	const what = "storing the alerts"
	if err := checkRecord(len(state.Data)); err != nil {
		return store.AlertState{}, 0, fmt.Errorf("%s: %w", what, err)
	}
	args := []any{a.at(""), state.Revision, state.Data, store.MaxDeliveries, store.DeliveryTTL.Milliseconds()}
	for _, d := range deliveries {
		if err := checkRecord(len(d.Body), d.Webhook, d.Key); err != nil {
			return store.AlertState{}, 0, fmt.Errorf("%s: %w", what, err)
		}
		args = append(args, d.Webhook, d.Key, d.Body)
	}
	r, err := a.runLong(ctx, what, alertCommit, []string{a.at(":state")}, args...)
	if err != nil {
		return store.AlertState{}, 0, err
	}
	state.Revision = uint64(r.number(0))
	return state, int(r.number(1)), nil
}

func (a alerts) Claim(ctx context.Context, webhook string, ttl time.Duration) (store.Delivery, error) {
	what := fmt.Sprintf("claiming a delivery to webhook %q", webhook)
	if err := store.CheckKeys(webhook); err != nil {
		return store.Delivery{}, fmt.Errorf("%s: %w", what, err)
	}
	r, err := a.runLong(ctx, what, alertClaim, []string{a.at(":state"), a.at(":heads"), a.at(":queue:" + webhook)},
		webhook, ttl.Microseconds(), store.DeliveryTTL.Microseconds())
	if err != nil {
		return store.Delivery{}, err
	}
	line, body, _ := strings.Cut(r.text(0), "\n")
	words := strings.SplitN(line, " ", 3)
	if len(words) != 3 {
		return store.Delivery{}, fmt.Errorf("%s: %w", what, errUnread)
	}
	numbers, err := readHead(words[0]+" "+words[1], 2)
	if err != nil {
		return store.Delivery{}, fmt.Errorf("%s: %w", what, err)
	}
	return store.Delivery{
		Webhook: webhook, Sequence: uint64(numbers[0]), Created: moment(numbers[1]), Key: words[2], Body: []byte(body),
		Claim: uint64(r.number(1)), Attempts: int(r.number(2)),
	}, nil
}

func (a alerts) settle(ctx context.Context, what string, d store.Delivery, more ...any) error {
	_, err := a.run(ctx, fmt.Sprintf("%s delivery %q to webhook %q", what, d.Key, d.Webhook), alertSettle,
		[]string{a.at(":heads"), a.at(":queue:" + d.Webhook)}, append([]any{d.Webhook, d.Sequence, d.Claim}, more...)...)
	return err
}

func (a alerts) Finish(ctx context.Context, d store.Delivery) error {
	return a.settle(ctx, "finishing", d)
}

func (a alerts) Postpone(ctx context.Context, d store.Delivery, wait time.Duration) error {
	return a.settle(ctx, "postponing", d, wait.Microseconds())
}

func (a alerts) Pending(ctx context.Context, webhook string) (int, error) {
	r, err := a.run(ctx, fmt.Sprintf("counting the deliveries to webhook %q", webhook), alertPending, []string{a.at(":queue:" + webhook)})
	return int(r.number(0)), err
}
