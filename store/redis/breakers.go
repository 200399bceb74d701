package redis

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/watch"
)

// breakers: a hash of "<generation> <updated>\n<JSON>" by node, and a sorted
// set of the trial calls that are out per node.
type breakers struct{ *Store }

func (b breakers) keys(node string) []string {
	return []string{b.key(breakAt, ":records"), b.key(breakAt, ":probes:"+node)}
}

// breakerBody is the part of a record that no script reads.
type breakerBody struct {
	State string
	Until int64 // microseconds
	Data  []byte
}

func (b breakers) List(ctx context.Context) ([]store.BreakerRecord, error) {
	const what = "listing breakers"
	r, err := b.runLong(ctx, what, hashAllScript, b.keys("")[:1])
	if err != nil {
		return nil, err
	}
	all := r.list(1)
	var records []store.BreakerRecord
	for i := 0; i+1 < len(all); i += 2 {
		head, text, _ := strings.Cut(all.text(i+1), "\n")
		numbers, err := readHead(head, 2)
		var body breakerBody
		if err == nil && json.Unmarshal([]byte(text), &body) != nil {
			err = errUnread
		}
		if err != nil {
			return nil, fmt.Errorf("%s: record %q: %w", what, all.text(i), err)
		}
		records = append(records, store.BreakerRecord{
			Node: all.text(i), Generation: uint64(numbers[0]), State: body.State, Until: moment(body.Until), Data: body.Data, Updated: moment(numbers[1]),
		})
	}
	slices.SortFunc(records, func(a, b store.BreakerRecord) int { return strings.Compare(a.Node, b.Node) })
	return records, nil
}

func (b breakers) Transition(ctx context.Context, record store.BreakerRecord) (store.BreakerRecord, error) {
	what := fmt.Sprintf("moving the breaker of node %q", record.Node)
	body, err := json.Marshal(breakerBody{record.State, micros(record.Until), record.Data})
	if err == nil {
		err = checkRecord(len(body), record.Node)
	}
	if err != nil {
		return store.BreakerRecord{}, fmt.Errorf("%s: %w", what, err)
	}
	r, err := b.run(ctx, what, breakerTransition, append(b.keys(record.Node), b.version(watch.Breakers)),
		record.Node, record.Generation, body, b.channel(watch.Breakers))
	if err != nil {
		return store.BreakerRecord{}, err
	}
	numbers, err := readHead(r.text(0), 2)
	if err != nil {
		return store.BreakerRecord{}, fmt.Errorf("%s: %w", what, err)
	}
	record.Generation, record.Updated = uint64(numbers[0]), moment(numbers[1])
	return record, nil
}

func (b breakers) ClaimProbe(ctx context.Context, node string, generation uint64, owner string, most int, hold time.Duration) error {
	_, err := b.run(ctx, fmt.Sprintf("claiming a trial call to node %q", node), breakerClaim, b.keys(node),
		node, generation, owner, most, hold.Microseconds())
	return err
}

func (b breakers) ReleaseProbe(ctx context.Context, node string, generation uint64, owner string) error {
	_, err := b.run(ctx, fmt.Sprintf("releasing a trial call to node %q", node), breakerRelease, b.keys(node), node, generation, owner)
	return err
}

func (b breakers) Delete(ctx context.Context, node string) error {
	_, err := b.run(ctx, fmt.Sprintf("deleting the breaker of node %q", node), breakerDelete, b.keys(node), node)
	return err
}

func (b breakers) Watch(ctx context.Context) (<-chan struct{}, error) {
	return b.hub.Watch(ctx, watch.Breakers)
}
