package fleet

import (
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-federation/caddy-federation/caddyfile/subdirective"
)

var breakerSubdirectives = []string{
	"consecutive", "failure_ratio", "slow_ratio", "slow_after", "window", "min_requests", "open",
	"probes", "successes", "ramp", "max_ejected", "panic", "shadow",
}

// UnmarshalCaddyfile reads the block of a breaker; d stands on its name.
// Syntax:
//
//	breaker [off] {
//	    consecutive   <n> | off
//	    failure_ratio <share> | off
//	    slow_ratio    <share> | off
//	    slow_after    <duration>
//	    window        <duration>
//	    min_requests  <n>
//	    open          <first> [<longest>]
//	    probes        <n>
//	    successes     <n>
//	    ramp          <duration> | off
//	    max_ejected   <share> | off
//	    panic         <share> | off
//	    shadow
//	}
func (c *BreakerConfig) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	switch args := d.RemainingArgs(); {
	case len(args) == 1 && args[0] == "off":
		c.Off = true
	case len(args) > 0:
		return d.Errf("breaker takes off or a block, got %s", args[0])
	}
	block := subdirective.New("breaker", breakerSubdirectives...)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if c.Off {
			return d.Errf("breaker off takes no block")
		}
		if err := c.unmarshalSubdirective(d, block); err != nil {
			return err
		}
	}
	if err := c.Validate(); err != nil {
		return d.Errf("breaker: %v", err)
	}
	return nil
}

func (c *BreakerConfig) unmarshalSubdirective(d *caddyfile.Dispenser, block *subdirective.Block) error {
	name := d.Val()
	if name == "shadow" {
		c.Shadow = true
		return block.Flag(d)
	}
	if name == "open" {
		return c.unmarshalOpen(d, block)
	}
	known := false
	for _, k := range breakerSubdirectives {
		known = known || k == name
	}
	if !known {
		return block.Unknown(d)
	}
	text, err := block.Value(d)
	if err != nil {
		return err
	}
	named := block.Named(name)
	switch name {
	case "consecutive":
		c.Consecutive, err = countOf(d, named, text, true)
	case "min_requests":
		c.MinRequests, err = countOf(d, named, text, false)
	case "probes":
		c.Probes, err = countOf(d, named, text, false)
	case "successes":
		c.Successes, err = countOf(d, named, text, false)
	case "failure_ratio":
		c.FailureRatio, err = shareOf(d, named, text)
	case "slow_ratio":
		c.SlowRatio, err = shareOf(d, named, text)
	case "max_ejected":
		c.MaxEjected, err = shareOf(d, named, text)
	case "panic":
		c.Panic, err = shareOf(d, named, text)
	case "slow_after":
		c.SlowAfter, err = durationOf(d, named, text, false)
	case "window":
		c.Window, err = durationOf(d, named, text, false)
	case "ramp":
		c.Ramp, err = durationOf(d, named, text, true)
	}
	if err != nil {
		return err
	}
	// checked line by line, so that the error has the line
	if err := c.Validate(); err != nil {
		return d.Errf("breaker: %v", err)
	}
	return nil
}

func (c *BreakerConfig) unmarshalOpen(d *caddyfile.Dispenser, block *subdirective.Block) error {
	times, err := block.Values(d)
	if err != nil {
		return err
	}
	if len(times) > 2 {
		return d.Errf("breaker: open takes <first> [<longest>], got %d arguments", len(times))
	}
	if c.Open, err = durationOf(d, block.Named("open"), times[0], false); err == nil && len(times) == 2 {
		c.MaxOpen, err = durationOf(d, block.Named("open"), times[1], false)
	}
	if err != nil {
		return err
	}
	if err := c.Validate(); err != nil {
		return d.Errf("breaker: %v", err)
	}
	return nil
}

// isOff tells whether an argument turns a rule off.
func isOff(text string) bool { return text == "off" || text == "-1" }

// countOf, shareOf and durationOf read a value. name is what errors say that it
// is of: the block and its subdirective, as in "breaker: probes".
func countOf(d *caddyfile.Dispenser, name, text string, mayBeOff bool) (int, error) {
	if mayBeOff && isOff(text) {
		return -1, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, d.Errf("%s %s is not a whole number above 0%s", name, text, orOff(mayBeOff))
	}
	return n, nil
}

func shareOf(d *caddyfile.Dispenser, name, text string) (float64, error) {
	if isOff(text) {
		return -1, nil
	}
	share, err := strconv.ParseFloat(text, 64)
	if err != nil || !(share > 0 && share <= 1) {
		return 0, d.Errf("%s %s is not a share above 0 and at most 1, as in 0.5, or off", name, text)
	}
	return share, nil
}

func durationOf(d *caddyfile.Dispenser, name, text string, mayBeOff bool) (caddy.Duration, error) {
	if mayBeOff && isOff(text) {
		return -1, nil
	}
	duration, err := caddy.ParseDuration(text)
	if err != nil || duration <= 0 {
		return 0, d.Errf("%s %s is not a duration above 0, as in %v%s", name, text, 5*time.Second, orOff(mayBeOff))
	}
	return caddy.Duration(duration), nil
}

func orOff(mayBeOff bool) string {
	if mayBeOff {
		return ", or off"
	}
	return ""
}
