package fleet

import (
	"slices"
	"time"
)

// Stands tells whether a caller that was let in may still do what needs the
// capability, or anything at all when it is empty: its credential has not
// ended, been revoked or deleted, and its node stands and may act. A request
// is authenticated once, before its body was read; what it writes is asked for
// again. It reads what is in memory alone.
func (a *App) Stands(id *Identity, capability string) bool {
	g := a.authority.current()
	if g == nil || !id.Expires.IsZero() && !time.Now().Before(id.Expires) {
		return false
	}
	if id.NodeID != 0 {
		node := a.Snapshot().Node(id.ID)
		if node == nil || node.ID != id.NodeID || mayAct(node) != nil || max(g.epochs[id.ID], node.since) > id.epoch {
			return false
		}
		if capability != "" && !slices.Contains(node.Capabilities, capability) {
			return false
		}
	}
	switch id.Method {
	case "jwt":
		return !g.revoked(id.TokenID, "", 0)
	case "api_key":
		return g.byID[id.TokenID] != nil || g.others[id.TokenID]
	default:
		return true
	}
}

// Session returns [App.Stands] of a caller and a capability, for requests that
// last, such as streams.
func (a *App) Session(id *Identity, capability string) (stands func() bool) {
	return func() bool { return a.Stands(id, capability) }
}
