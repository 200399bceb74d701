package ratelimit

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-federation/caddy-federation/store"
)

// The header fields, as net/http spells them.
const (
	fieldPolicy    = "Ratelimit-Policy"
	fieldLimit     = "Ratelimit"
	fieldLegacy    = "X-Ratelimit-Limit"
	fieldRemaining = "X-Ratelimit-Remaining"
)

// headers writes how a caller stands: the structured fields of
// draft-ietf-httpapi-ratelimit-headers-10, and the older X-RateLimit-Limit and
// -Remaining.
type headers struct {
	draft, legacy bool
	policies      []*Policy
	policyField   []string
	legacyLimits  [][]string
}

func newHeaders(mode string, policies []*Policy) (headers, error) {
	h := headers{policies: policies}
	switch mode {
	case "", "both":
		h.draft, h.legacy = true, true
	case "draft":
		h.draft = true
	case "legacy":
		h.legacy = true
	case "off":
	default:
		return h, fmt.Errorf("headers: %q is not draft, legacy, both or off", mode)
	}
	var text []byte
	for i, p := range policies {
		if i > 0 {
			text = append(text, ", "...)
		}
		text = fmt.Appendf(text, `"%s";q=%d`, p.Name, p.Limit)
		if window := time.Duration(p.Window); window%time.Second == 0 {
			text = fmt.Appendf(text, ";w=%d", window/time.Second)
		}
		h.legacyLimits = append(h.legacyLimits, []string{strconv.Itoa(p.Limit)})
	}
	h.policyField = []string{string(text)}
	return h, nil
}

func (h *headers) any() bool { return h.draft || h.legacy }

// begin sets the fields of an answer that is still to come.
func (h *headers) begin(w http.ResponseWriter, states []store.LimitState) http.ResponseWriter {
	f := &fields{ResponseWriterWrapper: caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, headers: h}
	if h.draft {
		f.limit[0] = h.limitField(states, false)
	}
	if h.legacy {
		tightest := h.tightest(states)
		f.legacy, f.remaining[0] = h.legacyLimits[tightest], strconv.Itoa(states[tightest].Remaining)
	}
	f.set()
	return f
}

// refused sets the fields of a refusal.
func (h *headers) refused(header http.Header, states []store.LimitState) {
	if h.draft {
		header[fieldPolicy], header[fieldLimit] = h.policyField, []string{h.limitField(states, true)}
	}
	if h.legacy {
		tightest := h.tightest(states)
		header[fieldLegacy] = h.legacyLimits[tightest]
		header[fieldRemaining] = []string{strconv.Itoa(states[tightest].Remaining)}
	}
}

// tightest is the policy that lets the fewest events follow.
func (h *headers) tightest(states []store.LimitState) int {
	best := 0
	for i := range states {
		refuses, bestRefuses := states[i].RetryAfter != 0, states[best].RetryAfter != 0
		if refuses && !bestRefuses || refuses == bestRefuses && states[i].Remaining < states[best].Remaining {
			best = i
		}
	}
	return best
}

func (h *headers) limitField(states []store.LimitState, refused bool) string {
	b := make([]byte, 0, 40*len(states))
	for i, s := range states {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, '"')
		b = append(b, h.policies[i].Name...)
		b = append(b, `";r=`...)
		b = strconv.AppendInt(b, int64(s.Remaining), 10)
		t := s.Reset
		switch {
		case s.RetryAfter != 0:
			t = s.RetryAfter
		case refused:
			t = -1 // Retry-After may be earlier than that
		case s.Remaining == 0:
			t -= h.policies[i].spread(h.policies[i].policy.Burst - 1)
		}
		if t >= 0 {
			b = append(b, ";t="...)
			b = strconv.AppendInt(b, seconds(t), 10)
		}
	}
	return string(b)
}

// spread is how long the policy takes to forget n events.
func (p *Policy) spread(n int) time.Duration {
	return time.Duration(float64(p.Window) / float64(p.Limit) * float64(n))
}

// seconds rounds up, so that nobody comes too early.
func seconds(d time.Duration) int64 { return int64(math.Ceil(d.Seconds())) }

// fields are set before and once more when the answer begins: a node behind a
// proxy may send fields of the same names, about its own limits.
type fields struct {
	caddyhttp.ResponseWriterWrapper
	headers   *headers
	limit     [1]string
	legacy    []string
	remaining [1]string
}

func (f *fields) set() {
	header := f.Header()
	if f.headers.draft {
		header[fieldPolicy], header[fieldLimit] = f.headers.policyField, f.limit[:]
	}
	if f.headers.legacy {
		header[fieldLegacy], header[fieldRemaining] = f.legacy, f.remaining[:]
	}
}

// WriteHeader implements [http.ResponseWriter].
func (f *fields) WriteHeader(status int) {
	f.set()
	f.ResponseWriterWrapper.WriteHeader(status)
}
