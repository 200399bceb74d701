package admin

import (
	"net/http"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

func stats(x *exchange) error { return x.answer(http.StatusOK, x.app.Statistics()) }

// health answers 200 with pass or warn, and 503 with fail.
func health(x *exchange) error {
	document := x.app.Examine(true)
	status := http.StatusOK
	if document.Status == fleet.HealthFail {
		status = http.StatusServiceUnavailable
	}
	return x.answerAs("application/health+json", status, document)
}
