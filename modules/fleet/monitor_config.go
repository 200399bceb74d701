package fleet

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-federation/caddy-federation/caddyfile/subdirective"
	"github.com/caddy-federation/caddy-federation/modules/fleet/monitor"
)

// HealthConfig is how nodes are checked.
type HealthConfig struct {
	// Off judges no node by checks. What nodes hold is asked all the same.
	// Default: false.
	Off bool `json:"off,omitempty"`
	// Interval is the pause between two checks of a node, from 100ms to 1h.
	// Default: 5s.
	Interval caddy.Duration `json:"interval,omitempty"`
	// Fast is the pause while the node's state is changing, no longer than
	// Interval. Default: 1s, or Interval when that is shorter.
	Fast caddy.Duration `json:"fast,omitempty"`
	// Down is the pause while it is unhealthy. Default: 10s.
	Down caddy.Duration `json:"down,omitempty"`
	// Timeout is how long a check may take. Default: 2s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
	// Rise is how many checks in a row must go well for an unhealthy node to
	// be taken back. Default: 2.
	Rise int `json:"rise,omitempty"`
	// Fall is how many checks in a row must fail for a node to be left out.
	// Default: 3.
	Fall int `json:"fall,omitempty"`
	// Jitter is the share by which each pause varies both ways, at most 0.9;
	// -1: none. Default: 0.2.
	Jitter float64 `json:"jitter,omitempty"`
	// Vantage is how many gateways check each node. Default: 2.
	Vantage int `json:"vantage,omitempty"`
}

const defaultCheckTimeout = 2 * time.Second

// Validate checks the values. The error names the field and what was expected.
func (c *HealthConfig) Validate() error {
	if err := c.validateEach(); err != nil {
		return err
	}
	interval := orDefault(time.Duration(c.Interval), monitor.Default.Interval)
	if fast := time.Duration(c.Fast); fast > interval {
		return fmt.Errorf("fast %v is longer than interval %v", fast, interval)
	}
	return nil
}

// validateEach checks the values one by one.
func (c *HealthConfig) validateEach() error {
	for _, pause := range []struct {
		name  string
		value caddy.Duration
	}{{"interval", c.Interval}, {"fast", c.Fast}, {"down", c.Down}, {"timeout", c.Timeout}} {
		if pause.value != 0 && (pause.value < caddy.Duration(100*time.Millisecond) || pause.value > caddy.Duration(time.Hour)) {
			return fmt.Errorf("%s %v is not from 100ms to 1h", pause.name, time.Duration(pause.value))
		}
	}
	for _, count := range []struct {
		name  string
		value int
	}{{"rise", c.Rise}, {"fall", c.Fall}, {"vantage", c.Vantage}} {
		if count.value < 0 || count.value > 1000 {
			return fmt.Errorf("%s %d is not from 1 to 1000", count.name, count.value)
		}
	}
	if math.IsNaN(c.Jitter) || c.Jitter > 0.9 || c.Jitter < 0 && c.Jitter != -1 {
		return fmt.Errorf("jitter %v is not a share above 0 and at most 0.9, or -1", c.Jitter)
	}
	return nil
}

// rules are the values with the defaults filled in, and the timeout.
func (c *HealthConfig) rules() (*monitor.Rules, time.Duration) {
	r := monitor.Default
	if c == nil {
		return &r, defaultCheckTimeout
	}
	r.Interval = orDefault(time.Duration(c.Interval), r.Interval)
	r.Fast = min(orDefault(time.Duration(c.Fast), r.Fast), r.Interval)
	r.Down = max(orDefault(time.Duration(c.Down), r.Down), r.Fast)
	r.Rise = orDefault(c.Rise, r.Rise)
	r.Fall = orDefault(c.Fall, r.Fall)
	r.Jitter = orDefault(c.Jitter, r.Jitter)
	r.Vantage = orDefault(c.Vantage, r.Vantage)
	return &r, orDefault(time.Duration(c.Timeout), defaultCheckTimeout)
}

var healthSubdirectives = []string{"interval", "fast", "down", "timeout", "rise", "fall", "jitter", "vantage"}

// UnmarshalCaddyfile reads the block of health; d stands on its name. Syntax:
//
//	health [off] {
//	    interval <duration>
//	    fast     <duration>
//	    down     <duration>
//	    timeout  <duration>
//	    rise     <n>
//	    fall     <n>
//	    jitter   <share> | off
//	    vantage  <n>
//	}
func (c *HealthConfig) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	switch args := d.RemainingArgs(); {
	case len(args) == 1 && args[0] == "off":
		c.Off = true
	case len(args) > 0:
		return d.Errf("health takes off or a block, got %s", args[0])
	}
	block := subdirective.New("health", healthSubdirectives...)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if c.Off {
			return d.Errf("health off takes no block")
		}
		name := d.Val()
		if !slices.Contains(healthSubdirectives, name) {
			return block.Unknown(d)
		}
		text, err := block.Value(d)
		if err != nil {
			return err
		}
		named := block.Named(name)
		switch name {
		case "interval":
			c.Interval, err = durationOf(d, named, text, false)
		case "fast":
			c.Fast, err = durationOf(d, named, text, false)
		case "down":
			c.Down, err = durationOf(d, named, text, false)
		case "timeout":
			c.Timeout, err = durationOf(d, named, text, false)
		case "rise":
			c.Rise, err = countOf(d, named, text, false)
		case "fall":
			c.Fall, err = countOf(d, named, text, false)
		case "vantage":
			c.Vantage, err = countOf(d, named, text, false)
		case "jitter":
			c.Jitter, err = shareOf(d, named, text)
		}
		if err != nil {
			return err
		}
		// checked line by line, so that the error has the line
		check := c.validateEach
		if c.Interval != 0 {
			check = c.Validate
		}
		if err := check(); err != nil {
			return d.Errf("health: %v", err)
		}
	}
	if err := c.Validate(); err != nil {
		return d.Errf("health: %v", err)
	}
	return nil
}
