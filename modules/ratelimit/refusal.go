package ratelimit

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/modules/fleet/problem"
)

// refusal is why a request was refused: by the policy that takes longest.
type refusal struct {
	policy *Policy
	key    string
	// retryAfter is 0 when the request can never fit.
	retryAfter time.Duration
}

func (h *Handler) refusal(s *scratch) refusal {
	worst, never := 0, false
	for i, state := range s.states[:len(h.Policies)] {
		switch {
		case state.RetryAfter < 0:
			worst, never = i, true
		case !never && state.RetryAfter > s.states[worst].RetryAfter:
			worst = i
		}
	}
	f := refusal{policy: h.Policies[worst], key: string(s.charges[worst].Key)}
	if !never {
		f.retryAfter = max(s.states[worst].RetryAfter, time.Millisecond)
	}
	return f
}

// EventExceeded is the Caddy event of a request that was refused, or would
// have been: with policy, key, retry_after_ms and shadow.
const EventExceeded = fleet.EventPrefix + "rate_limit_exceeded"

// report tells those who want to know, and handlers of errors and logs by
// {http.federation_rate_limit.exceeded.name}, .key and .retry_after (seconds).
func (h *Handler) report(repl *caddy.Replacer, f refusal) {
	const prefix = "http.federation_rate_limit.exceeded."
	repl.Set(prefix+"name", f.policy.Name)
	repl.Set(prefix+"key", f.key)
	repl.Set(prefix+"retry_after", seconds(f.retryAfter))
	if entry := h.logger.Check(zap.DebugLevel, "rate limit exceeded"); entry != nil {
		entry.Write(zap.String("policy", f.policy.Name), zap.String("key", f.key),
			zap.Duration("retry_after", f.retryAfter), zap.Bool("shadow", h.Shadow))
	}
	if h.events.ShouldEmit(EventExceeded) {
		h.events.Emit(h.ctx, EventExceeded, map[string]any{
			"policy": f.policy.Name, "key": f.key, "retry_after_ms": f.retryAfter.Milliseconds(), "shadow": h.Shadow,
		})
	}
}

// Who writes the answer to a refused request.
const (
	refusalAnswer = "answer"
	refusalError  = "error"
)

func checkOnRefusal(word string) error {
	if word != "" && word != refusalAnswer && word != refusalError {
		return fmt.Errorf("on_refusal: %q is not answer or error", word)
	}
	return nil
}

// refuse answers, or leaves that to the site's handle_errors.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, p problem.Problem) error {
	if h.OnRefusal != refusalError {
		return p.Write(w, r)
	}
	if p.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(seconds(p.RetryAfter), 10))
	}
	return caddyhttp.Error(p.Status, errors.New(p.Detail))
}

// compatible tells whether a request is one of the old fleet's.
func compatible(r *http.Request) bool {
	path := cleanPath(r.URL.Path)
	return strings.Contains(path, "/api/ai-engine/") || strings.HasSuffix(path, "/api/ai-engine")
}

// wait says when to come again.
func (f refusal) wait() string {
	if f.retryAfter == 0 {
		return "a request of this cost never fits"
	}
	return fmt.Sprintf("try again in %d s", seconds(f.retryAfter))
}

// problem is the answer with status 429.
func (f refusal) problem() problem.Problem {
	return problem.Problem{
		Status: http.StatusTooManyRequests, Code: "rate_limited", RetryAfter: f.retryAfter,
		Detail: fmt.Sprintf("more than %d in %v by the policy %q: %s", f.policy.Limit, time.Duration(f.policy.Window), f.policy.Name, f.wait()),
	}
}

// writeCompatible answers as the old nodes do.
func (f refusal) writeCompatible(w http.ResponseWriter) error {
	wait := f.wait()
	text, err := json.Marshal(struct {
		Error      string `json:"error"`
		Message    string `json:"message"`
		RetryAfter int64  `json:"retry_after"`
	}{http.StatusText(http.StatusTooManyRequests), "Too many requests. " + strings.ToUpper(wait[:1]) + wait[1:] + ".", seconds(f.retryAfter)})
	if err != nil {
		return err
	}
	header := w.Header()
	if f.retryAfter > 0 {
		header.Set("Retry-After", strconv.FormatInt(seconds(f.retryAfter), 10))
	}
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-cache, private")
	header.Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(http.StatusTooManyRequests)
	_, err = w.Write(text)
	return err
}

// unavailable is the answer when limits cannot be checked and must be.
func unavailable(r *http.Request) problem.Problem {
	return problem.Problem{
		Status: http.StatusServiceUnavailable, Code: "rate_limit_unavailable", RetryAfter: time.Second,
		Detail: "rate limits cannot be checked now", Compatible: compatible(r),
	}
}
