package admin

import (
	"net/http"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// BreakerList is the answer to GET /federation/breakers.
type BreakerList struct {
	Breakers []fleet.NodeBreaker `json:"breakers"`
	Count    int                 `json:"count"`
}

func listBreakers(x *exchange) error {
	list := BreakerList{Breakers: []fleet.NodeBreaker{}}
	for _, node := range x.app.Snapshot().Nodes {
		list.Breakers = append(list.Breakers, fleet.NodeBreaker{Node: node.Slug, BreakerStatus: node.Breaker()})
	}
	list.Count = len(list.Breakers)
	return x.answer(http.StatusOK, list)
}

func getBreaker(x *exchange) error {
	node, err := x.node()
	if err != nil {
		return err
	}
	return x.answer(http.StatusOK, fleet.NodeBreaker{Node: node.Slug, BreakerStatus: node.Breaker()})
}

// operator is who forces a breaker through the admin endpoint, which knows no
// names.
const operator = "operator"

func forceBreaker(x *exchange) error {
	node, err := x.node()
	if err != nil {
		return err
	}
	var wish fleet.BreakerForce
	if err := x.read(&wish, maxBody); err != nil {
		return err
	}
	if err := wish.Apply(node, operator); err != nil {
		return refuse(http.StatusBadRequest, "%s", err.Error())
	}
	return x.answer(http.StatusOK, fleet.NodeBreaker{Node: node.Slug, BreakerStatus: node.Breaker()})
}
