package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-federation/caddy-federation/store"
)

// asleep keeps the nodes from being probed: these tests touch no network.
const asleep = "node_defaults {\n admin_state disabled\n group spare\n}\n"

const fileAndRegistry = asleep + `node shop http://file.example/app {
	weight 2
	timeout 3s
	keywords kettle
}
node docs http://docs.example`

// slugs names the nodes of a snapshot in its order.
func slugs(s *Snapshot) string {
	var names []string
	for _, n := range s.Nodes {
		names = append(names, n.Slug)
	}
	return strings.Join(names, " ")
}

func TestFileAndRegistryAreOneSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := run(t, fileAndRegistry)
		before := f.app.Snapshot()
		f.put("shop", `{"trusted":true,"url":"http://registry.example","name":"Shop","weight":9,"group":"eu","timeout":"9s","keywords":["tea"],"domains":["household"],"required":true}`)
		f.put("depot", `{"url":"http://depot.example/","weight":4}`)
		f.put("annex", `{"url":"http://annex.example","group":"us"}`)
		synctest.Wait()
		check := func() {
			t.Helper()
			s := f.app.Snapshot()
			if got := slugs(s); got != "annex depot docs shop" {
				t.Errorf("the nodes are %s", got)
			}
			shop := f.node("shop")
			if shop.URL.String() != "http://file.example/app" || shop.Weight != 2 || shop.Timeout != 3*time.Second ||
				fmt.Sprint(shop.Keywords) != "[kettle]" || shop.Source != "caddyfile" {
				t.Errorf("the file did not win: %+v", shop)
			}
			if shop.Name != "Shop" || shop.Group != "eu" || !shop.Required || fmt.Sprint(shop.Domains) != "[household]" {
				t.Errorf("what the file does not set is not the registry's: %+v", shop)
			}
			depot := f.node("depot")
			if depot.URL.String() != "http://depot.example" || depot.Weight != 4 || depot.Source != "registry" ||
				depot.Name != "depot" || depot.Timeout != defaultTimeout {
				t.Errorf("depot is %+v", depot)
			}
			if docs, annex := f.node("docs"), f.node("annex"); docs.Group != "spare" || depot.Group != "spare" || annex.Group != "us" {
				t.Errorf("groups are %s, %s and %s", docs.Group, depot.Group, annex.Group)
			}
			if got := f.errors(); got != nil {
				t.Errorf("the log says %q", got)
			}
		}
		check()
		if f.app.Snapshot().Epoch <= before.Epoch || slugs(before) != "docs shop" {
			t.Errorf("epoch %d after %d; the snapshot before has %s", f.app.Snapshot().Epoch, before.Epoch, slugs(before))
		}
		if err := f.reload(fileAndRegistry, nil); err != nil {
			t.Fatal(err)
		}
		check() // without any change to watch
	})
}

func TestAChangeInTheRegistryAppears(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := run(t, fileAndRegistry)
		f.put("depot", `{"url":"http://depot.example"}`)
		synctest.Wait()
		docs, depot := f.node("docs"), f.node("depot")
		f.put("depot", `{"url":"http://depot.example","weight":7}`)
		f.put("shop", `{"name":"Shop"}`)
		synctest.Wait()
		if got := f.node("depot"); got.Weight != 7 || got.ID != depot.ID || depot.Weight != 1 {
			t.Errorf("depot is %+v", got)
		}
		if f.node("docs") != docs {
			t.Error("a node that did not change was built again")
		}
		if f.node("depot").gate.member != depot.gate.member {
			t.Error("what was observed of a node at its old address is forgotten")
		}
		f.delete("depot")
		f.delete("shop")
		synctest.Wait()
		if got := slugs(f.app.Snapshot()); got != "docs shop" || f.node("shop").Name != "shop" {
			t.Errorf("after the deletion the nodes are %s, and shop is called %s", got, f.node("shop").Name)
		}
		f.put("depot", `{"url":"http://moved.example"}`)
		synctest.Wait()
		if f.node("depot").gate.member == depot.gate.member {
			t.Error("a node at a new address has the old one's observations")
		}
	})
}

// broken are registered nodes that cannot be. Those that set no field wrongly
// are harmless over a node of the file.
var broken = []struct {
	name, data string
	harmless   bool
}{
	{"not JSON", `{"url":`, false},
	{"an array", `[]`, false},
	{"a text", `"http://a.example"`, false},
	{"nothing", ``, false},
	{"null", `null`, true},
	{"no url", `{"weight":3}`, true},
	{"a url of another scheme", `{"url":"ftp://a.example"}`, true},
	{"a url with a password", `{"url":"http://u:p@a.example"}`, true},
	{"a url of nowhere", `{"url":"{nothing.here}"}`, false},
	{"an unknown dialect", `{"url":"http://a.example","dialect":{"dialect":"esperanto"}}`, false},
	{"a dialect without a name", `{"url":"http://a.example","dialect":{}}`, false},
	{"a dialect that is null", `{"url":"http://a.example","dialect":null}`, false},
	{"a dialect that is a text", `{"url":"http://a.example","dialect":"gateway"}`, false},
	{"a dialect that is a number", `{"url":"http://a.example","dialect":7}`, false},
	{"a dialect with unknown settings", `{"url":"http://a.example","dialect":{"dialect":"gateway","accent":"thick"}}`, false},
	{"a dialect with wrong settings", `{"url":"http://a.example","dialect":{"dialect":"gateway","prefix":"x"}}`, false},
	{"an unknown transport", `{"url":"http://a.example","transport":{"protocol":"pigeon"}}`, false},
	{"a transport that is null", `{"url":"http://a.example","transport":null}`, false},
	{"a transport with wrong settings", `{"url":"http://a.example","transport":{"protocol":"http","versions":7}}`, false},
	{"unknown credentials", `{"url":"http://a.example","credentials":{"type":"charm","value":"x"}}`, false},
	{"empty credentials", `{"url":"http://a.example","credentials":{}}`, false},
	{"a jwt without a key", `{"url":"http://a.example","credentials":{"type":"jwt"}}`, false},
	{"a header that is none", `{"url":"http://a.example","header_up":{"a b":["c"]}}`, false},
	{"a header from nowhere", `{"url":"http://a.example","header_up":{"A":["{nothing.here}"]}}`, false},
	{"a negative size", `{"url":"http://a.example","max_response_size":-1}`, false},
	{"a number beyond numbers", `{"url":"http://a.example","max_requests":1e999}`, false},
	{"a group that is a number", `{"url":"http://a.example","group":7}`, false},
	{"an unknown type", `{"url":"http://a.example","type":"cousin"}`, false},
	{"an unknown state", `{"url":"http://a.example","admin_state":"sleepy"}`, false},
}

func TestABrokenRecordCostsOnlyItself(t *testing.T) {
	for _, c := range broken {
		vacant := c.harmless && !strings.Contains(c.data, "url") // what a node leaves behind, see nodeRecord
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := run(t, fileAndRegistry)
				f.put("annex", `{"url":"http://annex.example"}`)
				f.put("bad", c.data)
				synctest.Wait()
				f.put("zoo", `{"url":"http://zoo.example"}`) // the change after it is still seen
				synctest.Wait()
				check := func() {
					t.Helper()
					if got := slugs(f.app.Snapshot()); got != "annex docs shop zoo" {
						t.Errorf("the nodes are %s", got)
					}
					if got := f.errors(); vacant == (len(got) > 0) || len(got) > 0 && !strings.HasSuffix(got[0], " bad") {
						t.Errorf("the log says %q", got)
					}
				}
				check()
				if err := f.reload(fileAndRegistry, nil); err != nil {
					t.Fatal(err)
				}
				check()
				f.put("bad", `{"url":"http://good.example"}`)
				synctest.Wait()
				if f.node("bad").URL.Host != "good.example" {
					t.Error("the mended record is not seen")
				}
			})
		})
	}
	for _, slug := range []string{"local", "Capital", "two words", "a--b", strings.Repeat("x", 65)} {
		t.Run("slug "+slug[:4], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := run(t, fileAndRegistry)
				f.put(slug, `{"url":"http://a.example"}`)
				synctest.Wait()
				if got := f.errors(); slugs(f.app.Snapshot()) != "docs shop" || len(got) != 1 || !strings.HasSuffix(got[0], slug) {
					t.Errorf("the nodes are %s, the log says %q", slugs(f.app.Snapshot()), got)
				}
			})
		})
	}
}

func TestABrokenRecordLeavesTheNodeOfTheFile(t *testing.T) {
	for _, c := range broken {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := run(t, fileAndRegistry)
				shop := *f.node("shop")
				f.put("shop", strings.Replace(c.data, `{"url"`, `{"trusted":true,"url"`, 1)) // an operator's
				synctest.Wait()
				check := func() {
					t.Helper()
					if got := f.node("shop"); got.URL.String() != shop.URL.String() || got.ID != shop.ID || got.AdminState != shop.AdminState || got.Source != "caddyfile" {
						t.Errorf("shop is %+v", got)
					}
					if got := f.errors(); (got == nil) != c.harmless {
						t.Errorf("the log says %q", got)
					}
				}
				check()
				if err := f.reload(fileAndRegistry, nil); err != nil {
					t.Fatal(err)
				}
				check()
			})
		})
	}
}

func TestIDsArePositiveStableAndNeverReused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := run(t, fileAndRegistry)
		used := make(map[int64]string)
		ids := func() string {
			t.Helper()
			var all []string
			for _, n := range f.app.Snapshot().Nodes {
				if owner := used[n.ID]; n.ID <= 0 || owner != "" && owner != n.Slug {
					t.Errorf("node %s has the id %d, which was %q's", n.Slug, n.ID, owner)
				}
				used[n.ID] = n.Slug
				all = append(all, fmt.Sprint(n.Slug, "=", n.ID))
			}
			return strings.Join(all, " ")
		}
		for _, slug := range []string{"depot", "annex", "zoo"} {
			if record := f.put(slug, `{"url":"http://a.example"}`); record.ID <= 0 {
				t.Errorf("%s was stored with the id %d", slug, record.ID)
			}
		}
		f.put("shop", `{"name":"Shop"}`)
		synctest.Wait()
		first := ids()
		for range 2 {
			if err := f.reload(fileAndRegistry, nil); err != nil {
				t.Fatal(err)
			}
			if again := ids(); again != first {
				t.Errorf("after a reload the ids are %s, before %s", again, first)
			}
		}
		docs, zoo := f.node("docs").ID, f.node("zoo").ID
		f.delete("zoo")
		synctest.Wait()
		f.delete("depot")
		f.put("depot", `{"url":"http://a.example"}`) // seen as one change, maybe
		f.put("yard", `{"url":"http://a.example"}`)
		f.put("zoo", `{"url":"http://a.example"}`)
		synctest.Wait()
		if ids(); f.node("zoo").ID <= zoo {
			t.Errorf("zoo is registered again as %d, before as %d", f.node("zoo").ID, zoo)
		}
		// a node of the file keeps its id while another config has run
		if err := f.reload(asleep+"node other http://other.example", nil); err != nil {
			t.Fatal(err)
		}
		ids()
		if err := f.reload(fileAndRegistry, nil); err != nil {
			t.Fatal(err)
		}
		if ids(); f.node("docs").ID != docs {
			t.Errorf("docs was %d and is %d", docs, f.node("docs").ID)
		}
	})
}

// What a gateway says of a node's id is what the store says, at every moment.
func TestIDsAreTheStoresOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := run(t, fileAndRegistry)
		check := func(when string) {
			t.Helper()
			synctest.Wait()
			ids, err := f.store.Nodes().AssignIDs(t.Context(), []string{"shop", "docs"})
			if err != nil {
				t.Fatal(err)
			}
			for slug, id := range ids {
				if got := f.node(slug).ID; got != id {
					t.Errorf("%s, %s is %d, in the store %d", when, slug, got, id)
				}
			}
		}
		check("at the start")
		f.put("shop", `{"name":"Shop"}`)
		check("with a record")
		f.delete("shop")
		check("after the record")
		f.put("shop", `{"name":"Shop"}`)
		check("with another record")
	})
}

// unreadable cannot be listed while it is set.
type unreadable struct {
	store.Nodes
	broken atomic.Bool
}

func (u *unreadable) List(ctx context.Context) ([]store.NodeRecord, error) {
	if u.broken.Load() {
		return nil, errors.New("the disk is gone")
	}
	return u.Nodes.List(ctx)
}

func TestTheNodesStayWhileTheRegistryIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, u := run(t, fileAndRegistry), new(unreadable)
		if err := f.reload(fileAndRegistry, func(n store.Nodes) store.Nodes { u.Nodes = n; return u }); err != nil {
			t.Fatal(err)
		}
		u.broken.Store(true)
		for _, slug := range []string{"annex", "depot"} {
			f.put(slug, `{"url":"http://a.example"}`)
			synctest.Wait()
		}
		if got := f.errors(); slugs(f.app.Snapshot()) != "docs shop" || len(got) != 1 {
			t.Errorf("the nodes are %s, the log says %q", slugs(f.app.Snapshot()), got)
		}
		u.broken.Store(false)
		time.Sleep(time.Minute) // nothing else changes
		synctest.Wait()
		if got := slugs(f.app.Snapshot()); got != "annex depot docs shop" {
			t.Errorf("once the registry is back the nodes are %s", got)
		}
		if got := f.said.FilterMessage("the registry is read again").Len(); got != 1 {
			t.Errorf("the recovery was told %d times", got)
		}
	})
}
