package fleet

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"syscall"
	"time"
)

// URLPolicy says where a node that registered itself may live, so that nobody
// can make the gateway call what only the gateway reaches (server-side request
// forgery, CWE-918). It is asked when a node registers and again for every
// address that is dialled, because a name can point elsewhere by then (DNS
// rebinding). The zero value allows public addresses only.
type URLPolicy struct {
	public   bool
	prefixes []netip.Prefix
	hosts    []string
}

// URLRefusedError is a URL that the policy does not allow.
type URLRefusedError struct {
	// Reason says in words why; it names no address that the caller did not name.
	Reason string
}

func (e *URLRefusedError) Error() string { return e.Reason }

// ParseURLPolicy reads the entries of `node_urls`: prefixes ("10.1.0.0/16",
// "fd00::/8"), single addresses, host patterns ("*.nodes.example",
// "shop.internal"; none stands for loopback and link-local addresses) and the
// word "public". No entry at all is public.
func ParseURLPolicy(entries []string) (*URLPolicy, error) {
	p := &URLPolicy{public: len(entries) == 0}
	for _, entry := range entries {
		if entry == "public" {
			p.public = true
			continue
		}
		if prefix, err := netip.ParsePrefix(entry); err == nil {
			p.prefixes = append(p.prefixes, prefix.Masked())
			continue
		}
		if address, err := netip.ParseAddr(entry); err == nil {
			p.prefixes = append(p.prefixes, netip.PrefixFrom(address, address.BitLen()))
			continue
		}
		if _, err := path.Match(entry, "host"); err != nil || strings.ContainsAny(entry, "/:@?# ") || entry == "" {
			return nil, fmt.Errorf("node_urls: %q is no CIDR prefix, address, host pattern or the word public", entry)
		}
		p.hosts = append(p.hosts, strings.ToLower(strings.TrimSuffix(entry, ".")))
	}
	return p, nil
}

// never are the addresses that lead out of the public network, or that carry
// another address inside them (IANA special-purpose registries, RFC 6890).
var never = func() []netip.Prefix {
	var list []netip.Prefix
	for _, text := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
		"192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
		"224.0.0.0/4", "240.0.0.0/4",
		"::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
		"5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
	} {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}()

// Public tells whether an address is on the public network.
func Public(address netip.Addr) bool {
	address = address.Unmap().WithZone("")
	if !address.IsValid() {
		return false
	}
	for _, prefix := range never {
		if prefix.Contains(address) {
			return false
		}
	}
	return true
}

// allowsHost tells whether the operator named the host.
func (p *URLPolicy) allowsHost(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for _, pattern := range p.hosts {
		if ok, _ := path.Match(pattern, host); ok {
			return true
		}
	}
	return false
}

// allowsAddress tells whether a node of the host may be dialled there. A host
// that the operator named may be anywhere but on this machine (its loopback
// addresses) or link, where a name can only be meant to deceive, localhost
// among them; a prefix says otherwise.
func (p *URLPolicy) allowsAddress(host string, address netip.Addr) bool {
	address = address.Unmap().WithZone("")
	for _, prefix := range p.prefixes {
		if prefix.Contains(address) {
			return true
		}
	}
	if p.public && Public(address) {
		return true
	}
	return address.IsValid() && p.allowsHost(host) &&
		!address.IsLoopback() && !address.IsUnspecified() && !address.IsLinkLocalUnicast() && !address.IsMulticast()
}

// resolveTimeout bounds the look-up of a name that somebody registers.
const resolveTimeout = 3 * time.Second

// Check resolves the URL's host and refuses it unless every address it has is
// allowed. The error is a [URLRefusedError], or ctx's.
func (p *URLPolicy) Check(ctx context.Context, u *url.URL) error {
	host := u.Hostname()
	if address, err := netip.ParseAddr(host); err == nil {
		if !p.allowsAddress(host, address) {
			return &URLRefusedError{"the address of the url is not one where nodes may live"}
		}
		return nil
	}
	lookup, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupNetIP(lookup, "ip", host)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil || len(addresses) == 0 {
		return &URLRefusedError{"the host of the url cannot be resolved"}
	}
	for _, address := range addresses {
		if !p.allowsAddress(host, address) {
			return &URLRefusedError{"the host of the url has an address where nodes may not live"}
		}
	}
	return nil
}

// control refuses connections to addresses that the policy does not allow. It
// sees the address that is really dialled.
func (p *URLPolicy) control(host string) dialControl {
	return func(_ context.Context, _, address string, _ syscall.RawConn) error {
		dialled, err := netip.ParseAddrPort(address)
		if err != nil || !p.allowsAddress(host, dialled.Addr()) {
			return &RefusalError{Reason: "address"}
		}
		return nil
	}
}
