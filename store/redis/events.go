package redis

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/watch"
)

// events: a list of "<sequence> <time>\n<JSON>", the oldest first. The last
// sequence is the topic's version.
type events struct{ *Store }

// eventBody is the part of an event that no script reads.
type eventBody struct {
	Kind string
	Node string
	Data []byte
}

func (e events) keys() []string { return []string{e.key(eventsAt, ":log"), e.version(watch.Events)} }

func (e events) Append(ctx context.Context, event store.Event) (store.Event, error) {
	const what = "storing an event"
	body, err := json.Marshal(eventBody{event.Kind, event.Node, event.Data})
	if err == nil {
		err = checkRecord(len(body))
	}
	if err != nil {
		return store.Event{}, fmt.Errorf("%s: %w", what, err)
	}
	r, err := e.run(ctx, what, eventAppend, e.keys(), body, store.MaxEvents, e.channel(watch.Events))
	if err != nil {
		return store.Event{}, err
	}
	event.Sequence, event.Time = uint64(r.number(0)), r.time(1)
	return event, nil
}

func (e events) Since(ctx context.Context, sequence uint64, limit int) ([]store.Event, error) {
	const what = "reading events"
	if limit <= 0 {
		return nil, e.usable(ctx)
	}
	r, err := e.runLong(ctx, what, eventSince, e.keys(), sequence, limit)
	if err != nil {
		return nil, err
	}
	var found []store.Event
	lines := r.list(0)
	for i := range lines {
		head, text, _ := strings.Cut(lines.text(i), "\n")
		numbers, err := readHead(head, 2)
		var body eventBody
		if err == nil && json.Unmarshal([]byte(text), &body) != nil {
			err = errUnread
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		found = append(found, store.Event{
			Sequence: uint64(numbers[0]), Time: moment(numbers[1]), Kind: body.Kind, Node: body.Node, Data: body.Data,
		})
	}
	return found, nil
}

func (e events) Watch(ctx context.Context) (<-chan struct{}, error) {
	return e.hub.Watch(ctx, watch.Events)
}
