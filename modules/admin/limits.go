package admin

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// The keys that GET /federation/limits shows.
const (
	defaultTop = 20
	maxTop     = 1000
)

// limitsCall is a call about rate limits, which also work in a config that has
// no federation.
type limitsCall func(x *exchange, federation string) error

// ServeHTTP finds the federation whose limits are meant.
func (c limitsCall) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, err := limited(r.URL.Query().Get("federation"))
	if err == nil {
		err = c(&exchange{Request: r, w: w}, name)
	}
	if err != nil {
		failed(r, apiError(err))
	}
}

// limited finds the one that is meant: the only one, when none is named.
func limited(name string) (string, error) {
	names := slices.Sorted(maps.Keys(fleet.Limiters()))
	switch {
	case name != "" && slices.Contains(names, name):
		return name, nil
	case name != "":
		return "", refuse(http.StatusNotFound, "no federation %q runs here; those that do: %s", clip(name), strings.Join(names, ", "))
	case len(names) == 1:
		return names[0], nil
	case len(names) == 0:
		return "", noLimits()
	}
	// in a reload the old one may be another
	if running := fleet.RunningNames(); len(running) == 1 {
		return running[0], nil
	}
	return "", refuse(http.StatusBadRequest, "several federations run here, name one with ?federation=: %s", strings.Join(names, ", "))
}

func noLimits() error {
	return refuse(http.StatusServiceUnavailable, "nothing is limited here: the running config has neither `federation` nor `federation_rate_limit`")
}

// listLimits shows the busiest keys, ?top= of them, of ?policy= or of all.
func listLimits(x *exchange, federation string) error {
	query := x.URL.Query()
	top := defaultTop
	if text := query.Get("top"); text != "" {
		var err error
		if top, err = strconv.Atoi(text); err != nil || top < 1 || top > maxTop {
			return refuse(http.StatusBadRequest, "top: expected a whole number from 1 to %d", maxTop)
		}
	}
	limits := fleet.RateLimitsOf(federation, top, query.Get("policy"))
	if limits == nil {
		return noLimits()
	}
	if policy := query.Get("policy"); policy != "" && limits.Count == 0 && !slices.Contains(limits.Policies, policy) {
		return refuse(http.StatusNotFound, "there is no policy %q; those that are: %s", clip(policy), strings.Join(limits.Policies, ", "))
	}
	return x.answer(http.StatusOK, limits)
}

// resetLimit gives one key its whole burst again, on all gateways.
func resetLimit(x *exchange, federation string) error {
	var wish struct {
		Key string `json:"key"`
	}
	if err := x.read(&wish, maxBody); err != nil {
		return err
	}
	if wish.Key == "" {
		return refuse(http.StatusBadRequest, "key: required")
	}
	err := fleet.ResetRateLimit(x.Context(), federation, wish.Key)
	switch {
	case errors.Is(err, fleet.ErrNoLimits):
		return noLimits()
	case errors.Is(err, fleet.ErrNoPolicy):
		policy, _, whole := strings.Cut(wish.Key, ":")
		if !whole {
			return refuse(http.StatusNotFound, "the key %q names no policy, expected <policy>:<text> as GET %slimits shows it", clip(policy), Prefix)
		}
		return refuse(http.StatusNotFound, "there is no policy %q here", clip(policy))
	case errors.Is(err, fleet.ErrNoKey):
		return refuse(http.StatusNotFound, "there is no key %q: it has its whole burst", clip(wish.Key))
	case err != nil && x.Context().Err() == nil:
		return unavailable(err, "the store cannot be used: the key is reset on this gateway alone")
	case err != nil:
		return err
	}
	x.w.WriteHeader(http.StatusNoContent)
	return nil
}
