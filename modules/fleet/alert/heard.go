package alert

import "slices"

// Which webhooks were told that something is wrong: those, and no others, are
// told that it is over.

// hears tells whether a webhook is told of a change: of a beginning when it has
// not heard of it, and of an end when it has, or asked for ends alone.
func (r Route) hears(a *Alert) bool {
	heard := slices.Contains(a.Heard, r.Webhook)
	switch {
	case !r.wants(a):
		return false
	case a.Ended.IsZero():
		return !heard || slices.Contains(a.withdrawn, r.Webhook)
	default:
		return heard || a.Heard == nil || r.On != nil && !r.On[a.Kind]
	}
}

// hear notes that a webhook is told of what is firing.
func (s *State) hear(webhook string, notices []Notice) {
	for _, n := range notices {
		// of whom it is not known who heard of it, it stays so
		if a := s.Alerts[n.Key()]; a != nil && n.Ended.IsZero() && a.Heard != nil {
			a.Heard = with(a.Heard, webhook)
		}
	}
}

// untold tells whether nobody heard of it, as far as is known.
func (a *Alert) untold() bool { return a.Told.IsZero() && len(a.Heard) == 0 }

// joinHeard takes in who heard of the same from a lone gateway.
func (a *Alert) joinHeard(lone *Alert) {
	switch {
	case lone.untold():
	case a.untold():
		a.Heard = slices.Clone(lone.Heard)
	case a.Heard == nil || lone.Heard == nil:
		a.Heard = nil
	default:
		for _, webhook := range lone.Heard {
			a.Heard = with(a.Heard, webhook)
		}
	}
}

// with returns a list with one more webhook in it, and shares nothing with it.
func with(webhooks []string, webhook string) []string {
	if slices.Contains(webhooks, webhook) {
		return webhooks
	}
	return append(slices.Clone(webhooks), webhook)
}

// without returns a list without a webhook, and shares nothing with it. It is
// not nil.
func without(webhooks []string, some ...string) []string {
	left := make([]string, 0, len(webhooks))
	for _, webhook := range webhooks {
		if !slices.Contains(some, webhook) {
			left = append(left, webhook)
		}
	}
	return left
}
