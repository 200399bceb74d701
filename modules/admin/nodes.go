package admin

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/caddy-federation/caddy-federation/modules/admin/importing"
	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// NodeList is the answer to GET /federation/nodes.
type NodeList struct {
	Nodes []fleet.NodeView `json:"nodes"`
	Count int              `json:"count"`
}

func listNodes(x *exchange) error {
	list := NodeList{Nodes: []fleet.NodeView{}}
	for _, node := range x.app.Snapshot().Nodes {
		list.Nodes = append(list.Nodes, node.View())
	}
	list.Count = len(list.Nodes)
	return x.answer(http.StatusOK, list)
}

func getNode(x *exchange) error {
	node, err := x.node()
	if err != nil {
		return err
	}
	return x.answer(http.StatusOK, node.View())
}

// addNode takes a node's settings. It is the operator's word: the node may
// live anywhere, and is enabled at once.
func addNode(x *exchange) error {
	var settings importing.Settings
	if err := x.read(&settings, maxBody); err != nil {
		return err
	}
	if settings.AdminState == fleet.AdminPending {
		return refuse(http.StatusBadRequest, "admin_state: expected enabled, draining, maintenance or disabled; pending is what a node is until it is approved")
	}
	node, err := add(x, settings)
	if err != nil {
		return err
	}
	return x.answer(http.StatusCreated, node.View())
}

// add writes a new node with what a registry knows besides its settings.
func add(x *exchange, settings importing.Settings) (*fleet.Node, error) {
	return x.app.AddNodeSaying(x.Context(), settings.NodeConfig, settings.Version, settings.Metadata)
}

func changeNode(x *exchange) error {
	node, err := x.node()
	if err != nil {
		return err
	}
	var change map[string]json.RawMessage
	if err := x.read(&change, maxBody); err != nil {
		return err
	}
	if len(change) == 0 {
		return refuse(http.StatusBadRequest, "there is nothing to change, expected some of %s", strings.Join(fleet.ChangeMembers(), ", "))
	}
	node, err = write(x, node, change)
	if err != nil {
		return err
	}
	return x.answer(http.StatusOK, node.View())
}

// write changes a node. The operator's word on it goes its own way, which
// tells the others and asks the URL policy.
func write(x *exchange, node *fleet.Node, change map[string]json.RawMessage) (*fleet.Node, error) {
	word, spoken := change["admin_state"]
	var state fleet.AdminState
	if spoken {
		if err := json.Unmarshal(word, &state); err != nil {
			return nil, refuse(http.StatusBadRequest, "admin_state: expected a text")
		}
		if state == "" {
			state = fleet.AdminEnabled
		}
		delete(change, "admin_state")
	}
	var err error
	if len(change) > 0 {
		if node, err = x.app.UpdateNode(x.Context(), node.Slug, change, fleet.ByOperator); err != nil {
			return nil, err
		}
	}
	if spoken && state != node.AdminState {
		return x.app.SetAdminState(x.Context(), node.Slug, state)
	}
	return node, nil
}

func deleteNode(x *exchange) error {
	// one that is stored and cannot be built is in no snapshot
	if err := x.app.DeleteNode(x.Context(), x.PathValue("slug")); err != nil {
		return err
	}
	x.w.WriteHeader(http.StatusNoContent)
	return nil
}

func approveNode(x *exchange) error {
	node, err := x.node()
	if err != nil {
		return err
	}
	if node.AdminState != fleet.AdminPending {
		return refuse(http.StatusConflict, "node %q does not wait for approval, it is %s", node.Slug, node.AdminState)
	}
	return say(x, node, fleet.AdminEnabled)
}

func setState(state fleet.AdminState) call {
	return func(x *exchange) error {
		node, err := x.node()
		if err != nil && state == fleet.AdminEnabled {
			return enableName(x, err)
		}
		if err != nil {
			return err
		}
		if node.AdminState == fleet.AdminPending && state == fleet.AdminEnabled {
			return refuse(http.StatusConflict, "node %q waits for approval; approve it instead", node.Slug)
		}
		return say(x, node, state)
	}
}

// enableName ends an operator's word on a name that no node has. unknown is the
// answer when nothing was said of it.
func enableName(x *exchange, unknown error) error {
	err := x.app.EnableName(x.Context(), x.PathValue("slug"))
	var refused *fleet.NodeError
	if errors.As(err, &refused) && refused.Code == fleet.CodeNodeUnknown {
		return unknown
	}
	if err == nil {
		x.w.WriteHeader(http.StatusNoContent) // there is no node to show
	}
	return err
}

func say(x *exchange, node *fleet.Node, state fleet.AdminState) error {
	node, err := x.app.SetAdminState(x.Context(), node.Slug, state)
	if err != nil {
		return err
	}
	return x.answer(http.StatusOK, node.View())
}

func pingNode(x *exchange) error {
	node, err := x.node()
	if err != nil {
		return err
	}
	if node.AdminState == fleet.AdminPending {
		return refuse(http.StatusConflict, "node %q waits for approval and is not contacted before", node.Slug)
	}
	return x.answer(http.StatusOK, x.app.Ping(x.Context(), node))
}
