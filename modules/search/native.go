package search

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/modules/fleet/problem"
)

// serveNative answers `POST /v1/search` and `GET /v1/search?q=…`.
func (h *Handler) serveNative(w http.ResponseWriter, r *http.Request) error {
	trace := fleet.TraceFromRequest(r)
	echoTrace(w, r, trace)
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		w.Header().Set("Allow", "GET, POST")
		return problem.Problem{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed",
			Detail: "a search is a GET or a POST", TraceID: trace.ID}.Write(w, r)
	}
	req, bad := h.parseNative(r)
	var p *problem.Problem
	if bad != nil {
		p = bad.problem()
	} else {
		p = h.standing(w, r)
	}
	if p != nil {
		countSearch(r, nil, p)
		p.TraceID = trace.ID
		return p.Write(w, r)
	}
	req.preferWait(r.Header)
	found, failure := h.search(r, req, trace)
	countSearch(r, found, failure)
	if r.Context().Err() != nil {
		return nil // the caller left; nobody reads an answer
	}
	if found != nil {
		h.setHeaders(w.Header(), found)
	}
	if failure != nil {
		failure.TraceID = trace.ID
		return failure.Write(w, r)
	}
	return found.write(w, found.appendNative)
}

// echoTrace tells the caller what to look for in logs.
func echoTrace(w http.ResponseWriter, r *http.Request, trace *fleet.Trace) {
	w.Header().Set("X-Trace-Id", trace.ID)
	if id := r.Header.Get("X-Request-Id"); id != "" && len(id) <= 128 {
		w.Header().Set("X-Request-Id", id)
	}
}

// setHeaders sums the search up for those who do not read bodies.
func (h *Handler) setHeaders(header http.Header, found *result) {
	line := make([]byte, 0, 64)
	line = append(line, "asked="...)
	line = strconv.AppendInt(line, int64(found.asked), 10)
	line = append(line, ", ok="...)
	line = strconv.AppendInt(line, int64(found.answered), 10)
	line = append(line, ", failed="...)
	line = strconv.AppendInt(line, int64(found.failed), 10)
	header.Set("Federation-Nodes", string(line))
	if found.partial {
		header.Set("Federation-Partial", "true")
	}
	if h.ServerTiming && len(found.reports) > 0 {
		line = line[:0]
		for i := range found.reports {
			r := &found.reports[i]
			if i > 0 {
				line = append(line, ", "...)
			}
			line = append(line, r.slug...)
			line = append(line, ";dur="...)
			line = appendMS(line, r.took)
			line = append(line, `;desc="`...)
			line = append(line, r.status...)
			line = append(line, '"')
		}
		header.Set("Server-Timing", string(line))
	}
}

// buffers keeps the memory of answers for the next one.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// maxPooled is the largest buffer that is kept.
const maxPooled = 1 << 20

// write sends the answer.
func (f *result) write(w http.ResponseWriter, appendBody func([]byte) []byte) error {
	buf := buffers.Get().(*[]byte)
	body := appendBody((*buf)[:0])
	header := w.Header()
	header["Content-Type"] = []string{"application/json"}
	header["X-Content-Type-Options"] = []string{"nosniff"}
	header["Content-Length"] = []string{strconv.Itoa(len(body))}
	cacheControl := "private, no-cache"
	if f.partial {
		cacheControl = "no-store"
	}
	header["Cache-Control"] = []string{cacheControl}
	w.WriteHeader(http.StatusOK)
	_, err := w.Write(body)
	if cap(body) <= maxPooled {
		*buf = body
		buffers.Put(buf)
	}
	return err
}

// appendNative writes the answer of the native face. The node's own texts go
// out as the valid JSON that they came in as.
func (f *result) appendNative(b []byte) []byte {
	b = append(b, `{"query":`...)
	b = appendString(b, f.request.Query)
	b = append(b, `,"trace_id":"`...)
	b = append(b, f.trace.ID...)
	b = append(b, `","took_ms":`...)
	b = appendMS(b, time.Since(f.start))
	b = append(b, `,"partial":`...)
	b = strconv.AppendBool(b, f.partial)
	b = append(b, `,"fallback":`...)
	b = strconv.AppendBool(b, f.fallback())
	b = append(b, `,"total":{"value":`...)
	b = strconv.AppendInt(b, int64(len(f.merged.documents)), 10)
	b = append(b, `,"relation":"`...)
	if f.more() {
		b = append(b, "gte"...)
	} else {
		b = append(b, "eq"...)
	}
	b = append(b, `"},"coverage":{"nodes":`...)
	b = appendRounded(b, f.coveredNodes)
	b = append(b, `,"weight":`...)
	b = appendRounded(b, f.coveredWeight)
	b = append(b, `},"merge":{"fusion":"`...)
	b = append(b, f.request.Fusion...)
	b = append(b, `","overlap":`...)
	b = appendRounded(b, f.merged.overlap())
	b = append(b, `,"deduplicated":`...)
	b = strconv.AppendInt(b, int64(f.merged.removed), 10)
	b = append(b, `},"hits":[`...)
	for i, d := range f.page() {
		if i > 0 {
			b = append(b, ',')
		}
		b = f.appendHit(b, &d, f.request.Offset+i+1)
	}
	b = append(b, `],"nodes":`...)
	b = f.appendReports(b)
	return append(b, '}', '\n')
}

func (f *result) appendHit(b []byte, d *document, rank int) []byte {
	best := d.copies[0]
	hit := best.hit
	b = append(b, `{"id":`...)
	b = appendID(b, hit.ID)
	b = append(b, `,"title":`...)
	b = appendText(b, hit.Title)
	b = append(b, `,"content":`...)
	b = appendText(b, hit.Content)
	if hit.URL != nil {
		b = append(b, `,"url":`...)
		b = appendText(b, hit.URL)
	}
	b = append(b, `,"score":`...)
	b = appendFloat(b, d.score)
	b = append(b, `,"rank":`...)
	b = strconv.AppendInt(b, int64(rank), 10)
	b = append(b, `,"node":"`...)
	b = append(b, f.reports[best.list].slug...)
	b = append(b, `","sources":[`...)
	for i, c := range d.copies {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"node":"`...)
		b = append(b, f.reports[c.list].slug...)
		b = append(b, `","rank":`...)
		b = strconv.AppendInt(b, int64(c.rank), 10)
		if c.hit.HasScore {
			b = append(b, `,"score":`...)
			b = appendFloat(b, c.hit.Score)
		}
		b = append(b, '}')
	}
	b = append(b, `],"metadata":`...)
	b = appendMetadata(b, hit, f.reports[best.list].answer.Known)
	return append(b, '}')
}

// appendReports writes the report per node as a JSON array.
func (f *result) appendReports(b []byte) []byte {
	b = append(b, '[')
	for i := range f.reports {
		r := &f.reports[i]
		if i > 0 {
			b = append(b, ',')
		}
		hits := 0
		if r.answer != nil {
			hits = len(r.answer.Hits)
		}
		b = append(b, `{"node":"`...)
		b = append(b, r.slug...)
		b = append(b, `","status":"`...)
		b = append(b, r.status...)
		b = append(b, `","hits":`...)
		b = strconv.AppendInt(b, int64(hits), 10)
		b = append(b, `,"took_ms":`...)
		b = appendMS(b, r.took)
		b = append(b, `,"attempts":`...)
		b = strconv.AppendInt(b, int64(r.attempts), 10)
		b = append(b, `,"http_status":`...)
		b = strconv.AppendInt(b, int64(r.httpStatus), 10)
		b = append(b, `,"error":`...)
		b = appendString(b, r.err)
		b = append(b, `,"reason":`...)
		b = appendString(b, r.reason)
		b = append(b, '}')
	}
	return append(b, ']')
}

// appendID writes an id as a string, as the native face always has it.
func appendID(b []byte, id jsontext.Value) []byte {
	switch id.Kind() {
	case '"':
		return append(b, id...)
	case '0':
		b = append(b, '"')
		b = append(b, id...)
		return append(b, '"')
	default:
		return append(b, `""`...)
	}
}

func appendText(b []byte, text jsontext.Value) []byte {
	if text.Kind() != '"' {
		return append(b, `""`...)
	}
	return append(b, text...)
}

// appendMetadata writes what else the node said of a hit.
func appendMetadata(b []byte, hit *fleet.Hit, known []string) []byte {
	if hit.Metadata.Kind() == '{' {
		return append(b, hit.Metadata...)
	}
	b = append(b, '{')
	first := true
	eachMember(hit, known, func(name, value []byte) {
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(b, name...)
		b = append(b, ':')
		b = append(b, value...)
	})
	return append(b, '}')
}

func appendString(b []byte, s string) []byte {
	quoted, err := jsontext.AppendQuote(b, s)
	if err != nil { // not UTF-8; the text with the bad bytes replaced is in it all the same
		return quoted
	}
	return quoted
}

// appendMS writes a duration as milliseconds with one decimal.
func appendMS(b []byte, d time.Duration) []byte {
	return strconv.AppendFloat(b, float64(d.Round(100*time.Microsecond))/float64(time.Millisecond), 'f', -1, 64)
}

func appendRounded(b []byte, share float64) []byte {
	return strconv.AppendFloat(b, float64(int64(share*1e4+0.5))/1e4, 'f', -1, 64)
}

func appendFloat(b []byte, f float64) []byte {
	format := byte('f')
	if f != 0 && (f < 1e-6 && f > -1e-6 || f >= 1e21 || f <= -1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(b, f, format, -1, 64)
}
