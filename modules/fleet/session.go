package fleet

import (
	"time"
)

// Session returns a function that tells whether the caller may still do what
// needs the capability: its credential has not ended, been revoked or deleted,
// and its node stands and may act. It is for requests that last, such as
// streams, which are authenticated once. It reads what is in memory alone.
func (a *App) Session(id *Identity, capability string) (stands func() bool) {
	began := a.authority.current()
	return func() bool {
		g := a.authority.current()
		if g == nil || began == nil || !id.Expires.IsZero() && !time.Now().Before(id.Expires) {
			return false
		}
		if id.NodeID != 0 {
			node := a.Snapshot().Node(id.ID)
			if node == nil || node.ID != id.NodeID || mayAct(node) != nil || !subset([]string{capability}, node.Capabilities) {
				return false
			}
		}
		if g == began {
			return true
		}
		switch id.Method {
		case "jwt":
			// an epoch that began meanwhile is after every token that was good before
			return !g.revoked(id.TokenID, "", 0) && g.epochs[id.ID] == began.epochs[id.ID]
		case "api_key":
			for _, key := range g.imported {
				if key.id == id.TokenID {
					return true
				}
			}
			return g.byID[id.TokenID] != nil
		default:
			return true
		}
	}
}
