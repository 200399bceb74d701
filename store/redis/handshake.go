package redis

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"github.com/caddy-federation/caddy-federation/store"
)

// format is the version of what is stored. A newer one is not touched.
const format = "1"

// handshake finds out whether the server behind a gate can be used. A
// refusal is final at the start; later it keeps the gate shut.
func (s *Store) handshake(ctx context.Context, g *gate) error {
	ctx = keepers(ctx)
	if cluster, ok := s.client.(*goredis.ClusterClient); ok {
		cluster.ReloadState(ctx) // a node of it may be gone
	}
	reply, err := s.hello(ctx)
	if err != nil && strings.Contains(err.Error(), "cluster support disabled") {
		return errNoCluster
	}
	if err != nil && s.settings.MasterName != "" && strings.Contains(strings.ToLower(err.Error()), "unknown command 'sentinel") {
		return refusal("the server is no Sentinel: give the urls of Sentinels, or leave master_name out")
	}
	if err != nil && strings.Contains(err.Error(), "unknown command") {
		return refusal("the server does not know HELLO, so it is older than Redis 6 or something else; expected Redis 6.2 or newer, or Valkey")
	}
	if noDatabase(err) {
		return refusal(fmt.Sprintf("the server has no database %d, the number at the end of the url", s.settings.DB))
	}
	if err != nil {
		return err
	}
	if err := s.suits(reply); err != nil {
		return err
	}
	// a write that needs no memory: a replica refuses it, a full server does not
	if err := s.command(ctx, "del", g.probe).Err(); err != nil {
		return err
	}
	if s.gates[0] != g {
		return nil
	}
	return s.introduce(ctx)
}

// hello asks the server what it is.
func (s *Store) hello(ctx context.Context) ([]any, error) {
	hello := goredis.NewSliceCmd(ctx, "hello", 2) // Redis before 6.2 wants the protocol said
	_ = s.client.Process(ctx, once{hello})
	if code(hello.Err()) != "NOAUTH" || s.settings.Password != "" {
		return hello.Result()
	}
	// a connection made while the server wanted a password may be used when it
	// wants none any more, but HELLO wants one all the same: any will do then
	again := goredis.NewSliceCmd(ctx, "hello", 2, "auth", "default", "none")
	if _ = s.client.Process(ctx, once{again}); again.Err() == nil {
		return again.Result()
	}
	return hello.Result()
}

const errNoCluster = refusal("the server is not a node of a Cluster: give one url, or set master_name for Sentinels")

// suits reads what the server says of itself.
func (s *Store) suits(reply []any) error {
	said := make(map[string]string, len(reply)/2)
	for i := 0; i+1 < len(reply); i += 2 {
		name, _ := reply[i].(string)
		said[name], _ = reply[i+1].(string)
	}
	if said["server"] != "valkey" && !newEnough(said["version"]) {
		return refusal(fmt.Sprintf("the server is Redis %s, expected 6.2 or newer, or Valkey", said["version"]))
	}
	switch mode := said["mode"]; {
	case mode == "sentinel":
		return refusal("the server is a Sentinel: set master_name to the master it looks after")
	case mode == "cluster" && !s.settings.Cluster:
		return refusal("the server is a node of a Cluster: add cluster to the store's block, or more urls")
	case mode == "standalone" && s.settings.Cluster:
		return errNoCluster
	}
	if role := said["role"]; role != "master" && !s.settings.Cluster {
		if s.settings.MasterName != "" {
			return unavailable(serverFaults["READONLY"]) // a failover is on its way
		}
		return refusal("the server is a read-only replica: give the url of its master, or of its Sentinels with master_name")
	}
	return nil
}

// version is the major and the minor number of a server's version.
type version [2]int

// oldest is the oldest Redis that is taken. Tests of its scripts take older ones.
var oldest = version{6, 2}

func newEnough(text string) bool {
	parts := strings.SplitN(text, ".", 3)
	if len(parts) < 2 {
		return false
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	return err1 == nil && err2 == nil && (major > oldest[0] || major == oldest[0] && minor >= oldest[1])
}

// introduce learns the store's identity, and makes one when there is none.
// A store that came back empty gets back the one it had.
func (s *Store) introduce(ctx context.Context) error {
	known := s.identity.Load()
	if known == nil {
		random := make([]byte, 16)
		if _, err := rand.Read(random); err != nil {
			return err
		}
		fresh := hex.EncodeToString(random)
		known = &fresh
	}
	reply, err := identityScript.eval(ctx, s, []string{s.key(meta, ":identity"), s.key(meta, ":format")}, *known, format)
	if err != nil {
		return err
	}
	identity := reply.text(0)
	s.identity.Store(&identity)
	return nil
}

// explain tells what of a failed handshake no waiting will change.
func explain(err error) (final bool, told error) {
	var refused refusal
	switch {
	case errors.As(err, &refused):
		return true, fmt.Errorf("store redis: %w", err)
	case errors.Is(err, store.ErrCorrupt):
		return true, fmt.Errorf("store redis: %w: a newer version wrote what the server holds", err)
	case code(err) == "NOAUTH", code(err) == "WRONGPASS", code(err) == "NOPERM":
		return true, fmt.Errorf("store redis: %w", plain(err))
	default:
		return false, plain(err)
	}
}
