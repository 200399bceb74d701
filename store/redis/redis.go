// Package redis is the store that many gateways share:
// federation.stores.redis. It works on Redis 6.2 and newer and on Valkey:
// one server, Sentinel or Cluster.
package redis

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/caddyfile/subdirective"
	"github.com/caddy-federation/caddy-federation/store"
	"github.com/caddy-federation/caddy-federation/store/pool"
)

func init() {
	caddy.RegisterModule(new(Redis))
	goredis.SetLogger(clientLog{})
}

// clientLog takes what the client library says, of every failed attempt to
// connect for one, into Caddy's log, where it is for debugging: the store
// says once when the server is lost and once when it is back.
type clientLog struct{}

func (clientLog) Printf(_ context.Context, format string, v ...any) {
	if entry := caddy.Log().Named("federation.redis").Check(zap.DebugLevel, "client library"); entry != nil {
		entry.Write(zap.String("said", fmt.Sprintf(format, v...)))
	}
}

// Redis keeps everything in a Redis or Valkey server, where all gateways of
// the federation find it. Several URLs are the nodes of a Cluster, or with
// MasterName the Sentinels that know the master.
type Redis struct {
	// URLs are redis://host:port/db, rediss:// for TLS, or
	// unix:///path/to.sock?db=0. Placeholders such as {env.REDIS_URL} are
	// replaced when the config is loaded; only such a URL may hold a user and
	// password, which with MasterName are those of the Sentinels. Required.
	URLs []string `json:"urls"`
	// Username is the ACL user. Default: the one of the URL, else "default".
	Username string `json:"username,omitempty"`
	// Password authenticates the user; a placeholder such as
	// {env.REDIS_PASSWORD} or {file./run/secrets/redis} keeps it out of the
	// config. Default: the one of the URL, else none.
	Password string `json:"password,omitempty"`
	// MasterName is the master that the Sentinels at URLs look after.
	// Default: none, the URLs are the servers themselves.
	MasterName string `json:"master_name,omitempty"`
	// Cluster says that a single URL is a node of a Cluster, or its
	// configuration endpoint. Default: true with several URLs and no
	// MasterName.
	Cluster bool `json:"cluster,omitempty"`
	// TLS says how to know the server. Default: rediss:// with the system's
	// certificate authorities, else no TLS.
	TLS *TLS `json:"tls,omitempty"`
	// Prefix begins every key and channel. Default: "fed".
	Prefix string `json:"prefix,omitempty"`
	// Timeout is the longest that one command may take, connecting to a known
	// server included; listings and batches may take fifty times as long.
	// Nothing is tried twice. Default: 20ms.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	settings settings
}

// TLS are the files and the name that a TLS connection needs.
type TLS struct {
	// CA is a PEM file of certificate authorities. Default: the system's.
	CA string `json:"ca,omitempty"`
	// Certificate and Key are PEM files that prove the gateway to the server.
	// Default: none.
	Certificate string `json:"cert,omitempty"`
	Key         string `json:"key,omitempty"`
	// ServerName is the name in the server's certificate. Default: the host
	// of the address.
	ServerName string `json:"server_name,omitempty"`
}

// settings are the configuration with its placeholders replaced. They hold
// secrets, and so no exported field of the module does.
type settings struct {
	Addresses        []string
	DB               int
	Username         string
	Password         string
	SentinelUsername string
	SentinelPassword string
	MasterName       string
	Cluster          bool
	TLS              *TLS
	Prefix           string
	Timeout          time.Duration

	tls *tls.Config
}

// Defaults.
const (
	defaultPrefix  = "fed"
	defaultTimeout = 20 * time.Millisecond
)

// CaddyModule returns the Caddy module information.
func (*Redis) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: store.Namespace + ".redis", New: func() caddy.Module { return new(Redis) }}
}

// Provision replaces placeholders, and reads the files of tls. It opens no
// connection.
func (r *Redis) Provision(caddy.Context) (err error) {
	if r.Prefix == "" {
		r.Prefix = defaultPrefix
	}
	if r.Timeout == 0 {
		r.Timeout = caddy.Duration(defaultTimeout)
	}
	if r.settings, err = r.resolve(caddy.NewReplacer()); err != nil {
		return fmt.Errorf("store redis: %w", err)
	}
	return nil
}

var stores = pool.New()

// Open implements [store.Opener]. A server that cannot be reached is no
// error: the store is returned and connects when it can. A server that is too
// old, read-only or refuses the credentials is one.
func (r *Redis) Open(ctx context.Context, federation string, logger *zap.Logger) (store.Store, error) {
	canonical, err := json.Marshal(r.settings)
	if err != nil {
		return nil, fmt.Errorf("store redis: %w", err)
	}
	sum := sha256.Sum256(append(canonical, federation...))
	return stores.Open(hex.EncodeToString(sum[:]), func() (store.Store, error) {
		return open(ctx, r.settings, federation, logger)
	})
}

// UnmarshalCaddyfile reads the store. Syntax:
//
//	redis <url...> {
//	    username    <user>
//	    password    <password>
//	    master_name <sentinel master>
//	    cluster
//	    tls {
//	        ca          <file>
//	        cert        <file>
//	        key         <file>
//	        server_name <name>
//	    }
//	    prefix      <key prefix>
//	    timeout     <duration>
//	}
func (r *Redis) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // redis
	r.URLs = d.RemainingArgs()
	block := subdirective.New("store redis", "username", "password", "master_name", "cluster", "tls", "prefix", "timeout")
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch d.Val() {
		case "username":
			r.Username, err = block.Value(d)
		case "password":
			r.Password, err = block.Value(d)
		case "master_name":
			r.MasterName, err = block.Value(d)
		case "cluster":
			err = block.Flag(d)
			r.Cluster = true
		case "tls":
			if err = block.Flag(d); err == nil {
				r.TLS = new(TLS)
				err = r.TLS.unmarshalBlock(d)
			}
		case "prefix":
			r.Prefix, err = block.Value(d)
		case "timeout":
			err = r.unmarshalTimeout(d, block)
		default:
			err = block.Unknown(d)
		}
		if err != nil {
			return err
		}
	}
	if err := r.check(); err != nil {
		return d.Errf("store redis: %v", err)
	}
	return nil
}

func (r *Redis) unmarshalTimeout(d *caddyfile.Dispenser, block *subdirective.Block) error {
	text, err := block.Value(d)
	if err != nil {
		return err
	}
	timeout, err := caddy.ParseDuration(text)
	if err != nil || timeout <= 0 {
		return d.Errf("store redis: timeout %s is not a duration above 0, as in 20ms", text)
	}
	r.Timeout = caddy.Duration(timeout)
	return nil
}

func (t *TLS) unmarshalBlock(d *caddyfile.Dispenser) error {
	block := subdirective.New("store redis tls", "ca", "cert", "key", "server_name")
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch d.Val() {
		case "ca":
			t.CA, err = block.Value(d)
		case "cert":
			t.Certificate, err = block.Value(d)
		case "key":
			t.Key, err = block.Value(d)
		case "server_name":
			t.ServerName, err = block.Value(d)
		default:
			err = block.Unknown(d)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Redis)(nil)
	_ store.Opener          = (*Redis)(nil)
	_ caddyfile.Unmarshaler = (*Redis)(nil)
)
