package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/watch"
)

// nodes: a hash of "<id> <revision> <updated>\n<data>" by slug, a hash of ids
// by slug, and the last id.
type nodes struct{ *Store }

func (n nodes) keys(names ...string) []string {
	keys := make([]string, len(names))
	for i, name := range names {
		keys[i] = n.key(nodesAt, ":"+name)
	}
	return keys
}

func (n nodes) List(ctx context.Context) ([]store.NodeRecord, error) {
	const what = "listing nodes"
	r, err := n.runLong(ctx, what, hashAllScript, n.keys("records"))
	if err != nil {
		return nil, err
	}
	all := r.list(1)
	var records []store.NodeRecord
	for i := 0; i+1 < len(all); i += 2 {
		record, err := readNode(all.text(i), all.text(i+1))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		records = append(records, record)
		n.saw(record.ID)
	}
	slices.SortFunc(records, func(a, b store.NodeRecord) int { return strings.Compare(a.Slug, b.Slug) })
	return records, nil
}

func (n nodes) Get(ctx context.Context, slug string) (store.NodeRecord, error) {
	what := fmt.Sprintf("getting node %q", slug)
	r, err := n.run(ctx, what, nodeGet, n.keys("records", "last_id"), slug, n.lastID.Load())
	if err != nil {
		return store.NodeRecord{}, n.noticed(err)
	}
	record, err := readNode(slug, r.text(0))
	if err != nil {
		return store.NodeRecord{}, fmt.Errorf("%s: %w", what, err)
	}
	return record, nil
}

// readNode reads what is stored of a node.
func readNode(slug, text string) (store.NodeRecord, error) {
	head, data, _ := strings.Cut(text, "\n")
	numbers, err := readHead(head, 3)
	if err != nil {
		return store.NodeRecord{}, fmt.Errorf("record %q: %w", slug, err)
	}
	return store.NodeRecord{
		Slug: slug, ID: numbers[0], Revision: uint64(numbers[1]), Updated: moment(numbers[2]), Data: []byte(data),
	}, nil
}

// readHead reads the n numbers that a record begins with.
func readHead(head string, n int) ([]int64, error) {
	words := strings.Split(head, " ")
	if len(words) != n {
		return nil, errUnread
	}
	numbers := make([]int64, n)
	for i, word := range words {
		var err error
		if numbers[i], err = strconv.ParseInt(word, 10, 64); err != nil {
			return nil, errUnread
		}
	}
	return numbers, nil
}

func (n nodes) Put(ctx context.Context, record store.NodeRecord) (store.NodeRecord, error) {
	what := fmt.Sprintf("putting node %q", record.Slug)
	if err := checkRecord(len(record.Data), record.Slug); err != nil {
		return store.NodeRecord{}, fmt.Errorf("%s: %w", what, err)
	}
	r, err := n.run(ctx, what, nodePut, n.keys("records", "ids", "last_id", "version"),
		record.Slug, record.Revision, record.Data, n.channel(watch.Nodes), n.lastID.Load(), record.ID)
	if err != nil {
		return store.NodeRecord{}, n.noticed(err)
	}
	stored, err := readNode(record.Slug, r.text(0))
	if err != nil {
		return store.NodeRecord{}, fmt.Errorf("%s: %w", what, err)
	}
	n.saw(stored.ID)
	stored.Data = record.Data
	return stored, nil
}

// saw remembers the highest number.
func (n nodes) saw(id int64) {
	for last := n.lastID.Load(); id > last && !n.lastID.CompareAndSwap(last, id); last = n.lastID.Load() {
	}
}

// noticed tells those who watch, who put back what they know, that the server
// has forgotten it.
func (n nodes) noticed(err error) error {
	if errors.Is(err, errEmptied) {
		n.hub.Changed(watch.Nodes)
	}
	return err
}

// checkRecord refuses what is too large for any backend.
func checkRecord(size int, keys ...string) error {
	if size > store.MaxValue {
		return fmt.Errorf("a record of %d bytes: %w", size, store.ErrTooLarge)
	}
	return store.CheckKeys(keys...)
}

func (n nodes) Delete(ctx context.Context, slug string, revision uint64) error {
	_, err := n.run(ctx, fmt.Sprintf("deleting node %q", slug), nodeDelete, n.keys("records", "ids", "version", "last_id"),
		slug, revision, n.channel(watch.Nodes), n.lastID.Load())
	return n.noticed(err)
}

func (n nodes) ID(ctx context.Context, slug string) (int64, error) {
	r, err := n.run(ctx, fmt.Sprintf("getting the id of node %q", slug), nodeID, n.keys("ids", "last_id"), slug, n.lastID.Load())
	if err != nil {
		return 0, n.noticed(err)
	}
	return r.number(0), nil
}

func (n nodes) AssignIDs(ctx context.Context, slugs []string) (map[string]int64, error) {
	const what = "numbering nodes"
	if err := store.CheckKeys(slugs...); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	ids := make(map[string]int64, len(slugs))
	// in one order, so that a new federation is numbered the same everywhere
	sorted := slices.Sorted(slices.Values(slugs))
	args := []any{n.lastID.Load()}
	for _, slug := range sorted {
		args = append(args, slug)
	}
	r, err := n.runLong(ctx, what, nodeIDs, n.keys("ids", "last_id"), args...)
	if err != nil {
		return nil, n.noticed(err)
	}
	for i, slug := range sorted {
		ids[slug] = r.number(i)
		n.saw(ids[slug])
	}
	return ids, nil
}

func (n nodes) Restore(ctx context.Context, ids map[string]int64, records []store.NodeRecord) error {
	const what = "restoring nodes"
	var last int64
	args := []any{n.channel(watch.Nodes), nil, len(ids)}
	for slug, id := range ids {
		if err := store.CheckKeys(slug); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		last = max(last, id)
		args = append(args, slug, id)
	}
	last = max(last, n.lastID.Load())
	args[1] = last
	for _, record := range records {
		if _, known := ids[record.Slug]; !known {
			return fmt.Errorf("%s: node %q has no id: %w", what, record.Slug, store.ErrNotFound)
		}
		args = append(args, record.Slug, record.Revision, micros(record.Updated), record.Data)
	}
	if last == 0 {
		return n.usable(ctx)
	}
	_, err := n.runLong(ctx, what, nodeRestore, n.keys("records", "ids", "last_id", "version"), args...)
	if err == nil {
		n.saw(last)
	}
	return err
}

func (n nodes) Watch(ctx context.Context) (<-chan struct{}, error) {
	return n.hub.Watch(ctx, watch.Nodes)
}
