package balancer

import (
	"encoding/json"

	"github.com/caddy-federation/caddy-federation/modules/fleet/strictjson"
)

// UnmarshalJSON implements [json.Unmarshaler]. Its errors name the member.
func (t *Transport) UnmarshalJSON(data []byte) error {
	type transport Transport
	return strictjson.Unmarshal(data, (*transport)(t))
}

// UnmarshalJSON implements [json.Unmarshaler]. Its errors name the member.
func (s *Selection) UnmarshalJSON(data []byte) error {
	type selection Selection
	return strictjson.Unmarshal(data, (*selection)(s))
}

// UnmarshalJSON implements [json.Unmarshaler]. Its errors name the member.
func (c *CircuitBreaker) UnmarshalJSON(data []byte) error {
	type circuitBreaker CircuitBreaker
	return strictjson.Unmarshal(data, (*circuitBreaker)(c))
}

// Interface guards
var (
	_ json.Unmarshaler = (*Transport)(nil)
	_ json.Unmarshaler = (*Selection)(nil)
	_ json.Unmarshaler = (*CircuitBreaker)(nil)
)
