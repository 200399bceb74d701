package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
)

// leases: a hash of "<end> <fence> <owner>" by name, the last fence, and a
// sorted set of their ends.
type leases struct{ *Store }

func (l leases) at(rest string) string { return l.key(leasesAt, rest) }

func (l leases) Acquire(ctx context.Context, name, owner string, ttl time.Duration) (store.Lease, error) {
	what := fmt.Sprintf("acquiring lease %q", name)
	if err := store.CheckKeys(name, owner); err != nil {
		return store.Lease{}, fmt.Errorf("%s: %w", what, err)
	}
	r, err := l.run(ctx, what, leaseAcquire, []string{l.at(":records"), l.at(":fence"), l.at(":ends")}, name, owner, ttl.Microseconds())
	if err != nil && !errors.Is(err, store.ErrHeld) {
		return store.Lease{}, err
	}
	return store.Lease{Name: name, Owner: r.text(2), Fence: uint64(r.number(1)), Expires: r.time(0)}, err
}

func (l leases) Release(ctx context.Context, name, owner string) error {
	_, err := l.run(ctx, fmt.Sprintf("releasing lease %q", name), leaseRelease, []string{l.at(":records"), l.at(":ends")}, name, owner)
	return err
}

func (l leases) List(ctx context.Context, prefix string) ([]store.Lease, error) {
	const what = "listing leases"
	r, err := l.runLong(ctx, what, hashAllScript, []string{l.at(":records")})
	if err != nil {
		return nil, err
	}
	now, all := r.time(0), r.list(1)
	var found []store.Lease
	for i := 0; i+1 < len(all); i += 2 {
		words := strings.SplitN(all.text(i+1), " ", 3)
		if len(words) != 3 {
			return nil, fmt.Errorf("%s: lease %q: %w", what, all.text(i), errUnread)
		}
		numbers, err := readHead(words[0]+" "+words[1], 2)
		if err != nil {
			return nil, fmt.Errorf("%s: lease %q: %w", what, all.text(i), err)
		}
		lease := store.Lease{Name: all.text(i), Owner: words[2], Fence: uint64(numbers[1]), Expires: moment(numbers[0])}
		if strings.HasPrefix(lease.Name, prefix) && lease.Expires.After(now) {
			found = append(found, lease)
		}
	}
	slices.SortFunc(found, func(a, b store.Lease) int { return strings.Compare(a.Name, b.Name) })
	return found, nil
}
