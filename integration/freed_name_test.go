package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
)

// TestAnOperatorsWordOnAFreeNameCanBeSeenAndEnded: the node that it is about
// has left the Caddyfile, so that no list has it.
func TestAnOperatorsWordOnAFreeNameCanBeSeenAndEnded(t *testing.T) {
	o := operator{t, fmt.Sprintf("127.0.0.1:%d", loopback.FreePort(t))}
	port := loopback.FreePort(t)
	g := gateway{t, fmt.Sprintf("http://127.0.0.1:%d", port)}
	with := func(nodes string) {
		load(t, administered(o.address, "test", fmt.Sprintf("key main hs256 %s\n\t\tenrollment secret %q\n\t\tnode_urls 127.0.0.0/8\n\t\t%s", fleetSecret, enrollSecret, nodes))+
			fmt.Sprintf("http://127.0.0.1:%d {\n\tfederation\n}\n", port))
	}
	register := func() reply {
		return g.call("POST", "/v1/nodes", `{"name":"Mill","url":"http://127.0.0.1:9"}`, "X-Enrollment-Secret", enrollSecret)
	}
	with("node mill http://127.0.0.1:9")
	for _, free := range []string{"enable", "rm"} {
		o.expect(0, "", "nodes", "set", "mill", "--capabilities", "search")
		o.expect(0, "", "nodes", "disable", "mill")
		with("")
		if refused := g.expects(403, register()); !strings.Contains(refused.raw, "nodes enable mill") || !strings.Contains(refused.raw, "nodes rm mill") {
			t.Errorf("who registers is told %s", refused.raw)
		}
		for _, args := range [][]string{{"get", "mill"}, {"maintenance", "mill"}} {
			if r := o.expect(4, "", append([]string{"nodes"}, args...)...); !strings.Contains(r.errout, "disabled") || !strings.Contains(r.errout, "nodes rm") {
				t.Errorf("%v says %s", args, r.errout)
			}
		}
		if r := o.expect(0, "", "nodes", free, "mill"); free == "enable" && (!strings.Contains(r.errout, "No node has the name mill now") || r.out != "") {
			t.Errorf("enable says %s%s", r.out, r.errout)
		}
		if free == "enable" { // the limit is left, and that can be seen
			if r := o.expect(4, "", "nodes", "get", "mill"); !strings.Contains(r.errout, "a limit of capabilities") {
				t.Errorf("get says %s", r.errout)
			}
			o.golden(o.expect(0, "", "nodes", "enable", "mill", "-o", "json"), "{\n  \"nodes\": [],\n  \"count\": 0\n}\n")
		}
		may := `["search"]`
		if free == "rm" {
			may = `["search","actions"]`
			for _, command := range []string{"get", "enable"} { // nothing is left to say
				if r := o.expect(4, "", "nodes", command, "mill"); !strings.Contains(r.errout, `there is no node "mill"`) {
					t.Errorf("%s says %s", command, r.errout)
				}
			}
		}
		if r := g.expects(201, register()); !strings.Contains(strings.ReplaceAll(r.raw, ", ", ","), may) {
			t.Errorf("after %s the node may: %s", free, r.raw)
		}
		o.expect(0, "", "nodes", "rm", "mill")
		with("node mill http://127.0.0.1:9")
	}
}
