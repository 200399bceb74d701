package redis

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
)

// requests: a list of lines per node, the newest first, and the set of nodes
// that have one.
type requests struct{ *Store }

// logRetention is how long the log of a node that is not called is kept.
const logRetention = 30 * 24 * time.Hour

func (q requests) at(rest string) string { return q.key(linesAt, rest) }

func (q requests) Append(ctx context.Context, records []store.RequestRecord) error {
	const what = "writing the request log"
	byNode := make(map[string][]store.RequestRecord)
	for _, record := range records {
		byNode[record.Node] = append(byNode[record.Node], record)
	}
	args := []any{q.at(""), store.MaxRequests, logRetention.Milliseconds()}
	for node, lines := range byNode {
		if err := store.CheckKeys(node); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		slices.SortStableFunc(lines, func(a, b store.RequestRecord) int { return a.Time.Compare(b.Time) })
		lines = lines[max(0, len(lines)-store.MaxRequests):]
		args = append(args, node, len(lines))
		for _, line := range lines {
			text, err := json.Marshal(line)
			if err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			args = append(args, text)
		}
	}
	_, err := q.runLong(ctx, what, requestAppend, []string{q.at(":nodes")}, args...)
	return err
}

func (q requests) Last(ctx context.Context, node string, limit int) ([]store.RequestRecord, error) {
	const what = "reading the request log"
	if limit <= 0 {
		return nil, q.usable(ctx)
	}
	args := []any{q.at(""), limit}
	if node != "" {
		args = append(args, node)
	}
	r, err := q.runLong(ctx, what, requestLast, []string{q.at(":nodes")}, args...)
	if err != nil {
		return nil, err
	}
	lines := r.list(0)
	records := make([]store.RequestRecord, len(lines))
	for i := range lines {
		if err := json.Unmarshal([]byte(lines.text(i)), &records[i]); err != nil {
			return nil, fmt.Errorf("%s: %w", what, errUnread)
		}
	}
	slices.SortStableFunc(records, func(a, b store.RequestRecord) int { return b.Time.Compare(a.Time) })
	return records[:min(limit, len(records))], nil
}

func (q requests) DeleteNode(ctx context.Context, node string) error {
	_, err := q.run(ctx, fmt.Sprintf("deleting the request log of node %q", node), requestDelete,
		[]string{q.at(":nodes"), q.at(":log:" + node)}, node)
	return err
}
