package alert

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"time"
)

// The headers of a delivery.
const (
	// HeaderTimestamp is the time of the attempt, in seconds since 1970.
	HeaderTimestamp = "X-Federation-Timestamp"
	// HeaderSignature is "sha256=" and the HMAC-SHA256 in hex of
	// "<timestamp>.<body>" under the webhook's secret.
	HeaderSignature = "X-Federation-Signature"
	// HeaderKey is the same over all attempts of one delivery.
	HeaderKey = "Idempotency-Key"
)

// Sign returns the values of [HeaderTimestamp] and [HeaderSignature].
func Sign(secret string, at time.Time, body []byte) (timestamp, signature string) {
	timestamp = strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(timestamp + "."))
	mac.Write(body)
	return timestamp, "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// How deliveries are tried again.
const (
	firstWait = time.Second
	// MaxWait is the longest pause between two attempts that is ours.
	MaxWait = 5 * time.Minute
	// MaxRetryAfter is the longest pause that a receiver may ask for.
	MaxRetryAfter = time.Hour
	// GiveUpAfter is how long a delivery is tried.
	GiveUpAfter = 6 * time.Hour
)

// Wait is the pause after an attempt, the first of which is 1: it doubles from
// a second to [MaxWait], and is cut by up to a half at random (0 to 1). It is
// not shorter than what the receiver asked for.
func Wait(attempt int, retryAfter time.Duration, random float64) time.Duration {
	wait := MaxWait
	if attempt < 20 {
		wait = min(firstWait<<max(attempt-1, 0), MaxWait)
	}
	wait -= time.Duration(random * float64(wait) / 2)
	return max(wait, min(retryAfter, MaxRetryAfter))
}

// Verdict is what an answer means for a delivery.
type Verdict int

// The verdicts.
const (
	// Delivered: any 2xx.
	Delivered Verdict = iota
	// Retry: no answer, 408, 429 and 5xx.
	Retry
	// Refused: everything else; trying again would not change it.
	Refused
)

// Judge reads a status.
func Judge(status int) Verdict {
	switch {
	case status >= 200 && status < 300:
		return Delivered
	case status == 0, status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status >= 500:
		return Retry
	default:
		return Refused
	}
}
