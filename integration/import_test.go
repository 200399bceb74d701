package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-federation/caddy-federation/internal/loopback"
)

// dumps are of one table of an old fleet, written by the databases' own tools.
func dump(t testing.TB, name string) string {
	t.Helper()
	return filepath.Join("..", "modules", "admin", "importing", "testdata", name)
}

func TestAnOldFleetMovesOver(t *testing.T) {
	o := operate(t, "", "node fixed http://fixed.test")
	plan := o.expect(2, "", "nodes", "plan", dump(t, "mysql.sql"))
	o.golden(plan, `+ create orchard-shop (row 0)
  name: "Orchard Shop"
  url: "https://orchard.test"
  type: "child"
  admin_state: "enabled"
  weight: 2
  capabilities: ["actions", "rag", "search"]
  description: "Fruit trees;\nthe gardener's \"best\" tools \\ more (now)"
  domains: ["gardening"]
  data_types: ["plants"]
  keywords: ["pépinière", "tree"]
  collections: ["plant (App\\Models\\Plant)"]
  version: "1.0.0"
  subject: "1"
  api_key: imported
+ create seed-bank (row 1)
  name: "Seed Bank"
  url: "http://seeds.test:8080"
  type: "child"
  admin_state: "maintenance"
  weight: 1
  capabilities: ["search"]
  domains: ["farming"]
  keywords: ["seeds"]
  version: "1.0.0"
  metadata: "{\"domains\":[\"farming\"],\"topics\":[\"seeds\"]}"
  subject: "2"
+ create omalley (row 2)
  name: "O'Malley; DROP TABLE ai_nodes; --"
  url: "https://omalley.test"
  type: "child"
  admin_state: "enabled"
  weight: 1
  capabilities: ["search"]
  version: "1.0.0"
  subject: "3"
+ create hub (row 4)
  name: "Hub"
  url: "https://hub.test"
  type: "master"
  admin_state: "enabled"
  weight: 1
  version: "1.0.0"
+ create mir-eu (row 5)
  name: "Мир, (EU)"
  url: "https://mir.test"
  type: "child"
  admin_state: "enabled"
  weight: 1
  capabilities: ["actions", "search"]
  keywords: ["a\\b", "it's"]
  version: "1.0.0"
  subject: "7"
5 to create, 0 to update, 0 to disable, 0 unchanged, 0 invalid
`)
	for _, want := range []string{
		"Read 6 rows of SQL.", "row 3 old-barn: deleted_at was deleted in the old fleet", "row 2 omalley: status was in error",
		"row 4 hub: type is a master", "row 1 seed-bank: keywords come from the metadata",
	} {
		if !strings.Contains(plan.errout, want) {
			t.Errorf("stderr does not say %q:\n%s", want, plan.errout)
		}
	}
	if r := o.expect(0, "", "nodes", "ls", "-o", "json"); !strings.Contains(r.out, `"count": 1`) {
		t.Errorf("a plan wrote something: %s", r.out)
	}

	applied := o.expect(0, "", "nodes", "apply", dump(t, "mysql.sql"))
	if !strings.HasSuffix(applied.out, "5 created, 0 updated, 0 disabled, 1 API keys imported, 0 failed\n") {
		t.Errorf("%s%s", applied.out, applied.errout)
	}
	for _, r := range []ran{plan, applied, o.expect(0, "", "nodes", "ls"), o.expect(0, "", "nodes", "export"), o.expect(0, "", "nodes", "get", "orchard-shop")} {
		if strings.Contains(r.out+r.errout, "kkkkkkkk") {
			t.Errorf("the api key is shown: %s%s", r.out, r.errout)
		}
	}
	// every other dump is of the same rows: nothing is left to do
	for _, name := range []string{"mysql_complete.sql", "pg_copy.sql", "pg_inserts.sql", "pg_columns.sql", "sqlite.sql", "sqlite.csv", "pg.csv", "sqlite.json"} {
		if r := o.expect(0, "", "nodes", "plan", dump(t, name), "--prune"); !strings.HasSuffix(r.out, "0 to create, 0 to update, 0 to disable, 5 unchanged, 0 invalid\n") {
			t.Errorf("%s: %s", name, r.out)
		}
	}
	if r := o.expect(0, "", "nodes", "apply", dump(t, "pg.csv")); !strings.HasSuffix(r.out, "0 created, 0 updated, 0 disabled, 0 API keys imported, 0 failed\n") {
		t.Errorf("again: %s", r.out)
	}
	// the old master's subject and the operator's word came along
	var node struct {
		State string `json:"admin_state"`
	}
	if err := json.Unmarshal([]byte(o.expect(0, "", "nodes", "get", "seed-bank", "-o", "json").out), &node); err != nil || node.State != "maintenance" {
		t.Errorf("%+v, %v", node, err)
	}
}

func TestAnExportLeavesNothingToDo(t *testing.T) {
	o := operate(t, "", "node_defaults {\n timeout 4s\n}\nnode fixed http://fixed.test")
	o.expect(0, "", "nodes", "apply", dump(t, "sqlite.json"))
	o.expect(0, "", "nodes", "add", "tuned", "http://tuned.test/", "--timeout", "1500ms", "--max-requests", "7", "--max-response-size", "1MiB",
		"--weight", "0.25", "--required", "--group", "g", "--dialect", "gateway", "--description", "two words", "--capabilities", "search,nodes:read", "--budget", "60 1m per_path")
	o.expect(0, "", "nodes", "drain", "omalley")
	exported := o.expect(0, "", "nodes", "export")
	if strings.Contains(exported.out, `"fixed"`) || !strings.Contains(o.expect(0, "", "nodes", "export", "--all").out, `"fixed"`) {
		t.Errorf("%s", exported.out)
	}
	file := filepath.Join(t.TempDir(), "nodes.json")
	if err := os.WriteFile(file, []byte(exported.out), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := o.expect(0, "", "nodes", "plan", file, "--prune"); !strings.Contains(r.out, "6 unchanged, 0 invalid") {
		t.Errorf("%s", r.out)
	}
	// and it makes the same fleet out of nothing
	o.expect(0, "", "nodes", "rm", "tuned", "omalley", "hub")
	o.expect(0, "", "nodes", "import", file)
	if again := o.expect(0, "", "nodes", "export"); again.out != exported.out {
		t.Errorf("exported %s, before %s", again.out, exported.out)
	}
	if r := o.expect(0, exported.out, "nodes", "plan", "-", "-o", "json"); !strings.Contains(r.out, `"changes": 0`) {
		t.Errorf("%s", r.out)
	}
}

func TestChangesAreShownFieldByField(t *testing.T) {
	o := operate(t, "", "node fixed http://fixed.test {\n weight 3\n}")
	o.expect(0, "", "nodes", "add", "shop", "http://shop.test", "--keywords", "b,a", "--description", "kept")
	o.expect(0, "", "nodes", "add", "gone", "http://gone.test")
	o.expect(0, "", "nodes", "add", "typo", "http://typo.test")
	o.expect(0, "", "nodes", "add", "master", "http://master.test", "--type", "master")
	file := `{"nodes":[
		{"name":"Shop","slug":"shop","url":"https://shop.test","keywords":["a","b"],"weight":2,"status":"inactive"},
		{"name":"fixed","url":"http://fixed.test","weight":1,"description":"of the file"},
		{"name":"Typo","url":"nowhere"}
	]}`
	o.golden(o.expect(1, file, "nodes", "plan", "-", "--prune"), `~ update shop (row 0)
  name: "shop" -> "Shop"
  url: "http://shop.test" -> "https://shop.test"
  admin_state: "enabled" -> "disabled"
  weight: 1 -> 2
~ update fixed (row 1)
  description: "" -> "of the file"
- disable gone (not in the file)
! fixed is in the Caddyfile, which wins (row 1)
  weight stays 3, the row has 1
! invalid row 2 typo: url: the url has no scheme
  suggestion: https://nowhere
0 to create, 2 to update, 1 to disable, 0 unchanged, 1 invalid
`)
	if r := o.expect(1, file, "nodes", "apply", "-", "--prune"); !strings.Contains(r.errout, "nothing was changed") {
		t.Errorf("%s", r.errout)
	}
	if r := o.expect(0, "", "nodes", "ls"); strings.Contains(r.out, "https://shop.test") {
		t.Errorf("an import with invalid rows wrote something: %s", r.out)
	}
	if r := o.expect(2, file, "nodes", "plan", "-", "--prune", "--skip-invalid"); !strings.Contains(r.out, "1 to disable") {
		t.Errorf("%s", r.out)
	}
	if r := o.expect(2, file, "nodes", "plan", "-", "--fix"); !strings.Contains(r.out, "3 to update") || !strings.Contains(r.errout, "https://nowhere") {
		t.Errorf("%s%s", r.out, r.errout)
	}
	if r := o.expect(0, file, "nodes", "plan", "-", "--create-only", "--skip-invalid"); !strings.Contains(r.out, "2 unchanged") {
		t.Errorf("%s", r.out)
	}
	o.expect(0, file, "nodes", "apply", "-", "--prune", "--skip-invalid")
	out := steady(o.expect(0, "", "nodes", "ls").out)
	for _, want := range []string{"shop  Shop  child  https://shop.test  disabled", "gone  gone  child  http://gone.test  disabled", "typo  typo  child  http://typo.test  enabled", "master  master  master  http://master.test  enabled"} {
		if !strings.Contains(out, want) {
			t.Errorf("there is no %q in\n%s", want, out)
		}
	}
	if r := o.expect(0, "", "nodes", "get", "shop"); !strings.Contains(r.out, "kept") {
		t.Errorf("what the row does not state was taken away: %s", r.out)
	}
	if r := o.expect(1, `[]`, "nodes", "apply", "-", "--prune"); !strings.Contains(r.errout, "would disable every node") {
		t.Errorf("%s", r.errout)
	}
}

// TestAPlanKnowsOfAPIKeys: of those that are to be imported for nodes that stand,
// those that are here already, and those that somebody else has.
func TestAPlanKnowsOfAPIKeys(t *testing.T) {
	o := operate(t, "", "")
	row := func(slug, key string) string {
		return fmt.Sprintf(`{"slug":%q,"name":%[1]q,"url":"http://%[1]s.test","api_key":%q}`, slug, key)
	}
	const key = "apikeyapikeyapikeyapikeyapikeyapikey"
	for _, slug := range []string{"a", "b"} {
		o.expect(0, "", "nodes", "add", slug, "http://"+slug+".test")
	}
	o.golden(o.expect(2, "["+row("a", key)+"]", "nodes", "plan", "-"), `~ update a (row 0)
  api_key: imported
0 to create, 1 to update, 0 to disable, 0 unchanged, 0 invalid
`)
	if r := o.expect(0, "["+row("a", key)+"]", "nodes", "import", "-"); !strings.Contains(r.out, "0 API keys imported") {
		t.Errorf("import changed a node that is there: %s", r.out)
	}
	if r := o.expect(0, "["+row("a", key)+"]", "nodes", "apply", "-"); !strings.Contains(r.out, "0 updated, 0 disabled, 1 API keys imported, 0 failed") {
		t.Errorf("%s", r.out)
	}
	if r := o.expect(0, "["+row("a", key)+"]", "nodes", "plan", "-"); !strings.Contains(r.out, "1 unchanged, 0 invalid") {
		t.Errorf("%s", r.out)
	}
	for _, rows := range []string{row("b", key), row("new", key), row("b", key+"2") + "," + row("new", key+"2")} {
		for _, command := range []string{"plan", "apply", "import"} {
			if r := o.expect(1, "["+rows+"]", "nodes", command, "-"); !strings.Contains(r.out, "api_key") || strings.Contains(r.out, key) {
				t.Errorf("%s %s: %s%s", command, rows, r.out, r.errout)
			}
		}
	}
}

// TestANodeThatCouldNotBeWrittenGetsNoKey: neither one that waits for approval,
// nor one whose name a client has.
func TestANodeThatCouldNotBeWrittenGetsNoKey(t *testing.T) {
	o := operator{t, fmt.Sprintf("127.0.0.1:%d", loopback.FreePort(t))}
	port := loopback.FreePort(t)
	load(t, administered(o.address, "test", fmt.Sprintf("key main hs256 %s\n\t\tenrollment approval\n\t\tnode_urls 127.0.0.0/8", fleetSecret))+
		fmt.Sprintf("http://127.0.0.1:%d {\n\tfederation\n}\n", port))
	g := gateway{t, fmt.Sprintf("http://127.0.0.1:%d", port)}
	g.expects(202, g.call("POST", "/v1/nodes", `{"name":"Waits","url":"http://127.0.0.1:9","owner_proof":"a proof that is long enough"}`))
	o.expect(0, "", "token", "issue", "--client", "client", "--capabilities", "search")
	const key = "apikeyapikeyapikeyapikeyapikeyapikey"
	file := fmt.Sprintf(`[{"slug":"waits","name":"Waits","url":"http://127.0.0.1:9","status":"maintenance","api_key":"%s1"},
		{"slug":"client","name":"Client","url":"http://client.test","api_key":"%[1]s2"},
		{"slug":"good","name":"Good","url":"http://good.test","api_key":"%[1]s3"}]`, key)
	r := o.expect(5, file, "nodes", "apply", "-")
	if !strings.Contains(r.out, "1 created, 0 updated, 0 disabled, 1 API keys imported, 2 failed") ||
		!strings.Contains(r.errout, "waits could not be updated: the node waits for approval") || strings.Contains(r.errout, "the API key of") {
		t.Errorf("%s%s", r.out, r.errout)
	}
	if r := o.expect(0, "", "token", "ls", "waits", "-o", "json"); strings.Contains(r.out, `"id"`) {
		t.Errorf("the node that was not written has %s", r.out)
	}
}

// TestAnExportIsReadable: a member of a node is one line, whatever is in it.
func TestAnExportIsReadable(t *testing.T) {
	o := operate(t, "", "")
	if out := o.expect(0, "", "nodes", "export").out; out != "{\n  \"nodes\": []\n}\n" {
		t.Errorf("%s", out)
	}
	o.expect(0, "", "nodes", "add", "a", "http://a.test", "--metadata", `{"x":[[[{"y":[1,2]}]]]}`)
	out := o.expect(0, "", "nodes", "export").out
	if !strings.Contains(out, "\n      \"metadata\": {\"x\":[[[{\"y\":[1,2]}]]]}\n    }\n  ]\n}\n") || !strings.Contains(out, "\n      \"slug\": \"a\",\n") {
		t.Errorf("%s", out)
	}
}

func TestAnImportThatFailsInPart(t *testing.T) {
	up := node(t, answers(`{"status":"pass"}`))
	o := operate(t, "", "")
	// a dialect that does not exist is found before anything is written
	file := `[{"name":"Good","url":"` + up + `","dialect":"gateway"},{"name":"Bad","url":"` + up + `","dialect":"klingon"}]`
	if r := o.expect(1, file, "nodes", "plan", "-"); !strings.Contains(r.out, "there is no dialect klingon, expected one of auto, gateway, json, laravel") {
		t.Errorf("%s%s", r.out, r.errout)
	}
	if r := o.expect(1, file, "nodes", "import", "-"); !strings.Contains(r.errout, "some rows are invalid") {
		t.Errorf("%s%s", r.out, r.errout)
	}
	if r := o.expect(0, file, "nodes", "import", "-", "--skip-invalid"); !strings.Contains(r.out, "1 created") {
		t.Errorf("%s%s", r.out, r.errout)
	}
	if r := o.expect(1, "[]", "nodes", "plan", "-", "--prune"); !strings.Contains(r.errout, "pruning would disable every node") || r.out != "" {
		t.Errorf("%s%s", r.out, r.errout)
	}
	table := "id,name,slug,url,capabilities\n5,Power,power," + up + ",\"[\"\"tokens\"\",\"\"search\"\"]\"\n"
	if r := o.expect(1, table, "nodes", "plan", "--format", "csv", "-"); !strings.Contains(r.out, "give the node power over other nodes or tokens") {
		t.Errorf("%s%s", r.out, r.errout)
	}
	ping := `[{"name":"Up","url":"` + up + `","dialect":"gateway"},{"name":"Down","url":"http://127.0.0.1:1","dialect":"gateway"}]`
	if r := o.expect(5, ping, "nodes", "apply", "-", "--ping"); !strings.Contains(r.errout, "1 of 2 nodes that were written are not well") {
		t.Errorf("%s%s", r.out, r.errout)
	}
	php := filepath.Join(t.TempDir(), "ai-engine-nodes.php")
	if err := os.WriteFile(php, []byte("<?php return [];"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := o.expect(1, "", "nodes", "plan", php); !strings.Contains(r.errout, "never executed") {
		t.Errorf("%s", r.errout)
	}
}
