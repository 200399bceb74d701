package fleet

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-federation/caddy-federation/caddyfile/subdirective"
	"github.com/caddy-federation/caddy-federation/modules/fleet/alert"
)

// unmarshalAlert reads where alerts go. Syntax:
//
//	alert webhook <url> {
//	    secret <secret>
//	    on     <kind...>
//	    format json | alertmanager | slack
//	    repeat <duration> | off
//	}
func (a *App) unmarshalAlert(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Errf("federation: alert: the kind of receiver is missing, expected webhook")
	}
	if args[0] != "webhook" {
		return d.Errf("federation: alert: unknown kind of receiver %s%s", args[0], subdirective.Hint(args[0], []string{"webhook"}))
	}
	if len(args) != 2 {
		// an address may hold a secret: count, do not quote
		return d.Errf("federation: alert webhook takes <url>, got %d arguments", len(args)-1)
	}
	w := AlertWebhook{URL: args[1]}
	check := func() error {
		if err := w.Validate(); err != nil {
			return d.Errf("alert webhook: %v", err)
		}
		return nil
	}
	if err := check(); err != nil {
		return err
	}
	block := subdirective.New("alert webhook", "secret", "on", "format", "repeat")
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := w.unmarshalSubdirective(d, block); err != nil {
			return err
		}
		// checked line by line, so that the error has the line
		if err := check(); err != nil {
			return err
		}
	}
	for _, other := range a.AlertWebhooks {
		if other.URL == w.URL && other.Format == w.Format {
			return d.Errf("federation: an alert webhook with this url and format is set twice")
		}
	}
	a.AlertWebhooks = append(a.AlertWebhooks, w)
	return nil
}

func (c *AlertWebhook) unmarshalSubdirective(d *caddyfile.Dispenser, block *subdirective.Block) (err error) {
	name, text := d.Val(), ""
	switch name {
	case "secret":
		c.Secret, err = block.Value(d)
	case "on":
		if c.On, err = block.Values(d); err == nil {
			for _, kind := range c.On {
				if !alert.Kind(kind).Known() {
					return d.Errf("alert webhook: on: unknown kind %s%s", kind, subdirective.Hint(kind, alertKinds()))
				}
			}
		}
	case "format":
		if c.Format, err = block.Value(d); err == nil {
			var formats []string
			for _, format := range alert.Formats {
				if c.Format == string(format) {
					return nil
				}
				formats = append(formats, string(format))
			}
			return d.Errf("alert webhook: unknown format %s%s", c.Format, subdirective.Hint(c.Format, formats))
		}
	case "repeat":
		if text, err = block.Value(d); err == nil {
			var repeat caddy.Duration
			repeat, err = durationOf(d, name, text, true)
			c.Repeat = repeat
		}
	default:
		return block.Unknown(d)
	}
	return err
}
