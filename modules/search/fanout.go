package search

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// What a node's report can say.
const (
	statusOK         = "ok"
	statusEmpty      = "empty"
	statusTimeout    = "timeout"
	statusError      = "error"
	statusThrottled  = "throttled"
	statusOpen       = "open"
	statusDraining   = "draining"
	statusSkipped    = "skipped"
	statusCancelled  = "cancelled"
	statusBadPayload = "bad_payload"
)

// nodeReport is how it went with one node.
type nodeReport struct {
	slug, name string
	status     string
	took       time.Duration
	attempts   int
	httpStatus int
	err        string
	reason     string
	retryAfter time.Duration
	weight     float64
	required   bool
	local      bool
	answer     *fleet.SearchAnswer // nil unless ok or empty
}

func (r *nodeReport) answered() bool { return r.answer != nil }

// reserve is what the gateway keeps of the time for merging and writing.
func reserve(timeout time.Duration) time.Duration {
	return min(max(5*time.Millisecond, timeout/20), timeout/2)
}

// fanOut asks all chosen nodes at once and returns a report for each, sorted
// by slug with the local index last. It returns at ctx's end at the latest;
// calls still running then end by themselves, because ctx ends them too.
func (h *Handler) fanOut(ctx context.Context, chosen selection, query *fleet.SearchQuery, timeout time.Duration) []nodeReport {
	reports := slices.Clone(chosen.unasked)
	asked := len(chosen.ask)
	if chosen.local {
		asked++
	}
	calls, cancel := context.WithTimeout(ctx, min(timeout-reserve(timeout), h.nodeTimeout()))
	defer cancel()
	done := make(chan nodeReport, asked)
	for _, node := range chosen.ask {
		go func() { done <- h.askNode(calls, ctx, node, query) }()
	}
	if chosen.local {
		go func() { done <- h.askLocal(calls, ctx, query) }()
	}

	missing := make(map[string]*fleet.Node, asked)
	for _, node := range chosen.ask {
		missing[node.Slug] = node
	}
	if chosen.local {
		missing[fleet.LocalSlug] = nil
	}
	start := time.Now()
	for len(missing) > 0 && ctx.Err() == nil {
		select {
		case report := <-done:
			delete(missing, report.slug)
			reports = append(reports, report)
		case <-ctx.Done():
		}
	}
	for slug, node := range missing {
		late := nodeReport{slug: slug, status: statusTimeout, err: "the node did not answer in time", took: time.Since(start), local: node == nil, weight: 1}
		if node != nil {
			late.name, late.weight, late.required, late.attempts = node.Name, node.Weight, node.Required, 1
		}
		if errors.Is(ctx.Err(), context.Canceled) {
			late.status, late.err = statusCancelled, "the call was cancelled"
		}
		reports = append(reports, late)
	}
	sortReports(reports)
	return reports
}

// sortReports puts the reports in the one order that merging and readers see:
// by slug, with the local index last.
func sortReports(reports []nodeReport) {
	slices.SortFunc(reports, func(a, b nodeReport) int {
		if a.local != b.local {
			if a.local {
				return 1
			}
			return -1
		}
		return strings.Compare(a.slug, b.slug)
	})
}

// nodeTimeout is the longest that any node may take, where it is configured.
func (h *Handler) nodeTimeout() time.Duration {
	if h.NodeTimeout > 0 {
		return time.Duration(h.NodeTimeout)
	}
	return time.Duration(h.Timeout)
}

func (h *Handler) askNode(ctx, whole context.Context, node *fleet.Node, query *fleet.SearchQuery) nodeReport {
	answer, call := h.fleet.Search(ctx, node, query)
	report := nodeReport{
		slug: node.Slug, name: node.Name, took: call.Took, attempts: call.Attempts, httpStatus: call.Status,
		weight: node.Weight, required: node.Required,
	}
	report.conclude(whole, answer, call.Outcome, call.Err, query.Limit)
	return report
}

// askLocal asks the local index, which has no call path of its own.
func (h *Handler) askLocal(ctx, whole context.Context, query *fleet.SearchQuery) nodeReport {
	start := time.Now()
	answer, err := h.searchLocal(ctx, query)
	report := nodeReport{slug: fleet.LocalSlug, name: fleet.LocalSlug, took: time.Since(start), attempts: 1, weight: 1, local: true}
	report.conclude(whole, answer, fleet.Classify(whole, err), err, query.Limit)
	if err != nil && report.status == statusError {
		report.err = "the local index could not be searched"
	}
	return report
}

// searchLocal keeps a panicking index from ending the process: nobody else
// would catch it on this goroutine.
func (h *Handler) searchLocal(ctx context.Context, query *fleet.SearchQuery) (answer *fleet.SearchAnswer, err error) {
	defer func() {
		if r := recover(); r != nil {
			h.logger.Error("the local index panicked", zap.Any("panic", r), zap.String("at", fleet.PanicPlace()))
			answer, err = nil, fleet.BadPayload("the local index could not handle the search")
		}
	}()
	return h.index.Search(ctx, query)
}

// conclude turns a verdict into what the caller reads.
func (r *nodeReport) conclude(whole context.Context, answer *fleet.SearchAnswer, outcome fleet.Outcome, err error, limit int) {
	r.err = fleet.Describe(err)
	var status *fleet.StatusError
	if errors.As(err, &status) {
		r.retryAfter = status.RetryAfter
	}
	var refusal *fleet.RefusalError
	switch {
	case err == nil:
		r.answer, r.status = answer, statusOK
		if len(answer.Hits) > limit { // a node cannot flood the merge
			answer.Hits, answer.More = answer.Hits[:limit], true
		}
		if len(answer.Hits) == 0 {
			r.status = statusEmpty
		}
		r.reason = joinReasons(answer.Capped, answer.Note)
	case outcome == fleet.OutcomeThrottled:
		r.status = statusThrottled
	case outcome == fleet.OutcomeBadPayload:
		r.status = statusBadPayload
	case errors.As(err, &refusal):
		r.status, r.reason, r.err = refusedStatus(refusal.Reason), refusal.Reason, ""
		r.retryAfter = refusal.RetryAfter
	case errors.Is(whole.Err(), context.Canceled):
		r.status = statusCancelled
	case fleet.Timeout(err):
		r.status = statusTimeout
	default:
		r.status = statusError
	}
}

// refusedStatus is the status of a node that was not asked for the reason.
func refusedStatus(reason string) string {
	switch reason {
	case string(fleet.AdminDraining):
		return statusDraining
	case "open", "ramp":
		return statusOpen
	case fleet.ReasonBudget, fleet.ReasonPaused:
		return statusThrottled
	default:
		return statusSkipped
	}
}

// missed tells whether the node was left out because it fails, not because an
// operator or its own nature says so.
func (r *nodeReport) missed() bool {
	return r.status == statusOpen || r.status == statusThrottled || r.reason == "unhealthy"
}

// unasked tells whether nothing was sent to the node.
func (r *nodeReport) unasked() bool {
	return r.status == statusOpen || r.status == statusDraining || r.status == statusSkipped ||
		r.reason == fleet.ReasonBudget || r.reason == fleet.ReasonPaused
}

func joinReasons(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}
