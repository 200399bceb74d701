package nodeapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/modules/fleet/problem"
	"github.com/caddy-federation/caddy-federation/store"
)

const (
	eventsAtOnce = 100
	// heartbeat keeps the line open through proxies, and finds out who left.
	heartbeat = 15 * time.Second
	// writeTimeout is how long a reader may take for what it is sent.
	writeTimeout = 10 * time.Second
)

// events answers GET /v1/events with a stream (text/event-stream): what
// happens from now on, or after `since` or Last-Event-ID. A stream ends when
// its caller may no longer listen, and with the gateway's config; the reader
// comes back with the last id and misses nothing.
func (h *Handler) events(x *exchange) error {
	if allowed, err := x.may(mayReadNodes, ""); !allowed {
		return err
	}
	if !h.streams.begin(x.caller.ID) {
		return x.refuse(&problem.Problem{Status: http.StatusTooManyRequests, Code: "too_many_streams",
			Detail: fmt.Sprintf("this caller already has %d streams of events open at this gateway", maxStreams)})
	}
	defer h.streams.end(x.caller.ID)
	opened := h.fleet.Store()
	if opened == nil {
		return h.fail(x, &fleet.NodeError{Code: fleet.CodeRegistryDown, Detail: "the gateway is still starting"})
	}
	since := x.Header.Get("Last-Event-ID")
	if given := x.URL.Query().Get("since"); given != "" {
		since = given
	}
	sequence, err := strconv.ParseUint(since, 10, 63)
	if since != "" && err != nil {
		return x.refuse(invalid("invalid_request", "since: expected the id of an event"))
	}
	// watched before it is read, so that nothing falls in between
	changes, err := opened.Events().Watch(x.Context())
	if err != nil {
		return h.fail(x, err)
	}
	last, err := latest(x, opened.Events(), sequence)
	if err != nil {
		return h.fail(x, err)
	}
	switch {
	case since == "":
		sequence = last
	case sequence > last: // of a store that was emptied meanwhile
		sequence = 0
	}
	header := x.w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no")
	x.w.WriteHeader(http.StatusOK)
	if x.Method == http.MethodHead {
		return nil
	}
	return h.stream(x, opened.Events(), changes, sequence)
}

// latest is the sequence of the last event, 0 when there is none. after is
// where to begin to look.
func latest(x *exchange, events store.Events, after uint64) (sequence uint64, err error) {
	if page, err := events.Since(x.Context(), after, 1); err != nil || len(page) == 0 && after > 0 {
		if err != nil {
			return 0, err
		}
		after = 0
	}
	for sequence = after; ; {
		page, err := events.Since(x.Context(), sequence, store.MaxEvents)
		if err != nil || len(page) == 0 {
			return sequence, err
		}
		sequence = page[len(page)-1].Sequence
	}
}

func (h *Handler) stream(x *exchange, events store.Events, changes <-chan struct{}, sequence uint64) error {
	control := http.NewResponseController(x.w)
	stands := h.fleet.Session(x.caller, mayReadNodes)
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	text := bytes.NewBufferString("retry: 1000\n\n")
	for stands() {
		page, err := events.Since(x.Context(), sequence, eventsAtOnce)
		if err != nil && text.Len() == 0 {
			text.WriteString(": the store cannot be read now\n\n")
		}
		for _, event := range page {
			sequence = event.Sequence
			appendEvent(text, event)
		}
		if text.Len() > 0 {
			_ = control.SetWriteDeadline(time.Now().Add(writeTimeout))
			if _, err := x.w.Write(text.Bytes()); err != nil {
				return nil // the reader left, or is too slow
			}
			if err := control.Flush(); err != nil {
				return nil
			}
			text.Reset()
		}
		if len(page) == eventsAtOnce {
			continue
		}
		select {
		case <-x.Context().Done():
			return nil
		case <-h.closing.Done():
			return nil
		case _, more := <-changes:
			if !more {
				return nil
			}
		case <-beat.C:
			text.WriteString(": still here\n\n")
		}
	}
	return nil // the caller may no longer listen
}

// appendEvent writes one event. What it says is JSON on one line, so nothing
// in it can be taken for a field.
func appendEvent(text *bytes.Buffer, event store.Event) {
	data, err := json.Marshal(struct {
		ID   uint64          `json:"id"`
		Time string          `json:"time"`
		Kind string          `json:"event"`
		Node string          `json:"node,omitempty"`
		Data json.RawMessage `json:"data"`
	}{event.Sequence, event.Time.UTC().Format(timeFormat), event.Kind, event.Node, event.Data})
	if err != nil {
		return // a record that is no JSON is not shown
	}
	fmt.Fprintf(text, "id: %d\nevent: %s\ndata: %s\n\n", event.Sequence, event.Kind, data)
}
