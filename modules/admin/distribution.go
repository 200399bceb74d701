package admin

import (
	"net/http"
	"strconv"
)

// maxDistributed is the most things that are shared out.
const maxDistributed = 1_000_000_000

// distribution shares ?count= things out among the nodes that have each
// ?capability= and can be called now.
func distribution(x *exchange) error {
	query := x.URL.Query()
	n, err := strconv.Atoi(query.Get("count"))
	if err != nil || n < 1 || n > maxDistributed {
		return refuse(http.StatusBadRequest, "count: expected a whole number from 1 to %d", maxDistributed)
	}
	return x.answer(http.StatusOK, x.app.Distribute(n, query["capability"]...))
}
