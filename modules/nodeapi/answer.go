package nodeapi

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/caddyfile/subdirective"
	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/modules/fleet/problem"
	"github.com/caddy-federation/caddy-federation/modules/fleet/requestbody"
)

// maxBody is the largest request body.
const maxBody = 64 << 10

// read decodes the body of a native call into value. The problem is nil when
// it could be read.
func (x *exchange) read(value any) *problem.Problem {
	body, refused := x.body()
	if refused != nil {
		return refused
	}
	var mistake *requestbody.Mistake
	if err := requestbody.Decode(body, value); errors.As(err, &mistake) {
		if mistake.Syntax {
			return invalid("invalid_json", mistake.Detail)
		}
		return invalid("invalid_request", mistake.Detail)
	}
	return nil
}

func (x *exchange) body() ([]byte, *problem.Problem) {
	body, err := io.ReadAll(http.MaxBytesReader(x.w, x.Body, maxBody))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, &problem.Problem{Status: http.StatusRequestEntityTooLarge, Code: "too_large", Detail: "the body is larger than 64 KiB"}
	}
	if err != nil {
		return nil, invalid("invalid_request", "the body could not be read")
	}
	return body, nil
}

func invalid(code, detail string) *problem.Problem {
	return &problem.Problem{Status: http.StatusBadRequest, Code: code, Detail: detail}
}

// refuse answers with a problem.
func (x *exchange) refuse(p *problem.Problem) error {
	p.TraceID, p.Compatible = x.trace.ID, x.compatible
	return p.Write(x.w, x.Request)
}

func (x *exchange) methodNotAllowed(allowed methods) error {
	names := slices.Sorted(maps.Keys(allowed))
	if allowed[http.MethodGet] != nil {
		names = append(names, http.MethodHead)
	}
	x.w.Header().Set("Allow", strings.Join(names, ", "))
	return x.refuse(&problem.Problem{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed",
		Detail: "this path answers " + strings.Join(names, ", ")})
}

// unauthorized asks who is calling.
func (x *exchange) unauthorized() error {
	x.w.Header().Set("WWW-Authenticate", `Bearer realm="federation"`)
	return x.refuse(&problem.Problem{Status: http.StatusUnauthorized, Code: "unauthorized", Error: "Unauthorized",
		Detail: "Missing authentication token"})
}

// forbidden says what the caller lacks.
func (x *exchange) forbidden(capability string) error {
	x.w.Header().Set("WWW-Authenticate", `Bearer realm="federation", error="insufficient_scope", scope="`+capability+`"`)
	return x.refuse(&problem.Problem{Status: http.StatusForbidden, Code: "insufficient_scope", Error: "Forbidden",
		Detail: "this needs the capability " + capability})
}

// may tells whether the caller has the capability, or is the node itself. When
// not, the caller has been told.
func (x *exchange) may(capability, slug string) (allowed bool, err error) {
	switch {
	case x.caller == nil:
		return false, x.unauthorized()
	case x.caller.Has(capability) || slug != "" && x.isNode(slug):
		return true, nil
	default:
		return false, x.forbidden(capability)
	}
}

// still is [exchange.may] asked again, right before something is written: the
// request was authenticated before its body came, and that may be long ago.
// When the caller stands no more, it has been told.
func (h *Handler) still(x *exchange, capability, slug string) (allowed bool, err error) {
	if slug != "" && x.isNode(slug) && !x.caller.Has(capability) {
		capability = "" // it is about itself
	}
	if x.caller == nil || h.fleet.Stands(x.caller, capability) {
		return true, nil
	}
	return false, x.unauthorizedNow()
}

// unauthorizedNow is for a caller whose credential ended while it was calling.
func (x *exchange) unauthorizedNow() error {
	x.w.Header().Set("WWW-Authenticate", `Bearer realm="federation", error="invalid_token"`)
	return x.refuse(&problem.Problem{Status: http.StatusUnauthorized, Code: "invalid_token", Error: "Unauthorized",
		Detail: "the credential was revoked, or its node may act no more, since the request began"})
}

// isNode tells whether the caller is the node.
func (x *exchange) isNode(slug string) bool {
	return x.caller != nil && x.caller.NodeID != 0 && x.caller.ID == slug
}

// fail answers with the reason that fleet gave.
func (h *Handler) fail(x *exchange, err error) error {
	if x.Request.Context().Err() != nil {
		return nil // the caller left
	}
	var refused *fleet.NodeError
	if !errors.As(err, &refused) {
		h.logger.Error("a request about nodes failed", zap.Error(err), zap.String("trace_id", x.trace.ID))
		return x.refuse(&problem.Problem{Status: http.StatusServiceUnavailable, Code: fleet.CodeRegistryDown,
			Detail: "the registry cannot be used now; try again later", RetryAfter: 5 * time.Second})
	}
	p := &problem.Problem{Status: refused.Status(), Code: refused.Code, Detail: refused.Error()}
	if p.Status == http.StatusServiceUnavailable {
		p.RetryAfter = 5 * time.Second
	}
	if refused.Code == fleet.CodeEnrollmentRequired {
		x.w.Header().Set("WWW-Authenticate", `Bearer realm="enrollment"`)
	}
	if x.compatible && refused.Field != "" && refused.Code != fleet.CodeNodeExists {
		p.Status, p.Fields = http.StatusUnprocessableEntity, map[string][]string{refused.Field: {refused.Detail}}
	}
	return x.refuse(p)
}

// unknownNode is for a path that names no node of ours.
func (x *exchange) unknownNode(h *Handler, slug string) error {
	known := make([]string, 0, 16)
	if x.caller.Has(mayReadNodes) {
		for _, node := range h.fleet.Snapshot().Nodes {
			known = append(known, node.Slug)
		}
	}
	detail := "there is no such node"
	if len(known) > 0 && len(known) <= 50 && len(slug) <= 64 {
		detail += subdirective.Hint(slug, known)
	}
	return x.refuse(&problem.Problem{Status: http.StatusNotFound, Code: fleet.CodeNodeUnknown, Detail: detail})
}

// answer writes a JSON body that nobody may keep.
func (x *exchange) answer(status int, body any) error {
	return x.write(status, "application/json", "no-store", body)
}

func (x *exchange) write(status int, contentType, cacheControl string, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	text = append(text, '\n')
	header := x.w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Cache-Control", cacheControl)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Length", strconv.Itoa(len(text)))
	x.w.WriteHeader(status)
	if x.Method == http.MethodHead {
		return nil
	}
	_, err = x.w.Write(text)
	return err
}
