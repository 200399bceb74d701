package fleet

import (
	"encoding/json"

	"github.com/caddy-federation/caddy-federation/modules/fleet/strictjson"
)

// UnmarshalJSON implements [json.Unmarshaler]. Its errors name the member.
func (a *App) UnmarshalJSON(data []byte) error {
	type federation App
	return strictjson.Unmarshal(data, (*federation)(a))
}

// Interface guard
var _ json.Unmarshaler = (*App)(nil)
