package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/modules/fleet/alert"
	"github.com/caddy-federation/caddy-federation/store"
)

// How messages are sent.
const (
	alertAttempt = 10 * time.Second // one attempt
	alertGrace   = 2 * time.Second  // for one that runs at a stop
	// alertClaim is how long a delivery is this gateway's: longer than an
	// attempt, so that another takes it only when this one died.
	alertClaim      = 30 * time.Second
	maxAlertAnswer  = 4 << 10
	alertSettleTime = 2 * time.Second
)

// alertSender sends one webhook its messages, one after the other, in one
// goroutine: the end of an alert is never there before its beginning. Those in
// memory are sent while the store is lost, and those in the store while it is
// not; in between the planner hands the former over.
type alertSender struct {
	app     *App
	home    *alerting
	hook    *alertHook
	alerts  store.Alerts
	leads   *atomic.Bool
	wake    chan struct{}
	asks    chan<- struct{} // told when the webhook asks for a pause
	failing bool            // the store
}

func (s *alertSender) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run sends what is due until ctx ends.
func (s *alertSender) run(ctx context.Context) {
	for {
		for ctx.Err() == nil && (s.sendOwn(ctx) || s.sendStored(ctx)) {
		}
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
	}
}

// sendOwn tries the first message that is in memory, if one is due.
func (s *alertSender) sendOwn(ctx context.Context) bool {
	h := s.home
	h.mu.Lock()
	q := h.queue(s.hook.id)
	if len(q.waiting) == 0 || q.until.After(time.Now()) || h.handing || s.app.storeOutage() == "" {
		h.mu.Unlock()
		return false
	}
	d := q.waiting[0]
	d.Attempts++
	q.sending = true
	h.alone.Try(d.message, s.hook.route.Webhook)
	h.mu.Unlock()

	over, _ := s.try(ctx, d.Delivery, s.app.shared.circuits.now())

	h.mu.Lock()
	defer h.mu.Unlock()
	q.sending = false
	if len(q.waiting) == 0 || q.waiting[0].Key != d.Key {
		return true // it made room meanwhile
	}
	if q.waiting[0] = d; over {
		q.waiting = q.waiting[1:]
	}
	return true
}

// sendStored tries the first message that is in the store, if one is due and
// this gateway is the one that sends them.
func (s *alertSender) sendStored(ctx context.Context) bool {
	if !s.leads.Load() || s.paused() {
		return false
	}
	bounded, cancel := context.WithTimeout(ctx, alertSettleTime)
	d, err := s.alerts.Claim(bounded, s.hook.id, alertClaim)
	cancel()
	s.note(ctx, err)
	if err != nil {
		return false
	}
	h := s.home
	h.mu.Lock()
	q := h.queue(s.hook.id)
	over := q.done == d.Key // and the store could not be told
	// it may have waited while other gateways, or an earlier process, sent
	q.noteAge(time.Now().Add(d.Created.Sub(s.app.shared.circuits.now())))
	h.mu.Unlock()
	var wait time.Duration
	if !over {
		if wait, err = s.asked(ctx); err != nil { // the claim lapses
			s.note(ctx, err)
			return false
		}
	}
	if !over && wait == 0 {
		over, wait = s.try(ctx, d, s.app.shared.circuits.now())
	}

	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), alertSettleTime)
	defer cancel()
	if over {
		h.mu.Lock()
		q.done, q.stored = d.Key, max(q.stored-1, 0)
		h.mu.Unlock()
		err = s.alerts.Finish(last, d)
	} else {
		err = s.alerts.Postpone(last, d, wait)
	}
	if errors.Is(err, store.ErrConflict) {
		err = nil // it made room, or another gateway took it over
	}
	s.note(ctx, err)
	return err == nil
}

// note logs once when the store does not hand messages out, and once when it
// does again. The claim of a message that it could not be told of lapses.
func (s *alertSender) note(ctx context.Context, err error) {
	failing := err != nil && !errors.Is(err, store.ErrNotFound)
	if failing == s.failing || ctx.Err() != nil {
		return
	}
	if s.failing = failing; failing {
		s.app.logger.Warn("alerts wait: the store does not hand them out", zap.Int("webhook", s.hook.number), zap.Error(err))
	} else {
		s.app.logger.Info("the store hands alerts out again", zap.Int("webhook", s.hook.number))
	}
}

// try makes one attempt, and tells whether that was the last one, or how long
// to wait for the next. now is on the clock that the message was created on.
func (s *alertSender) try(ctx context.Context, d store.Delivery, now time.Time) (over bool, wait time.Duration) {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), alertAttempt)
	defer cancel()
	// a stop leaves the attempt that runs a moment: cut off, it may have
	// arrived and would be made again
	stopping := context.AfterFunc(ctx, func() {
		select {
		case <-bounded.Done():
		case <-time.After(alertGrace):
			cancel()
		}
	})
	defer stopping()
	result := s.hook.post(bounded, d.Key, d.Body)
	verdict := alert.Judge(result.Status)
	fields := append(s.hook.fields(), zap.String("delivery", d.Key), zap.Int("attempt", d.Attempts), zap.Int("status", result.Status))
	if verdict == alert.Delivered {
		s.record(func(q *alertQueue) {
			q.delivered++
			q.until, q.retries = time.Time{}, 0
			if q.failing {
				q.failing = false
				s.app.logger.Info("alerts arrive again", fields...)
			}
		})
		return true, 0
	}
	if ctx.Err() != nil && result.Status == 0 {
		return false, 0 // we gave it no time: the next config tries again at once
	}
	s.record(func(q *alertQueue) {
		if verdict == alert.Refused {
			q.until, q.retries = time.Time{}, 0
			return
		}
		q.retries++ // the webhook fails, whichever message it was that was tried
		wait = alert.Wait(max(d.Attempts, q.retries), result.retryAfter, rand.Float64())
		q.until = time.Now().Add(wait)
		if result.retryAfter > 0 {
			q.asked = s.app.shared.circuits.now().Add(wait)
		}
	})
	if result.retryAfter > 0 {
		select {
		case s.asks <- struct{}{}:
		default:
		}
	}
	over = verdict == alert.Refused || now.Add(wait).Sub(d.Created) >= alert.GiveUpAfter
	fields = append(fields, zap.String("reason", result.Error), zap.NamedError("cause", result.cause))
	s.record(func(q *alertQueue) {
		q.lastError, q.lastErrorAt = result.Error, time.Now()
		if over {
			q.failed++
		}
		if !q.failing {
			q.failing = true
			s.app.logger.Error("alerts do not arrive", fields...)
		}
	})
	if over {
		s.app.logger.Error("an alert was given up", fields...)
	}
	return over, wait
}

func (s *alertSender) record(change func(*alertQueue)) {
	s.home.mu.Lock()
	defer s.home.mu.Unlock()
	change(s.home.queue(s.hook.id))
}

// fields name the webhook in the log.
func (h *alertHook) fields() []zap.Field {
	return []zap.Field{zap.Int("webhook", h.number), zap.String("at", h.name), zap.String("format", string(h.format))}
}

// AlertAttempt is how one attempt to send a message went.
type AlertAttempt struct {
	// Webhook is the webhook's place in the configuration, from 1; At its
	// scheme and host.
	Webhook int    `json:"webhook"`
	At      string `json:"at"`
	Format  string `json:"format"`
	// Status is the HTTP status, 0 without an answer.
	Status int `json:"http_status"`
	// Took is how long it took, in milliseconds.
	Took float64 `json:"took_ms"`
	// Error says in words why it failed, fit for strangers. Empty: it arrived.
	Error string `json:"error,omitempty"`

	retryAfter time.Duration
	cause      error // for the log
}

// post makes one attempt, signed with the time of now.
func (h *alertHook) post(ctx context.Context, key string, body []byte) AlertAttempt {
	start := time.Now()
	a := AlertAttempt{Webhook: h.number, At: h.name, Format: string(h.format)}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(body))
	if err != nil {
		a.Error, a.cause = "the webhook's url cannot be used", errors.New("it is malformed") // the error quotes it
		return a
	}
	request.GetBody = nil // else net/http replays it by itself, for its Idempotency-Key, when a kept connection ends
	timestamp, signature := alert.Sign(h.secret, start, body)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "caddy-federation/"+version())
	request.Header.Set(alert.HeaderKey, key)
	request.Header.Set(alert.HeaderTimestamp, timestamp)
	if h.secret != "" {
		request.Header.Set(alert.HeaderSignature, signature)
	}
	response, err := h.client.Do(request)
	if err == nil {
		a.Status = response.StatusCode
		a.retryAfter = retryAfterUpTo(alert.MaxRetryAfter, response.Header.Get("Retry-After"), time.Now())
		_, _ = io.CopyN(io.Discard, response.Body, maxAlertAnswer) // so that the connection is used again
		_ = response.Body.Close()
	}
	a.Took = Milliseconds(time.Since(start))
	var quoting *url.Error
	if errors.As(err, &quoting) {
		err = quoting.Err // without the url
	}
	switch {
	case err != nil:
		a.Error, a.cause = strings.Replace(Describe(err), "the node", "the webhook", 1), err
	case a.Status >= 300 && a.Status < 400:
		a.Error = fmt.Sprintf("the webhook answered with a redirect (HTTP %d), which is not followed", a.Status)
	case alert.Judge(a.Status) != alert.Delivered:
		a.Error = fmt.Sprintf("the webhook answered HTTP %d", a.Status)
	}
	return a
}
