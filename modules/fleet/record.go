package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
)

// nodeRecord is what the registry keeps of a node: its settings, and what no
// file can say of it. For a node of the Caddyfile it holds what was changed
// since, in the fields that the file leaves open.
type nodeRecord struct {
	NodeConfig
	// Version is the node's software, as it said when it registered.
	Version string `json:"version,omitempty"`
	// Metadata is a JSON object of the node's own, never read by us.
	Metadata json.RawMessage `json:"metadata,omitempty"`
	// Owner is the SHA-256 of the proof that the node gave, in hex; empty when
	// it gave none.
	Owner string `json:"owner,omitempty"`
	// Trusted is set when an operator chose the URL: [URLPolicy] is for those
	// that choose their own.
	Trusted bool `json:"trusted,omitempty"`
	// Empowered is set when an operator gave the node power over others where
	// it lives: it stays there then, by the URL policy.
	Empowered bool `json:"empowered,omitempty"`
	// Limit is what an operator let the node do at most. It stays with the name,
	// see word, until an operator removes the name.
	Limit []string `json:"limit,omitempty"`
	// Adopted is set while the Caddyfile has a node that registered before, until
	// it moves by itself: what an operator gives it from then on carries this
	// epoch (seconds, Unix time) at least. See registry_adopted.go.
	Adopted int64 `json:"adopted,omitempty"`
	// Since is the epoch that what the node has must carry at least.
	Since int64 `json:"since,omitempty"`
	// Registered is when the record was made.
	Registered time.Time `json:"registered,omitzero"`
}

// errPlaceholder keeps secrets at home: what comes over the network is text.
var errPlaceholder = errors.New("a registered node cannot use placeholders")

func readNodeRecord(record store.NodeRecord) (n nodeRecord, err error) {
	if err := json.Unmarshal(record.Data, &n); err != nil {
		return n, err
	}
	n.Slug = record.Slug
	if n.TransportRaw != nil {
		return n, errors.New("a registered node cannot have a transport of its own")
	}
	texts := []string{n.URL}
	if c := n.Credentials; c != nil {
		texts = append(texts, c.Value, c.User, c.Header)
	}
	for _, values := range n.HeaderUp {
		texts = append(texts, values...)
	}
	for _, text := range texts {
		if strings.ContainsAny(text, "{}") {
			return n, errPlaceholder
		}
	}
	return n, nil
}

// encode writes what the store is to keep of the node. Whatever writes a node
// comes through here. The error is a [NodeError] when its metadata cannot be kept.
func (n nodeRecord) encode() ([]byte, error) {
	if err := CheckMetadata(n.Metadata); err != nil {
		return nil, err
	}
	return n.marshal()
}

func (n nodeRecord) marshal() ([]byte, error) {
	slug := n.Slug
	n.Slug = "" // the record has it
	data, err := json.Marshal(n)
	if err != nil {
		return nil, fmt.Errorf("writing the record of node %q: %w", slug, err)
	}
	return data, nil
}

// placed tells whether an operator's word holds the node where it is. It is
// known by its place then, and a proof does not count.
func (n *nodeRecord) placed() bool { return n.Trusted || n.Empowered }

// vacant is a record of no node: of one of the Caddyfile that has left it, of
// one that unregistered itself, or of one that lost its name.
func (n *nodeRecord) vacant() bool { return n.URL == "" }

// word is what an operator decided about the name, whoever has it: the most that
// its node may do, and that it is held back. That a node was let in, or waits
// for it, is about that node alone.
func (n *nodeRecord) word() nodeRecord {
	word := nodeRecord{Limit: n.Limit}
	word.Slug = n.Slug
	if n.AdminState != AdminEnabled && n.AdminState != AdminPending {
		word.AdminState = n.AdminState
	}
	return word
}

// silent tells whether the word of an operator says nothing.
func (n *nodeRecord) silent() bool { return len(n.Limit) == 0 && n.AdminState == "" }

// moveTo gives the node the URL of its own choice. What an operator gave for
// the old one, secrets among it, does not go along.
func (n *nodeRecord) moveTo(url string) {
	n.URL, n.Trusted, n.Credentials, n.HeaderUp, n.Adopted = url, false, nil, nil, 0
}

// heldInPlace is for a node that would move although an operator placed it.
func heldInPlace() *NodeError {
	return &NodeError{CodeNotPermitted, "url", "an operator chose where this node lives, and only an operator can change it"}
}
