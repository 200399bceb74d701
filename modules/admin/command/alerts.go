package command

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/caddy-federation/caddy-federation/modules/admin"
)

func testAlertCommand(o *options) *cobra.Command {
	var webhook int
	cmd := leaf(o, "test-alert", "Sends a test through the alert webhooks", cobra.NoArgs,
		func(ctx context.Context, s *session, _ []string) error {
			query := url.Values{}
			switch {
			case webhook < 0:
				return usage("--webhook %d is not a place in the configuration, which begins with 1", webhook)
			case webhook > 0:
				query.Set("webhook", strconv.Itoa(webhook))
			}
			var test admin.AlertTest
			if err := s.call(ctx, http.MethodPost, "test-alert", query, nil, &test); err != nil {
				return err
			}
			if err := s.printAlertTest(test); err != nil {
				return err
			}
			failed := 0
			for _, result := range test.Results {
				if result.Error != "" {
					failed++
				}
			}
			return someFailed(failed, len(test.Results))
		})
	cmd.Long = `Sends one message that is marked as a test through every alert webhook of the
gateway, past the outbox and whatever the webhooks want to hear. The exit code
is 5 when some of them did not take it, 6 when none did.`
	cmd.Flags().IntVar(&webhook, "webhook", 0, "only this one, by its place in the configuration, from 1")
	return cmd
}

func (s *session) printAlertTest(test admin.AlertTest) error {
	if s.json {
		return s.printJSON(test)
	}
	t := s.table("WEBHOOK", "AT", "FORMAT", "HTTP", "TOOK", "ERROR")
	for _, r := range test.Results {
		shade, status := shadeGood, ""
		if r.Error != "" {
			shade = shadeBad
		}
		if r.Status != 0 {
			status = strconv.Itoa(r.Status)
		}
		t.row(shade, strconv.Itoa(r.Webhook), r.At, r.Format, status, fmt.Sprintf("%.1f ms", r.Took), r.Error)
	}
	return t.flush()
}
