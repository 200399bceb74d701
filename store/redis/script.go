package redis

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/caddy-federation/caddy-federation/store"
)

//go:embed lua
var sources embed.FS

// script is one atomic step.
type script struct {
	source string
	hash   string
}

// newScript puts a script together from files in the folder lua, the prelude first.
func newScript(names ...string) *script {
	var source strings.Builder
	for _, name := range append([]string{"prelude"}, names...) {
		text, err := sources.ReadFile("lua/" + name + ".lua")
		if err != nil {
			panic(err) // the file is embedded or the package is broken
		}
		source.Write(text)
	}
	return &script{source.String(), goredis.NewScript(source.String()).Hash()}
}

// The scripts.
var (
	clockScript       = newScript("clock")
	identityScript    = newScript("identity")
	hashAllScript     = newScript("hash_all")
	hashOneScript     = newScript("hash_one")
	nodeGet           = newScript("node_emptied", "node_get")
	nodePut           = newScript("node_emptied", "node_put")
	nodeID            = newScript("node_emptied", "node_id")
	nodeDelete        = newScript("node_emptied", "node_delete")
	nodeIDs           = newScript("node_emptied", "node_ids")
	nodeRestore       = newScript("node_restore")
	tokenIssue        = newScript("family", "granted", "token_issue")
	tokenRotate       = newScript("family", "rotated", "token_rotate")
	tokenPresent      = newScript("family", "rotated", "token_present")
	tokenRevokeFamily = newScript("family", "token_revoke_family")
	tokenRevokeNode   = newScript("family", "revocation", "token_revoke_node")
	tokenRevoke       = newScript("revocation", "token_revoke")
	keyPut            = newScript("granted", "key_put")
	keyDelete         = newScript("key_delete")
	limitTake         = newScript("limit_take")
	breakerTransition = newScript("breaker", "breaker_transition")
	breakerClaim      = newScript("breaker", "breaker_claim")
	breakerRelease    = newScript("breaker", "breaker_release")
	breakerDelete     = newScript("breaker_delete")
	cacheGet          = newScript("cache_get")
	cachePut          = newScript("cache_put")
	cachePurge        = newScript("cache_purge")
	runCreate         = newScript("run", "run_create")
	runUpdate         = newScript("run", "run_update")
	runGet            = newScript("run_get")
	runList           = newScript("run_list")
	requestAppend     = newScript("request_append")
	requestLast       = newScript("request_last")
	requestDelete     = newScript("request_delete")
	leaseAcquire      = newScript("lease", "lease_acquire")
	leaseRelease      = newScript("lease", "lease_release")
	eventAppend       = newScript("event_append")
	eventSince        = newScript("event_since")
	memberBeat        = newScript("member_beat")
	alertState        = newScript("alert_state")
	alertCommit       = newScript("alert_commit")
	alertClaim        = newScript("alert_head", "alert_claim")
	alertSettle       = newScript("alert_head", "alert_settle")
	alertPending      = newScript("alert_pending")
)

// once is a command that is not sent again when its connection breaks: the
// server may have done it.
type once struct{ goredis.Cmder }

// NoRetry implements [goredis.Cmder].
func (once) NoRetry() bool { return true }

// command runs a command of one key.
func (s *Store) command(ctx context.Context, args ...any) *goredis.Cmd {
	command := goredis.NewCmd(ctx, args...)
	_ = s.client.Process(ctx, once{command})
	return command
}

// eval runs the script, by its hash when the server knows it, and reads how it went.
func (c *script) eval(ctx context.Context, s *Store, keys []string, args ...any) (reply, error) {
	all := make([]any, 0, 3+len(keys)+len(args))
	all = append(all, "evalsha", c.hash, len(keys))
	for _, key := range keys {
		all = append(all, key)
	}
	all = append(all, args...)
	result := s.command(ctx, all...)
	if code(result.Err()) == "NOSCRIPT" {
		all[0], all[1] = "eval", c.source
		result = s.command(ctx, all...)
	}
	items, err := result.Slice()
	if err != nil {
		return nil, err
	}
	return verdict(items)
}

// reply is what a script returned, after its verdict.
type reply []any

// verdicts are the first words of scripts that did nothing.
var verdicts = map[string]error{
	"not found": store.ErrNotFound, "exists": store.ErrExists, "conflict": store.ErrConflict, "held": store.ErrHeld,
	"revoked": store.ErrRevoked, "claimed": store.ErrExists, "corrupt": store.ErrCorrupt,
	"emptied": errEmptied,
}

func verdict(items []any) (reply, error) {
	if len(items) == 0 {
		return nil, errUnread
	}
	word, _ := items[0].(string)
	if word == "ok" {
		return items[1:], nil
	}
	if err := verdicts[word]; err != nil {
		return items[1:], err
	}
	return nil, errUnread
}

// errEmptied: the server has forgotten the nodes that this gateway knows.
var errEmptied = unavailable("redis came back empty, and what is known is put back")

var errUnread = fmt.Errorf("%w: a reply of redis cannot be read", store.ErrCorrupt)

// text is an item as a string, "" when there is none.
func (r reply) text(i int) string {
	if i >= len(r) {
		return ""
	}
	switch item := r[i].(type) {
	case string:
		return item
	case int64:
		return strconv.FormatInt(item, 10)
	default:
		return ""
	}
}

// number is an item as a number, 0 when it is none.
func (r reply) number(i int) int64 {
	n, _ := strconv.ParseInt(r.text(i), 10, 64)
	return n
}

// time is an item as a moment.
func (r reply) time(i int) time.Time { return moment(r.number(i)) }

// list is an item as a list.
func (r reply) list(i int) reply {
	if i >= len(r) {
		return nil
	}
	items, _ := r[i].([]any)
	return items
}

// moment reads microseconds, of which 0 is no time.
func moment(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us)
}

// micros is the opposite of moment.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// run bounds one atomic step and says what was attempted.
func (s *Store) run(ctx context.Context, what string, c *script, keys []string, args ...any) (reply, error) {
	return s.runFor(ctx, s.settings.Timeout, what, c, keys, args...)
}

// runLong is run for listings and batches.
func (s *Store) runLong(ctx context.Context, what string, c *script, keys []string, args ...any) (reply, error) {
	return s.runFor(ctx, s.settings.Timeout*longer, what, c, keys, args...)
}

func (s *Store) runFor(ctx context.Context, limit time.Duration, what string, c *script, keys []string, args ...any) (reply, error) {
	if err := s.usable(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	bounded, cancel := bound(ctx, limit)
	defer cancel()
	r, err := c.eval(bounded, s, keys, args...)
	for _, known := range verdicts {
		if errors.Is(err, known) {
			return r, fmt.Errorf("%s: %w", what, err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, bounded.plain(ctx, err))
	}
	return r, nil
}

// plain says what happened to a command of the caller that ctx belongs to.
func (c call) plain(ctx context.Context, err error) error {
	if left := ctx.Err(); left != nil {
		return left
	}
	if !c.own && timedOut(err) {
		return context.DeadlineExceeded // the caller's, a moment early
	}
	return plain(err)
}

// bound gives a command its deadline.
func bound(ctx context.Context, limit time.Duration) (call, context.CancelFunc) {
	theirs, given := ctx.Deadline()
	own := !given || time.Until(theirs) > limit
	bounded, cancel := context.WithTimeout(ctx, limit)
	return call{Context: bounded, own: own}, cancel
}
