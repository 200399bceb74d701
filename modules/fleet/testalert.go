package fleet

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/caddy-federation/caddy-federation/modules/fleet/alert"
)

// TestAlert sends a message that is marked as a test to every alert webhook,
// or to the one with the number, and returns how that went, in their order. It
// is sent once, past the outbox, whatever the webhooks want to hear.
func (a *App) TestAlert(ctx context.Context, number int) ([]AlertAttempt, error) {
	hooks := a.alertHooks
	switch {
	case len(hooks) == 0:
		return nil, &NodeError{Code: CodeInvalid, Detail: "no alert webhook is configured"}
	case number < 0 || number > len(hooks):
		return nil, &NodeError{Code: CodeInvalid, Field: "webhook", Detail: fmt.Sprintf("there is no webhook %d, expected 1 to %d", number, len(hooks))}
	case number > 0:
		hooks = hooks[number-1 : number]
	}
	attempts := make([]AlertAttempt, len(hooks))
	var sending sync.WaitGroup
	for i, hook := range hooks {
		sending.Go(func() {
			now := time.Now()
			m := alert.Message{Created: now, Notices: []alert.Notice{{Alert: alert.Alert{
				Kind: alert.Test, Gateway: a.shared.circuits.gateway, Host: hostName(), Reason: "an operator asked for it", Began: now,
			}}}}
			body, err := m.Render(hook.format, alert.About{Federation: a.Name, Repeat: hook.route.Repeat})
			if err != nil {
				attempts[i] = AlertAttempt{Webhook: hook.number, At: hook.name, Format: string(hook.format), Error: "the message cannot be written"}
				return
			}
			bounded, cancel := context.WithTimeout(ctx, alertAttempt)
			defer cancel()
			attempts[i] = hook.post(bounded, rand.Text(), body)
		})
	}
	sending.Wait()
	return attempts, nil
}
