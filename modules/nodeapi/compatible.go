package nodeapi

import (
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
	"github.com/caddy-federation/caddy-federation/modules/fleet/problem"
)

// The old fleet reads bare bodies. What it sends may be a form, a body that is
// not JSON is an empty one, and what is not known in it is ignored.

// oldTime is how the old fleet writes moments.
const oldTime = "2006-01-02T15:04:05-07:00"

// bare answers as an old node or master does.
func (x *exchange) bare(status int, body any) error {
	return x.write(status, "application/json", "no-cache, private", body)
}

func (x *exchange) isForm() bool {
	media, _, _ := mime.ParseMediaType(x.Header.Get("Content-Type"))
	return media == "application/x-www-form-urlencoded"
}

func (x *exchange) form() (url.Values, *problem.Problem) {
	body, refused := x.body()
	if refused != nil {
		return nil, refused
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, invalid("invalid_request", "the form cannot be read")
	}
	return form, nil
}

// fields returns the members of the body.
func (x *exchange) fields() (map[string]json.RawMessage, *problem.Problem) {
	fields := make(map[string]json.RawMessage)
	body, refused := x.body()
	if refused != nil {
		return nil, refused
	}
	// curl names JSON a form unless it is told otherwise
	if !x.isForm() || strings.HasPrefix(strings.TrimSpace(string(body)), "{") {
		if json.Unmarshal(body, &fields) != nil || fields == nil {
			fields = make(map[string]json.RawMessage)
		}
		return fields, nil
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return fields, nil
	}
	for name, values := range form {
		var value any = values[0]
		if list, ok := strings.CutSuffix(name, "[]"); ok {
			name, value = list, values
		}
		if text, err := json.Marshal(value); err == nil {
			fields[name] = text
		}
	}
	return fields, nil
}

// text reads a member that should be a text. What is missing or null is empty.
func text(value json.RawMessage) (s string, fits bool) {
	if len(value) == 0 || string(value) == "null" {
		return "", true
	}
	return s, json.Unmarshal(value, &s) == nil
}

// unprocessable refuses fields as the old validation does.
func (x *exchange) unprocessable(fields map[string][]string) error {
	return x.refuse(&problem.Problem{Status: http.StatusUnprocessableEntity, Code: "invalid_request",
		Detail: "The given data was invalid.", Fields: fields})
}

func required(field string) map[string][]string {
	return map[string][]string{field: {"The " + strings.ReplaceAll(field, "_", " ") + " field is required."}}
}

// oldHealth answers GET health.
func (h *Handler) oldHealth(x *exchange) error {
	status, state := http.StatusOK, "healthy"
	if v := h.fleet.Examine(false); v.Status == fleet.HealthFail {
		status, state = http.StatusServiceUnavailable, "degraded"
	}
	return x.bare(status, map[string]any{
		"status": state, "version": h.fleet.Alive().Version, "capabilities": h.capabilities(), "timestamp": time.Now().UTC().Format(oldTime),
	})
}

// capabilities are what the nodes together can do.
func (h *Handler) capabilities() []string {
	all := []string{"search"}
	for _, node := range h.fleet.Snapshot().Nodes {
		if node.Refusal() != "" {
			continue
		}
		for _, c := range node.Capabilities {
			if !fleet.Privileged(c) && !slices.Contains(all, c) {
				all = append(all, c)
			}
		}
	}
	return all
}

// manifestCollection is a collection as a manifest lists it.
type manifestCollection struct {
	Name        string          `json:"name"`
	Class       string          `json:"class"`
	DisplayName string          `json:"display_name"`
	Table       *string         `json:"table"`
	Description string          `json:"description"`
	Aliases     []string        `json:"aliases"`
	Can         map[string]bool `json:"capabilities"`
}

// manifest answers GET manifest: the nodes together, as if they were one.
func (h *Handler) manifest(x *exchange) error {
	collections, names := []manifestCollection{}, []string{}
	domains, types, keywords := []string{}, []string{}, []string{}
	for _, node := range h.fleet.Snapshot().Nodes {
		if node.Refusal() != "" {
			continue
		}
		v := node.View()
		domains, types, keywords = union(domains, v.Domains), union(types, v.DataTypes), union(keywords, v.Keywords)
		for _, c := range v.Collections {
			name := strings.ToLower(c.Name)
			if slices.Contains(names, name) {
				continue
			}
			class := c.Class
			if class == "" {
				class = c.Name
			}
			names = append(names, name)
			collections = append(collections, manifestCollection{
				Name: name, Class: class, DisplayName: c.Name, Aliases: []string{},
				Can: map[string]bool{"db_query": false, "db_count": false, "vector_search": true, "crud": false},
			})
		}
	}
	return x.bare(http.StatusOK, map[string]any{
		"node": map[string]any{
			"slug": fleet.SlugOf(h.fleet.Name), "name": h.fleet.Name, "label": "master", "role": "master", "type": fleet.TypeMaster,
			"aliases": []string{}, "url": x.address(), "version": h.fleet.Alive().Version, "description": "",
		},
		"capabilities": h.capabilities(), "domains": domains, "data_types": types, "keywords": keywords,
		"collections": collections, "ownership": map[string]any{"collections": names, "tools": []string{}},
		"auth": map[string]string{"scheme": "jwt"}, "timestamp": time.Now().UTC().Format(oldTime),
	})
}

// address is where the caller found the gateway.
func (x *exchange) address() string {
	scheme := "http"
	if x.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + x.Host + x.prefix("/api/ai-engine/")
}

func union(all, more []string) []string {
	for _, item := range more {
		if !slices.Contains(all, item) {
			all = append(all, item)
		}
	}
	return all
}

// oldNode is a node as the old fleet names it.
type oldNode struct {
	ID   int64  `json:"id"`
	Slug string `json:"slug"`
	Name string `json:"name"`
}

// oldRegister answers POST register: {name, url, capabilities, metadata, version}.
func (h *Handler) oldRegister(x *exchange) error {
	fields, refused := x.fields()
	if refused != nil {
		return x.refuse(refused)
	}
	wish, wrong := oldWish(fields)
	if len(wrong) > 0 {
		return x.unprocessable(wrong)
	}
	if node := h.fleet.Snapshot().Node(fleet.SlugOf(wish.Name)); wish.Version == "" && (node == nil || node.Version == "") {
		wish.Version = "1.0.0" // of a node that comes back, what it said before stays
	}
	secret, as := h.enrollment(x)
	if as != nil && !h.fleet.Stands(as, "") {
		return x.unauthorizedNow()
	}
	registered, err := h.fleet.Register(x.Context(), wish, secret, as)
	if err != nil {
		return h.fail(x, err)
	}
	node := registered.Node
	body := map[string]any{"success": true, "node": oldNode{node.ID, node.Slug, node.Name}}
	if node.AdminState == fleet.AdminPending {
		body["message"] = "The node waits for an operator's approval."
		return x.bare(http.StatusAccepted, body)
	}
	pair, err := h.fleet.IssueRegistered(x.Context(), registered)
	if err != nil {
		return h.fail(x, err)
	}
	view := node.View()
	body["auth"] = struct {
		credentials
		Node any `json:"node"`
	}{given(pair), struct {
		oldNode
		Type         string   `json:"type"`
		Capabilities []string `json:"capabilities"`
		Version      string   `json:"version"`
	}{oldNode{node.ID, node.Slug, node.Name}, view.Type, view.Capabilities, view.Version}}
	status := http.StatusOK
	if registered.Created {
		status = http.StatusCreated
	}
	return x.bare(status, body)
}

// oldWish reads what an old client registers with. A capability that a node
// cannot give itself is left out, because such a client would not know why.
func oldWish(fields map[string]json.RawMessage) (wish fleet.Registration, wrong map[string][]string) {
	wrong = make(map[string][]string)
	for name, target := range map[string]*string{"name": &wish.Name, "url": &wish.URL, "version": &wish.Version, "owner_proof": &wish.OwnerProof} {
		value, fits := text(fields[name])
		if !fits {
			wrong[name] = []string{"The " + name + " must be a string."}
		} else if value != "" {
			*target = value
		}
	}
	for name, value := range map[string]string{"name": wish.Name, "url": wish.URL} {
		if strings.TrimSpace(value) == "" && wrong[name] == nil {
			wrong[name] = required(name)[name]
		}
	}
	if given := fields["capabilities"]; given != nil && string(given) != "null" {
		var list []string
		if json.Unmarshal(given, &list) != nil {
			wrong["capabilities"] = []string{"The capabilities must be an array."}
		}
		wish.Capabilities = slices.DeleteFunc(list, fleet.Privileged)
	}
	if given := fields["metadata"]; given != nil && string(given) != "null" {
		switch given[0] {
		case '{':
			wish.Metadata = given
		case '[': // an empty object of PHP
		default:
			wrong["metadata"] = []string{"The metadata must be an array."}
		}
	}
	return wish, wrong
}

// oldRefresh answers POST refresh-token: a new access token. The refresh
// token stays good, because old clients keep the one they have; one that was
// replaced elsewhere a moment ago gets its successor.
func (h *Handler) oldRefresh(x *exchange) error {
	fields, refused := x.fields()
	if refused != nil {
		return x.refuse(refused)
	}
	shown, fits := text(fields["refresh_token"])
	if !fits || shown == "" {
		return x.unprocessable(required("refresh_token"))
	}
	pair, err := h.fleet.RefreshAccess(x.Context(), shown)
	if err != nil {
		return h.failRefresh(x, err, problem.Problem{Error: "Invalid refresh token", Detail: "Invalid refresh token"})
	}
	return x.bare(http.StatusOK, struct {
		credentials
		Node oldNode `json:"node"`
	}{given(pair), oldNode{pair.Node.ID, pair.Node.Slug, pair.Node.Name}})
}
