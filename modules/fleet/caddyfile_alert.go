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
//	alert group <duration>
func (a *App) unmarshalAlert(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Errf("federation: alert: the kind of receiver is missing, expected webhook, or group")
	}
	switch args[0] {
	case "webhook":
	case "group":
		return a.unmarshalAlertGroup(d, args[1:])
	default:
		return d.Errf("federation: alert: unknown kind of receiver %s%s", args[0], subdirective.Hint(args[0], []string{"webhook", "group"}))
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
			return d.Errf("alert webhook: format: unknown %s%s", c.Format, subdirective.Hint(c.Format, formats))
		}
	case "repeat":
		if text, err = block.Value(d); err == nil {
			var repeat caddy.Duration
			repeat, err = durationOf(d, block.Named(name), text, true)
			c.Repeat = repeat
		}
	default:
		return block.Unknown(d)
	}
	return err
}

// unmarshalAlertGroup reads how long changes are grouped.
func (a *App) unmarshalAlertGroup(d *caddyfile.Dispenser, args []string) (err error) {
	if len(args) != 1 {
		return d.Errf("federation: alert group takes <duration>, got %d arguments", len(args))
	}
	if a.AlertGroup != 0 {
		return d.Errf("federation: alert group is set twice")
	}
	if a.AlertGroup, err = durationOf(d, "alert group", args[0], false); err != nil {
		return err
	}
	if err := validAlertGroup(a.AlertGroup); err != nil {
		return d.Errf("federation: %v", err)
	}
	if d.NextBlock(d.Nesting()) {
		return d.Errf("federation: alert group takes no block")
	}
	return nil
}
