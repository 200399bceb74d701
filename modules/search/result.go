package search

import (
	"fmt"
	"net/http"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/modules/fleet/problem"
)

// result is one search with everything that was learnt of it.
type result struct {
	request *request
	trace   *fleet.Trace
	start   time.Time
	reports []nodeReport
	merged  merged

	asked, answered, failed int // without the local index
	timedOut                int
	localAnswered           bool
	coveredNodes            float64
	coveredWeight           float64
	partial                 bool
	missingRequired         *nodeReport
}

// count sums up the reports.
func (f *result) count() {
	var wanted, weight, answeredWeight float64
	for i := range f.reports {
		r := &f.reports[i]
		if r.local {
			f.localAnswered = r.answered()
			f.partial = f.partial || !r.answered() || r.answer.Partial
			continue
		}
		wanted++
		weight += r.weight
		if !r.unasked() {
			f.asked++
		}
		if r.answered() {
			f.answered++
			answeredWeight += r.weight
			f.partial = f.partial || r.answer.Partial
			continue
		}
		if r.required && f.missingRequired == nil {
			f.missingRequired = r
		}
		if r.unasked() {
			f.partial = f.partial || r.missed()
			continue
		}
		if r.status == statusTimeout {
			f.timedOut++
		}
		f.failed++
		f.partial = true
	}
	f.coveredNodes, f.coveredWeight = 1, 1
	if wanted > 0 {
		f.coveredNodes, f.coveredWeight = float64(f.answered)/wanted, answeredWeight/weight
	}
}

// fallback tells whether only the local index answered.
func (f *result) fallback() bool { return f.localAnswered && f.answered == 0 }

// retryAfterUnavailable is what a caller is told when no node could be asked.
const retryAfterUnavailable = 5 * time.Second

// failure says why the search has no answer, or is nil.
func (f *result) failure() *problem.Problem {
	enough := f.answered >= *f.request.MinNodes
	if f.missingRequired == nil && (enough || f.localAnswered) {
		return nil
	}
	p := &problem.Problem{TraceID: f.trace.ID, Nodes: f.appendReports(nil)}
	switch {
	case f.asked == 0 && f.missingRequired == nil:
		p.Status, p.Code, p.RetryAfter = http.StatusServiceUnavailable, "no_node_available", f.availableAfter()
		p.Detail = "no node was available to ask"
	case f.missingRequired != nil && enough:
		p.Status, p.Code = http.StatusBadGateway, "required_node_missing"
		p.Detail = fmt.Sprintf("the required node %q did not answer", f.missingRequired.slug)
		switch {
		case f.missingRequired.status == statusTimeout:
			p.Status = http.StatusGatewayTimeout
		case f.missingRequired.unasked():
			p.Status, p.RetryAfter = http.StatusServiceUnavailable, retryAfterUnavailable
		}
	case f.timedOut == f.failed && f.timedOut > 0:
		p.Status, p.Code = http.StatusGatewayTimeout, "nodes_timed_out"
		p.Detail = fmt.Sprintf("%d of %d nodes answered in time, %d are needed", f.answered, f.asked, *f.request.MinNodes)
	case f.asked < *f.request.MinNodes && f.failed == 0:
		p.Status, p.Code, p.RetryAfter = http.StatusServiceUnavailable, "too_few_nodes", retryAfterUnavailable
		p.Detail = fmt.Sprintf("%d nodes were available to ask, %d are needed", f.asked, *f.request.MinNodes)
	default:
		p.Status, p.Code = http.StatusBadGateway, "nodes_failed"
		p.Detail = fmt.Sprintf("%d of %d nodes answered, %d are needed", f.answered, f.asked, *f.request.MinNodes)
		p.RetryAfter = f.throttledFor()
	}
	return p
}

// availableAfter is when a node that could not be asked can be, as far as one
// of them knows.
func (f *result) availableAfter() time.Duration {
	first := time.Duration(0)
	for i := range f.reports {
		if after := f.reports[i].retryAfter; f.reports[i].unasked() && after > 0 && (first == 0 || after < first) {
			first = after
		}
	}
	if first == 0 {
		return retryAfterUnavailable
	}
	return first
}

// throttledFor is when the first node wants to be asked again, if all that
// failed were throttled.
func (f *result) throttledFor() time.Duration {
	var first time.Duration
	for i := range f.reports {
		r := &f.reports[i]
		if r.answered() || r.unasked() || r.local {
			continue
		}
		if r.status != statusThrottled {
			return 0
		}
		if r.retryAfter > 0 && (first == 0 || r.retryAfter < first) {
			first = r.retryAfter
		}
	}
	return first
}

// page returns the documents the caller asked for.
func (f *result) page() []document {
	from := min(f.request.Offset, len(f.merged.documents))
	to := min(from+f.request.limit, len(f.merged.documents))
	return f.merged.documents[from:to]
}

// more tells whether the nodes hold more documents than the merge has.
func (f *result) more() bool {
	window := f.request.Offset + f.request.limit
	for i := range f.reports {
		answer := f.reports[i].answer
		if answer == nil {
			continue
		}
		if answer.More || answer.Partial || answer.Total > len(answer.Hits) || answer.Total < 0 && len(answer.Hits) >= window {
			return true
		}
	}
	return false
}
