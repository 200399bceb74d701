package alert

import (
	"testing"
	"time"
)

// The vector is what the recipes of docs/alerts.md give; made with
// printf '1764072000.{"hello":"fleet"}' | openssl dgst -sha256 -hmac 'a shared secret'.
func TestTheSignatureIsAsDocumented(t *testing.T) {
	timestamp, signature := Sign("a shared secret", time.Unix(1764072000, 999), []byte(`{"hello":"fleet"}`))
	if timestamp != "1764072000" || signature != "sha256=03111e47ba9a0eaeaf9e391db1e286569bfb435ee102363c814da3992bcf0ad3" {
		t.Errorf("%s %s", timestamp, signature)
	}
}

func TestPausesDoubleAndHonourRetryAfter(t *testing.T) {
	for _, c := range []struct {
		attempt    int
		retryAfter time.Duration
		random     float64
		expected   time.Duration
	}{
		{1, 0, 0, time.Second}, {2, 0, 0, 2 * time.Second}, {2, 0, 1, time.Second}, {8, 0, 0, 128 * time.Second},
		{10, 0, 0, MaxWait}, {1000, 0, 1, MaxWait / 2}, {0, 0, 0, time.Second},
		{1, time.Minute, 0.5, time.Minute}, {1, 100 * time.Hour, 0, MaxRetryAfter}, {20, time.Second, 0, MaxWait},
	} {
		if got := Wait(c.attempt, c.retryAfter, c.random); got != c.expected {
			t.Errorf("attempt %d: %v, expected %v", c.attempt, got, c.expected)
		}
	}
}

func TestAnAnswerIsJudged(t *testing.T) {
	for status, expected := range map[int]Verdict{
		200: Delivered, 202: Delivered, 204: Delivered, 0: Retry, 408: Retry, 429: Retry, 500: Retry, 503: Retry, 599: Retry,
		301: Refused, 302: Refused, 400: Refused, 401: Refused, 404: Refused, 410: Refused, 413: Refused,
	} {
		if got := Judge(status); got != expected {
			t.Errorf("%d is %v, expected %v", status, got, expected)
		}
	}
}
