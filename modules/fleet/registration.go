package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

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
	// node holds. Default: what it says when it is probed. What a node that
	// registers again does not mention, Version and Metadata too, stays as it is.
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

	epoch int64 // of the node's last revocation when it began to prove who it is
}

// maxPending is how many nodes may wait for approval, because with that mode
// anybody can make one.
const maxPending = 1000

// Register adds a node that asks for it, or gives one back its identity. The
// secret is what it showed for enrollment; as is who it proved to be, or nil.
// The error is a [NodeError] or ctx's; nothing is changed then, unless the store
// is lost on the way.
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
	var registered *Registered
	line := r.Slug
	if a.enrollment.mode == EnrollmentApproval {
		line = "" // one after the other, so that they can be counted
	}
	err = a.registry.write(ctx, line, func(ctx context.Context) (err error) {
		registered, err = a.register(ctx, opened, r, as)
		return err
	})
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

// register writes the node once; the error is the store's when somebody else
// wrote it meanwhile.
func (a *App) register(ctx context.Context, opened store.Store, r Registration, as *Identity) (*Registered, error) {
	nodes, epoch := opened.Nodes(), a.askedUnder(r.Slug)
	stands, err := nodes.Get(ctx, r.Slug)
	known := err == nil
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	var record nodeRecord
	if known {
		if record, err = readNodeRecord(stands); err != nil {
			return nil, &NodeError{CodeNodeExists, "slug", "a node with this name stands and is broken; an operator must look at it"}
		}
	}
	_, fixed := a.registry.static[r.Slug]
	if !fixed {
		if err := a.heldElsewhere(ctx, opened, r.Slug, CodeNodeExists); err != nil {
			return nil, err
		}
		record.Adopted = 0 // no file has it any more: it is one that registered
	}
	if a.registry.displaced(&record) {
		return nil, store.ErrConflict // it is about to go
	}
	a.registry.settle(&record)
	created := !fixed && record.vacant()
	if created {
		if record = record.word(); record.AdminState == AdminDisabled {
			return nil, disabledName(r.Slug)
		}
		record.Registered = time.Now().UTC().Truncate(time.Millisecond)
		if a.enrollment.mode == EnrollmentApproval {
			if err := a.roomForPending(); err != nil {
				return nil, err
			}
			record.AdminState = AdminPending
		}
	} else if err := a.owns(&record, r, as, fixed); err != nil {
		return nil, err
	}
	may, err := a.mayRegister(&r, &record, created)
	if err != nil {
		return nil, err
	}
	if err := r.apply(&record, may, created, fixed); err != nil {
		return nil, err
	}
	number := a.numberOf(r.Slug)
	if as.isNode(r.Slug, number) {
		epoch = as.epoch
		if proof := r.owner(); proof != "" && !fixed && !record.placed() {
			record.Owner = proof
		}
	}
	if err := a.registry.fits(&record); err != nil {
		return nil, err
	}
	put := store.NodeRecord{Slug: r.Slug, ID: stands.ID, Revision: stands.Revision}
	if put.Data, err = record.encode(); err != nil {
		return nil, err
	}
	former := false
	switch {
	case created:
		put.ID = 0 // whoever had the name before was another
		if former, err = hasNumber(ctx, nodes, r.Slug); err != nil {
			return nil, err
		}
	case !known && number == 0:
		return nil, errUnnumbered
	case !known:
		put.ID = number
	}
	written, err := nodes.Put(ctx, put)
	if err != nil {
		return nil, err
	}
	if former {
		if err := a.revokeAll(ctx, opened, r.Slug); err != nil {
			return nil, err
		}
		epoch = a.epoch(r.Slug)
	}
	node, err := a.registry.written(ctx, nodes, written)
	if err != nil {
		return nil, err
	}
	return &Registered{Node: node, Created: created, Pending: node.AdminState == AdminPending, epoch: epoch}, nil
}

// hasNumber tells whether the name has a number before somebody takes it: one
// that left the Caddyfile keeps its own and what it was given, and may come back
// to them until then. They are revoked once the name is taken: by its new number
// they are good for nothing by then, and who loses the race for the name has
// revoked nothing of who won it.
func hasNumber(ctx context.Context, nodes store.Nodes, slug string) (bool, error) {
	switch _, err := nodes.ID(ctx, slug); {
	case errors.Is(err, store.ErrNotFound):
		return false, nil
	default:
		return err == nil, err
	}
}

// numberOf is the number of the node that stands, 0 when there is none.
func (a *App) numberOf(slug string) int64 {
	if node := a.Snapshot().Node(slug); node != nil {
		return node.ID
	}
	return 0
}

// mayRegister returns what the node may do at most, nil where nothing is said,
// and refuses one that may not register at all.
func (a *App) mayRegister(r *Registration, record *nodeRecord, created bool) (may []string, err error) {
	if node := a.Snapshot().Node(r.Slug); !created && node != nil {
		// the record is newer than the snapshot, where another gateway wrote it
		stands := a.whole(record)
		if stands.AdminState == AdminDisabled {
			return nil, &NodeError{CodeNodeDisabled, "", "an operator has disabled this node"}
		}
		return stands.Capabilities, nil
	}
	if a.isClient(r.Slug) {
		return nil, taken(r.Slug)
	}
	if a.enrollment.mode == EnrollmentApproval && r.OwnerProof == "" {
		return nil, invalidNode("owner_proof", "required where nodes wait for approval: with it the node asks again and gets its tokens")
	}
	if a.NodeDefaults != nil {
		may = a.NodeDefaults.Capabilities
	}
	if record.Limit == nil {
		return may, nil
	}
	if len(r.Capabilities) == 0 {
		r.Capabilities = a.Complete(NodeConfig{}).Capabilities
	}
	if may == nil {
		may = record.Limit
	}
	may = intersection(may, record.Limit)
	if len(intersection(may, r.Capabilities)) == 0 {
		return nil, &NodeError{CodeNotPermitted, "capabilities",
			"an operator limited what the node of this name may do to: " + strings.Join(record.Limit, ", ")}
	}
	return may, nil
}

// whole is what a node is by its record and by what the Caddyfile has of it.
func (a *App) whole(record *nodeRecord) NodeConfig {
	config := record.NodeConfig
	if static, fixed := a.registry.static[record.Slug]; fixed {
		config = static.over(config)
	}
	return a.Complete(config)
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

// apply takes over what the node says of itself. What it may do can only
// shrink by its own word; may is what it may do now, nil where nothing is said.
func (r *Registration) apply(record *nodeRecord, may []string, created, fixed bool) error {
	capabilities := r.Capabilities
	if may != nil {
		capabilities = slices.DeleteFunc(slices.Clone(capabilities), func(c string) bool { return !slices.Contains(may, c) })
	}
	record.Slug, record.Name = r.Slug, r.Name
	if !fixed {
		if record.placed() && !sameURL(record.URL, r.URL) {
			return heldInPlace()
		}
		if !sameURL(record.URL, r.URL) {
			record.moveTo(r.URL)
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
	switch proof := r.owner(); {
	case fixed: // known by its place while the Caddyfile has it, and by the proof of before again later
	case record.placed():
		record.Owner = "" // what an operator placed is known by its place
	case proof != "" && (created || record.Owner != ""):
		record.Owner = proof // to one that came by its URL alone, nobody adds a proof
	}
	r.describe(record)
	if !fixed {
		if err := record.Validate(); err != nil {
			return invalidNode("", "%s", strings.TrimPrefix(err.Error(), "node \""+r.Slug+"\": "))
		}
	}
	return nil
}
