package fleet

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/caddy-federation/caddy-federation/store"
)

// Registration is what a node says of itself when it registers.
type Registration struct {
	// Name is for people, 1 to 255 characters. Required.
	Name string `json:"name"`
	// URL is where the node lives. Required.
	URL string `json:"url"`
	// Slug names the node. Default: made of the name by [SlugOf].
	Slug string `json:"slug,omitempty"`
	// Type is child or master. Default: child.
	Type string `json:"type,omitempty"`
	// Dialect is auto, laravel or gateway. Default: auto.
	Dialect string `json:"dialect,omitempty"`
	// Version is the node's software. Default: empty.
	Version string `json:"version,omitempty"`
	// Capabilities is what the node can do. Default: search and actions.
	Capabilities []string `json:"capabilities,omitempty"`
	// Description, Domains, Keywords, DataTypes and Collections say what the
	// node holds. Default: what it says when it is probed.
	Description string       `json:"description,omitempty"`
	Domains     []string     `json:"domains,omitempty"`
	Keywords    []string     `json:"keywords,omitempty"`
	DataTypes   []string     `json:"data_types,omitempty"`
	Collections []Collection `json:"collections,omitempty"`
	// Metadata is a JSON object that is kept and shown, up to 16 KiB.
	Metadata json.RawMessage `json:"metadata,omitempty"`
	// OwnerProof is a secret of the node's own, 16 to 256 bytes. With it the
	// node gets its identity back after a crash; nobody else does. Only its
	// hash is kept. Default: with enrollment secret the URL stands in for it.
	OwnerProof string `json:"owner_proof,omitempty"`
}

// Registered is how a registration went.
type Registered struct {
	// Node is the node as it stands now.
	Node *Node
	// Created is false when the node had registered before.
	Created bool
	// Pending is set while the node waits for an operator.
	Pending bool
}

// maxPending is how many nodes may wait for approval, because with that mode
// anybody can make one.
const maxPending = 1000

// Register adds a node that asks for it, or gives one back its identity. The
// secret is what it showed for enrollment; as is who it proved to be, or nil.
// The error is a [NodeError] or ctx's; nothing is written then.
func (a *App) Register(ctx context.Context, r Registration, secret string, as *Identity) (*Registered, error) {
	if err := a.admit(secret); err != nil {
		return nil, err
	}
	opened := a.Store()
	if opened == nil {
		return nil, &NodeError{CodeRegistryDown, "", "the gateway is still starting; try again"}
	}
	u, err := r.normalize()
	if err != nil {
		return nil, err
	}
	if err := a.allowURL(ctx, u); err != nil {
		return nil, err
	}
	for range maxConflicts {
		registered, err := a.register(ctx, opened.Nodes(), r, as)
		if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrExists) {
			continue // somebody was faster; look again
		}
		if err != nil {
			return nil, a.registryError(err)
		}
		kind := "node_updated"
		if registered.Created {
			kind = "node_registered"
		}
		a.Emit(kind, r.Slug, map[string]any{"name": r.Name, "pending": registered.Pending})
		return registered, nil
	}
	return nil, a.registryError(store.ErrConflict)
}

// maxConflicts is how often a change is tried again when others are faster.
const maxConflicts = 10

// admit decides whether anybody may register, and with this secret.
func (a *App) admit(secret string) *NodeError {
	switch {
	case a.enrollment.mode == EnrollmentOff:
		return &NodeError{CodeEnrollmentOff, "", "this federation takes no registrations; an operator adds nodes"}
	case a.enrollment.mode == EnrollmentApproval || a.enrollment.knows(secret):
		return nil
	case secret == "":
		return &NodeError{CodeEnrollmentRequired, "", "registration needs the enrollment secret, in X-Enrollment-Secret or as a bearer token"}
	default:
		return &NodeError{CodeEnrollmentRefused, "", "the enrollment secret is wrong"}
	}
}

// register writes the node once; a conflict means that it must be tried again.
func (a *App) register(ctx context.Context, nodes store.Nodes, r Registration, as *Identity) (*Registered, error) {
	stands, err := nodes.Get(ctx, r.Slug)
	known := err == nil
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	var record nodeRecord
	static, fixed := a.registry.static[r.Slug]
	switch {
	case known:
		if record, err = readNodeRecord(stands); err != nil {
			return nil, &NodeError{CodeNodeExists, "slug", "a node with this name stands and is broken; an operator must look at it"}
		}
		if fixed && record.URL == "" {
			record.URL = static.URL
		}
		if !a.owns(record, r, as) {
			return nil, taken(r.Slug)
		}
	case fixed:
		record.NodeConfig = NodeConfig{Slug: r.Slug, URL: static.URL}
		if !a.owns(record, r, as) {
			return nil, taken(r.Slug)
		}
	default:
		record = nodeRecord{Registered: time.Now().UTC().Truncate(time.Millisecond)}
		if a.enrollment.mode == EnrollmentApproval {
			if err := a.roomForPending(); err != nil {
				return nil, err
			}
			record.AdminState = AdminPending
		}
	}
	created := !known && !fixed
	may, err := a.mayRegister(r, created)
	if err != nil {
		return nil, err
	}
	if err := r.apply(&record, may, created, fixed); err != nil {
		return nil, err
	}
	data, err := record.encode()
	if err != nil {
		return nil, err
	}
	if _, err := nodes.Put(ctx, store.NodeRecord{Slug: r.Slug, Revision: stands.Revision, Data: data}); err != nil {
		return nil, err
	}
	node, err := a.refreshed(ctx, r.Slug)
	if err != nil {
		return nil, err
	}
	return &Registered{Node: node, Created: created, Pending: node.AdminState == AdminPending}, nil
}

// mayRegister returns what the node may do at most, and refuses one that may
// not register at all.
func (a *App) mayRegister(r Registration, created bool) ([]string, error) {
	if node := a.Snapshot().Node(r.Slug); !created && node != nil {
		if node.AdminState == AdminDisabled {
			return nil, &NodeError{CodeNodeDisabled, "", "an operator has disabled this node"}
		}
		return node.Capabilities, nil
	}
	if a.isClient(r.Slug) {
		return nil, taken(r.Slug)
	}
	if a.enrollment.mode == EnrollmentApproval && r.OwnerProof == "" {
		return nil, invalidNode("owner_proof", "required where nodes wait for approval: with it the node asks again and gets its tokens")
	}
	if a.NodeDefaults != nil {
		return a.NodeDefaults.Capabilities, nil
	}
	return nil, nil
}

// isClient tells whether a caller that is no node has the name.
func (a *App) isClient(name string) bool {
	for _, key := range a.APIKeys("") {
		if key.Node == "" && key.Name == name {
			return true
		}
	}
	return name == FederatedID
}

func taken(slug string) *NodeError {
	return &NodeError{CodeNodeExists, "slug", "a node named " + slug + " exists already and is somebody else's"}
}

func (a *App) roomForPending() *NodeError {
	pending := 0
	for _, node := range a.Snapshot().Nodes {
		if node.AdminState == AdminPending {
			pending++
		}
	}
	if pending >= maxPending {
		return &NodeError{CodeEnrollmentFull, "", "too many nodes wait for approval; try again later"}
	}
	return nil
}

// refreshed reads the registry, so that what was written counts here at once.
func (a *App) refreshed(ctx context.Context, slug string) (*Node, error) {
	if err := a.registry.read(ctx, a.Store().Nodes()); err != nil {
		return nil, err
	}
	node := a.Snapshot().Node(slug)
	if node == nil {
		return nil, invalidNode("", "the node's settings do not work together; see the gateway's log")
	}
	return node, nil
}

// owns tells whether who registers is who registered before: by its own
// token, by its proof, or, where the enrollment secret was shown and no proof
// was ever given, by the URL that it has now. A URL alone is no secret.
func (a *App) owns(record nodeRecord, r Registration, as *Identity) bool {
	if as != nil && as.NodeID != 0 && as.ID == r.Slug {
		return true
	}
	if record.Owner == "" {
		return a.enrollment.mode == EnrollmentSecret && sameURL(record.URL, r.URL)
	}
	return subtle.ConstantTimeCompare([]byte(r.owner()), []byte(record.Owner)) == 1
}

// owner is the hash of the node's proof, or empty.
func (r *Registration) owner() string {
	if r.OwnerProof == "" {
		return ""
	}
	sum := sha256.Sum256([]byte("proof\x00" + r.OwnerProof))
	return hex.EncodeToString(sum[:])
}

func sameURL(a, b string) bool {
	return strings.EqualFold(strings.TrimRight(a, "/"), strings.TrimRight(b, "/"))
}

// apply takes over what the node says of itself. What it may do can only
// shrink by its own word; may is what it may do now, nil where nothing is said.
func (r *Registration) apply(record *nodeRecord, may []string, created, fixed bool) error {
	capabilities := r.Capabilities
	if may != nil {
		capabilities = slices.DeleteFunc(slices.Clone(capabilities), func(c string) bool { return !slices.Contains(may, c) })
	}
	record.Slug, record.Name = r.Slug, r.Name
	if !fixed {
		if record.URL != r.URL {
			record.URL, record.Trusted = r.URL, false
		}
		if created {
			record.Type = r.Type
		}
		if r.Dialect != "" && r.Dialect != "auto" {
			record.DialectRaw = json.RawMessage(`{"dialect":"` + r.Dialect + `"}`)
		}
	}
	if len(capabilities) > 0 {
		record.Capabilities = capabilities
	}
	if proof := r.owner(); proof != "" {
		record.Owner = proof
	}
	record.Description, record.Domains, record.Keywords = r.Description, r.Domains, r.Keywords
	record.DataTypes, record.Collections, record.Version, record.Metadata = r.DataTypes, r.Collections, r.Version, r.Metadata
	if !fixed {
		if err := record.Validate(); err != nil {
			return invalidNode("", "%s", strings.TrimPrefix(err.Error(), "node \""+r.Slug+"\": "))
		}
	}
	return nil
}

// Sizes of what a node may say of itself.
const (
	maxNodeName     = 255
	maxDescription  = 4000
	maxWords        = 500
	maxWordLength   = 255
	maxNodeMetadata = 16 << 10
	minOwnerProof   = 16
	maxOwnerProof   = 256
)

// Privileged tells whether a capability is one that only an operator gives,
// because it is over other nodes and over tokens.
func Privileged(capability string) bool {
	capability = strings.ToLower(capability)
	return capability == "tokens" || strings.Contains(capability, ":")
}

// normalize checks the registration and fills in its defaults.
func (r *Registration) normalize() (*url.URL, error) {
	r.Name = strings.TrimSpace(r.Name)
	if n := utf8.RuneCountInString(r.Name); n == 0 || n > maxNodeName || !utf8.ValidString(r.Name) || strings.ContainsFunc(r.Name, unicode.IsControl) {
		return nil, invalidNode("name", "expected 1 to %d characters, none of them a control character", maxNodeName)
	}
	if r.Slug == "" {
		if r.Slug = SlugOf(r.Name); len(r.Slug) > 64 {
			r.Slug = strings.Trim(r.Slug[:64], "-")
		}
		if !ValidSlug(r.Slug) {
			return nil, invalidNode("slug", "no slug can be made of the name; give one of a-z, 0-9 and hyphens")
		}
	}
	if !ValidSlug(r.Slug) {
		return nil, invalidNode("slug", "expected 1 to 64 characters of a-z, 0-9 and single hyphens inside, and not %q", LocalSlug)
	}
	if r.URL == "" {
		return nil, invalidNode("url", "the url is missing")
	}
	if len(r.URL) > 2048 || strings.ContainsAny(r.URL, "{}") {
		return nil, invalidNode("url", "expected at most 2048 characters without braces")
	}
	u, err := parseNodeURL(r.URL)
	if err != nil {
		return nil, invalidNode("url", "%s", err.Error())
	}
	switch r.Type {
	case "", TypeChild, TypeMaster:
	default:
		return nil, invalidNode("type", "expected child or master")
	}
	switch r.Dialect {
	case "", "auto", "laravel", "gateway":
	default:
		return nil, invalidNode("dialect", "expected auto, laravel or gateway; an operator can set others")
	}
	if utf8.RuneCountInString(r.Description) > maxDescription || !utf8.ValidString(r.Description) {
		return nil, invalidNode("description", "expected at most %d characters", maxDescription)
	}
	if len(r.Version) > maxWordLength || !utf8.ValidString(r.Version) {
		return nil, invalidNode("version", "expected at most %d bytes", maxWordLength)
	}
	if len(r.Metadata) > maxNodeMetadata || len(r.Metadata) > 0 && r.Metadata[0] != '{' {
		return nil, invalidNode("metadata", "expected an object of at most %d bytes", maxNodeMetadata)
	}
	if n := len(r.OwnerProof); n != 0 && (n < minOwnerProof || n > maxOwnerProof) {
		return nil, invalidNode("owner_proof", "expected %d to %d bytes", minOwnerProof, maxOwnerProof)
	}
	for _, c := range r.Capabilities {
		if Privileged(c) {
			return nil, &NodeError{CodeNotPermitted, "capabilities", "a node cannot give itself " + clipWord(c) + "; an operator can"}
		}
	}
	return u, r.checkWords()
}

func (r *Registration) checkWords() error {
	var names []string
	for _, c := range r.Collections {
		names = append(names, c.Name, c.Class)
	}
	for field, words := range map[string][]string{
		"capabilities": r.Capabilities, "domains": r.Domains, "keywords": r.Keywords, "data_types": r.DataTypes, "collections": names,
	} {
		if len(words) > 2*maxWords || field != "collections" && len(words) > maxWords {
			return invalidNode(field, "expected at most %d entries", maxWords)
		}
		for _, word := range words {
			if len(word) > maxWordLength || !utf8.ValidString(word) {
				return invalidNode(field, "an entry is longer than %d bytes or no valid UTF-8", maxWordLength)
			}
		}
	}
	return nil
}

func clipWord(word string) string {
	if len(word) > 64 {
		return strings.ToValidUTF8(word[:64], "") + "…"
	}
	return word
}

// preflightTimeout bounds the one request that a registration sends.
const preflightTimeout = 3 * time.Second

// allowURL refuses a URL where nodes may not live, also when the node itself
// sends callers there.
func (a *App) allowURL(ctx context.Context, u *url.URL) error {
	refused := func(err error) error {
		var policy *URLRefusedError
		if errors.As(err, &policy) {
			return &NodeError{CodeURLRefused, "url", policy.Reason}
		}
		return err
	}
	if err := a.urlPolicy.Check(ctx, u); err != nil {
		return refused(err)
	}
	if a.enrollment.mode != EnrollmentSecret {
		return nil // strangers make us send nothing
	}
	ctx, cancel := context.WithTimeout(ctx, preflightTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.JoinPath("/api/ai-engine/health").String(), http.NoBody)
	if err != nil {
		return invalidNode("url", "the url cannot be requested")
	}
	request.Header.Set("Accept", "application/json")
	transport := newTransport(1, a.urlPolicy.control(u.Hostname()))
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	if err != nil {
		var refusal *RefusalError
		if errors.As(err, &refusal) {
			return &NodeError{CodeURLRefused, "url", "the host of the url has an address where nodes may not live"}
		}
		return nil // a node that is down may register
	}
	_ = response.Body.Close()
	location, err := response.Location()
	if err != nil || response.StatusCode < 300 || response.StatusCode > 399 {
		return nil
	}
	var policy *URLRefusedError
	if err := a.urlPolicy.Check(ctx, location); errors.As(err, &policy) {
		return &NodeError{CodeURLRefused, "url", "the url redirects to where nodes may not live"}
	}
	return nil
}

// Config is the registration as an operator's settings. The error is a [NodeError].
func (r *Registration) Config() (NodeConfig, error) {
	if _, err := r.normalize(); err != nil {
		return NodeConfig{}, err
	}
	c := NodeConfig{
		Slug: r.Slug, URL: r.URL, Name: r.Name, Type: r.Type, Capabilities: r.Capabilities, Description: r.Description,
		Domains: r.Domains, Keywords: r.Keywords, DataTypes: r.DataTypes, Collections: r.Collections,
	}
	if r.Dialect != "" && r.Dialect != "auto" {
		c.DialectRaw = json.RawMessage(`{"dialect":"` + r.Dialect + `"}`)
	}
	return c, nil
}
