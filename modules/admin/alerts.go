package admin

import (
	"net/http"
	"strconv"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// AlertTest is what POST /federation/test-alert answers.
type AlertTest struct {
	// Results are one per webhook that was tried.
	Results []fleet.AlertAttempt `json:"results"`
}

// testAlert sends a test through every alert webhook, or the one that
// ?webhook= names by its place in the configuration.
func testAlert(x *exchange) error {
	number := 0
	if text := x.URL.Query().Get("webhook"); text != "" {
		var err error
		if number, err = strconv.Atoi(text); err != nil || number < 1 {
			return refuse(http.StatusBadRequest, "webhook: expected its place in the configuration, from 1")
		}
	}
	results, err := x.app.TestAlert(x.Context(), number)
	if err != nil {
		return err
	}
	return x.answer(http.StatusOK, AlertTest{results})
}
