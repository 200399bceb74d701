package redis

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
)

// members: a hash of "<end> <beat>\n<data>" by id.
type members struct{ *Store }

func (m members) Beat(ctx context.Context, member store.Member, ttl time.Duration) ([]store.Member, time.Time, error) {
	what := fmt.Sprintf("renewing member %q", member.ID)
	if err := checkRecord(len(member.Data), member.ID); err != nil {
		return nil, time.Time{}, fmt.Errorf("%s: %w", what, err)
	}
	r, err := m.run(ctx, what, memberBeat, []string{m.key(memberAt, "")}, member.ID, member.Data, ttl.Microseconds())
	if err != nil {
		return nil, time.Time{}, err
	}
	all := r.list(1)
	alive := make([]store.Member, 0, len(all)/2)
	for i := 0; i+1 < len(all); i += 2 {
		head, data, _ := strings.Cut(all.text(i+1), "\n")
		numbers, err := readHead(head, 2)
		if err != nil {
			return nil, time.Time{}, fmt.Errorf("%s: member %q: %w", what, all.text(i), err)
		}
		alive = append(alive, store.Member{ID: all.text(i), Data: []byte(data), Beat: moment(numbers[1])})
	}
	slices.SortFunc(alive, func(a, b store.Member) int { return strings.Compare(a.ID, b.ID) })
	return alive, r.time(0), nil
}

func (m members) Leave(ctx context.Context, id string) error {
	what := fmt.Sprintf("leaving as member %q", id)
	if err := m.usable(ctx); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	bounded, cancel := bound(ctx, m.settings.Timeout)
	defer cancel()
	if err := m.command(bounded, "hdel", m.key(memberAt, ""), id).Err(); err != nil {
		return fmt.Errorf("%s: %w", what, bounded.plain(ctx, err))
	}
	return nil
}
