package kv

import (
	"context"
	"fmt"
	"slices"

	"github.com/caddy-federation/caddy-federation/store"
)

type requests struct{ *Store }

// head says which lines of a node are kept: First up to, not with, Next.
type head struct {
	First, Next uint64
}

func lineKey(node string, n uint64) string { return node + "/" + sequenceKey(n) }

func (r requests) Append(ctx context.Context, records []store.RequestRecord) error {
	byNode := make(map[string][]store.RequestRecord)
	for _, record := range records {
		byNode[record.Node] = append(byNode[record.Node], record)
	}
	return r.update(ctx, "writing the request log", func(tx Tx) error {
		for node, lines := range byNode {
			if err := store.CheckKeys(node); err != nil {
				return err
			}
			if err := appendLines(tx, node, lines); err != nil {
				return err
			}
		}
		return nil
	})
}

func appendLines(tx Tx, node string, lines []store.RequestRecord) error {
	var h head
	if _, err := get(tx, bucketHeads, node, &h); err != nil {
		return err
	}
	slices.SortStableFunc(lines, func(a, b store.RequestRecord) int { return a.Time.Compare(b.Time) })
	for _, line := range lines[max(0, len(lines)-store.MaxRequests):] {
		if err := put(tx, bucketRequests, lineKey(node, h.Next), line); err != nil {
			return err
		}
		h.Next++
	}
	for h.Next-h.First > store.MaxRequests {
		if err := tx.Delete(bucketRequests, lineKey(node, h.First)); err != nil {
			return err
		}
		h.First++
	}
	return put(tx, bucketHeads, node, h)
}

func (r requests) Last(ctx context.Context, node string, limit int) (records []store.RequestRecord, err error) {
	err = r.view(ctx, "reading the request log", func(tx Tx) error {
		nodes := []string{node}
		if node == "" {
			nodes = nodes[:0]
			tx.Ascend(bucketHeads, "", func(key string, _ []byte) bool {
				nodes = append(nodes, key)
				return true
			})
		}
		for _, slug := range nodes {
			lines, err := lastLines(tx, slug, limit)
			if err != nil {
				return err
			}
			records = append(records, lines...)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(records, func(a, b store.RequestRecord) int { return b.Time.Compare(a.Time) })
	return records[:min(max(limit, 0), len(records))], nil
}

// lastLines returns the newest lines of a node, the newest first.
func lastLines(tx Tx, node string, limit int) (lines []store.RequestRecord, err error) {
	prefix := node + "/"
	tx.Descend(bucketRequests, node+"0", func(key string, text []byte) bool { // "0" follows "/"
		if len(lines) >= limit || len(key) != len(prefix)+16 || key[:len(prefix)] != prefix {
			return false
		}
		var line store.RequestRecord
		if err = decode(bucketRequests, key, text, &line); err != nil {
			return false
		}
		lines = append(lines, line)
		return true
	})
	return lines, err
}

func (r requests) DeleteNode(ctx context.Context, node string) error {
	return r.update(ctx, fmt.Sprintf("deleting the request log of node %q", node), func(tx Tx) error {
		var h head
		if _, err := get(tx, bucketHeads, node, &h); err != nil {
			return err
		}
		for n := h.First; n < h.Next; n++ {
			if err := tx.Delete(bucketRequests, lineKey(node, n)); err != nil {
				return err
			}
		}
		return tx.Delete(bucketHeads, node)
	})
}
