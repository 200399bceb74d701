package importing

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

const contract = "../../../testdata/contract"

func TestSlugsAreThoseOfTheOldFleet(t *testing.T) {
	var fixture struct {
		Slugs []struct{ Name, Slug string }
	}
	if err := json.Unmarshal(readFile(t, contract, "vec_match_context.json"), &fixture); err != nil {
		t.Fatal(err)
	}
	if len(fixture.Slugs) < 10 {
		t.Fatal("the fixture has no slugs")
	}
	for _, c := range fixture.Slugs {
		if got := fleet.SlugOf(c.Name); got != c.Slug {
			t.Errorf("%q is %q, expected %q", c.Name, got, c.Slug)
		}
	}
}

type remark struct{ Row, Field, Reason, Suggestion string }

func normalizeText(t *testing.T, text string, fix bool) Result {
	t.Helper()
	source, err := Read("x.json", []byte(text), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return Normalize(source.Rows, fix)
}

func TestEveryProblemHasItsReasonAndSuggestion(t *testing.T) {
	for text, want := range map[string]remark{
		`{"url":"https://a.test"}`:                                         {"0", "name", "neither a name nor a slug", ""},
		`{"slug":"dairy-2","url":"https://a.test"}`:                        {"0", "name", "missing", "Dairy 2"},
		`{"name":"---","url":"https://a.test"}`:                            {"0", "slug", "neither slug nor name", ""},
		`{"name":"Local","url":"https://a.test"}`:                          {"0", "slug", "own index", "local-node"},
		`{"name":"` + strings.Repeat("long ", 20) + `","url":"https://a"}`: {"0", "slug", "longer than 64", strings.TrimRight(strings.Repeat("long-", 20)[:64], "-")},
		`{"name":"` + strings.Repeat("x", 256) + `","url":"https://a"}`:    {"0", "name", "longer than 255", ""},
		`{"name":"A"}`:                                                                                  {"0", "url", "missing", ""},
		`{"name":"A","url":"a.test:81/x"}`:                                                              {"0", "url", "no scheme", "https://a.test:81/x"},
		`{"name":"A","url":"ht!tp://x y"}`:                                                              {"0", "url", "not a URL", ""},
		`{"name":"A","url":"ftp://a.test"}`:                                                             {"0", "url", "http or https", ""},
		`{"name":"A","url":"https://u:hidden@a.test"}`:                                                  {"0", "url", "user or password", ""},
		`{"name":"A","url":"https://a.test/?x=hidden"}`:                                                 {"0", "url", "query", ""},
		`{"name":"A","url":"https://a.test/{env.HOME}"}`:                                                {"0", "url", "brace", ""},
		`{"name":"A","url":"https://a.test","type":"bogus"}`:                                            {"0", "type", "neither child nor master", "child"},
		`{"name":"A","url":"https://a.test","status":"gone"}`:                                           {"0", "status", "none of active", "active"},
		`{"name":"A","url":"https://a.test","admin_state":"gone"}`:                                      {"0", "admin_state", "none of enabled", "enabled"},
		`{"name":"A","url":"https://a.test","weight":0}`:                                                {"0", "weight", "not above 0", "1"},
		`{"name":"A","url":"https://a.test","weight":"much"}`:                                           {"0", "weight", "no number", "1"},
		`{"name":"A","url":"https://a.test","weight":1e9}`:                                              {"0", "weight", "above 1000", "1000"},
		`{"name":"A","url":"https://a.test","weight":[1]}`:                                              {"0", "weight", "a list, expected text", ""},
		`{"name":"A","url":"https://a.test","keywords":7}`:                                              {"0", "keywords", "a number, expected a list", ""},
		`{"name":"A","url":"https://a.test","keywords":[{}]}`:                                           {"0", "keywords", "an object in it", ""},
		`{"name":"A","url":"https://a.test","collections":[7]}`:                                         {"0", "collections", "neither a name nor", ""},
		`{"name":"A","url":"https://a.test","timeout":"soon"}`:                                          {"0", "timeout", "duration", ""},
		`{"name":"A","url":"https://a.test","timeout":"-5s"}`:                                           {"0", "record", "negative", ""},
		`{"name":"A","url":"https://a.test","budget":"much"}`:                                           {"0", "budget", "such as", ""},
		`{"name":"A","url":"https://a.test","required":"maybe"}`:                                        {"0", "required", "true or false", ""},
		`{"name":"A","url":"https://a.test","dialect":[]}`:                                              {"0", "dialect", "dialect's name", "auto"},
		`{"name":"A","url":"https://a.test","api_key":"hidden key"}`:                                    {"0", "api_key", "header cannot carry", "remove it, and give the node a new key"},
		`{"name":"A","url":"https://a.test","ping_failures":0,"capabilities":["search","nodes:write"]}`: {"0", "capabilities", "power over other nodes", "search"},
		`{"name":"A","url":"https://a.test","metadata":{"x":"` + strings.Repeat("y", 17000) + `"}}`:     {"0", "metadata", "at most 16384 bytes", "remove it"},
		`"nonsense"`: {"0", "record", "not an object", "remove it"},
		`{"name":"A","url":"https://a.test"},{"name":"a","url":"https://b"}`: {"1", "slug", "row 0 has the same slug", "a-2"},
	} {
		result := normalizeText(t, "["+text+"]", false)
		if len(result.Invalid) != 1 {
			t.Errorf("%s: %s", text, asJSON(t, result.Invalid))
			continue
		}
		got := result.Invalid[0]
		if got.Row != want.Row || got.Field != want.Field || !strings.Contains(got.Reason, want.Reason) || got.Suggestion != want.Suggestion {
			t.Errorf("%s: %+v, expected %+v", text, got, want)
		}
		if strings.Contains(asJSON(t, result), "hidden") {
			t.Errorf("%s: a secret is shown: %s", text, asJSON(t, result))
		}
		if want.Suggestion == "" {
			continue
		}
		if fixed := normalizeText(t, "["+text+"]", true); len(fixed.Invalid) != 0 || len(fixed.Fixed) == 0 {
			t.Errorf("%s: the suggestion was not taken: %s", text, asJSON(t, fixed))
		}
	}
}

// The verdicts of the old bulk sync, recorded from it, where they are no
// defects of it. This gateway differs on purpose:
//   - "maintenance" is a status, and stays one (the autofix made it active);
//   - a row that says nothing of capabilities or weight leaves them alone (the
//     old sync wrote its defaults, and the autofix added them to the row);
//   - the key of a slug-keyed map is the slug in every mode (the autofix made
//     one of the name);
//   - a list written as text is always split (without autofix the old sync
//     made one word of it);
//   - nodes that are not a list are an error of the whole file.
func TestTheOldBulkSyncsVerdicts(t *testing.T) {
	var fixture struct {
		Cases map[string]struct {
			Input json.RawMessage
			Smart struct {
				Payload struct{ Nodes []map[string]any }
				Changes []struct{ Row, Field string }
			} `json:"autofix_smart"`
			Normalized []struct {
				Name, Slug, Type, URL string
				Weight                float64
			}
			Invalid []struct {
				Row  string
				Slug *string
			}
			Plan struct {
				Create, Update, Unchanged []string
			}
		}
	}
	if err := json.Unmarshal(readFile(t, contract, "vec_bulk_sync_jun2026.json"), &fixture); err != nil {
		t.Fatal(err)
	}
	existing := []Existing{
		{Node: settled(fleet.NodeConfig{Slug: "orchard-shop", Name: "Orchard Shop", URL: "https://orchard.test", Capabilities: []string{"search", "actions", "rag"}})},
		{Node: settled(fleet.NodeConfig{Slug: "old-barn", Name: "Old Barn", URL: "https://barn.test"})},
		{Node: settled(fleet.NodeConfig{Slug: "hub", Name: "Hub", URL: "https://hub.test", Type: "master"})},
	}
	for name, c := range fixture.Cases {
		t.Run(name, func(t *testing.T) {
			source, err := Read("x.json", c.Input, Options{})
			if name == "root_not_list" {
				if err == nil {
					t.Error("it was read")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			result := Normalize(source.Rows, false)
			plan := Make(existing, result.Nodes, result.Invalid, defaults, false)
			if got := slugsOf(plan.Create); !slices.Equal(got, c.Plan.Create) {
				t.Errorf("create %v, expected %v", got, c.Plan.Create)
			}
			if got := slugsOf(plan.Update); !slices.Equal(got, c.Plan.Update) {
				t.Errorf("update %v, expected %v", got, c.Plan.Update)
			}
			if !slices.Equal(plan.Unchanged, c.Plan.Unchanged) {
				t.Errorf("unchanged %v, expected %v", plan.Unchanged, c.Plan.Unchanged)
			}
			var invalid, expected []string
			for _, r := range result.Invalid {
				invalid = append(invalid, r.Row)
			}
			for _, r := range c.Invalid {
				expected = append(expected, r.Row)
			}
			if invalid = slices.Compact(invalid); !slices.Equal(invalid, expected) {
				t.Errorf("invalid rows %v, expected %v", invalid, expected)
			}
			for i, want := range c.Normalized {
				node := defaults(result.Nodes[i].Node.NodeConfig)
				if node.Name != want.Name || node.Slug != want.Slug || node.Type != want.Type || node.URL != want.URL || node.Weight != want.Weight {
					t.Errorf("row %d is %+v, expected %+v", i, node, want)
				}
			}

			fixed := Normalize(source.Rows, true)
			got := make(map[string]fleet.NodeConfig)
			for _, d := range fixed.Nodes {
				got[d.Node.URL] = defaults(d.Node.NodeConfig)
			}
			for _, want := range c.Smart.Payload.Nodes {
				url, _ := want["url"].(string)
				node, valid := got[url]
				if !valid { // the autofix leaves what it cannot fix, and so do we
					if want["name"] != nil && url != "" && url != "ht!tp://x y" {
						t.Errorf("%v was not fixed: %s", want, asJSON(t, fixed.Invalid))
					}
					continue
				}
				slug := want["slug"]
				if name == "keyed_map" {
					slug = "seed-bank"
				}
				if node.Name != want["name"] || node.Slug != slug {
					t.Errorf("%s is %q, %q, expected %v, %v", url, node.Name, node.Slug, want["name"], slug)
				}
				if keywords, ok := want["keywords"].([]any); ok && len(node.Keywords) != len(keywords) {
					t.Errorf("%s: keywords %v, expected %v", url, node.Keywords, keywords)
				}
				if want["status"] != nil && node.AdminState != fleet.AdminMaintenance {
					t.Errorf("%s: maintenance became %s", url, node.AdminState)
				}
			}
			said := make(map[string]bool)
			for _, r := range slices.Concat(fixed.Fixed, fixed.Invalid) {
				said[r.Row+" "+r.Field] = true
			}
			for _, change := range c.Smart.Changes {
				switch {
				case change.Field == "capabilities" || change.Field == "weight" || change.Field == "status":
				case change.Field == "slug" && !said[change.Row+" slug"]: // a slug made of the name is the rule, not a fix
				case !said[change.Row+" "+change.Field]:
					t.Errorf("row %s: nothing is said of %s", change.Row, change.Field)
				}
			}
		})
	}
}

func slugsOf(changes []Change) []string {
	slugs := []string{}
	for _, c := range changes {
		slugs = append(slugs, c.Slug)
	}
	return slugs
}

func settled(c fleet.NodeConfig) Settings { return Settings{NodeConfig: c} }

// defaults are the documented ones.
func defaults(c fleet.NodeConfig) fleet.NodeConfig {
	if c.Name == "" {
		c.Name = c.Slug
	}
	if c.Type == "" {
		c.Type = "child"
	}
	if c.Weight == 0 {
		c.Weight = 1
	}
	if c.Capabilities == nil {
		c.Capabilities = []string{"search", "actions"}
	}
	if c.AdminState == "" {
		c.AdminState = fleet.AdminEnabled
	}
	return c
}

func TestTheRegistryFileOfTheOldFleet(t *testing.T) {
	var fixture struct{ File json.RawMessage }
	if err := json.Unmarshal(readFile(t, contract, "registry_file.json"), &fixture); err != nil {
		t.Fatal(err)
	}
	result := normalizeText(t, string(fixture.File), false)
	if len(result.Nodes) != 2 || len(result.Invalid)+len(result.Notes)+len(result.Fixed) != 0 {
		t.Fatalf("%s", asJSON(t, result))
	}
	shop := result.Nodes[0]
	if want := []string{"admin_state", "capabilities", "collections", "data_types", "description", "domains", "keywords", "name", "type", "url", "version", "weight"}; !slices.Equal(shop.Set, want) {
		t.Errorf("the row states %v, expected %v", shop.Set, want)
	}
	if shop.Node.Weight != 2 || shop.Node.Collections[0] != (fleet.Collection{Name: "plant", Class: `App\Models\Plant`}) || shop.APIKey != "" {
		t.Errorf("%s", asJSON(t, shop))
	}
	if seeds := result.Nodes[1]; seeds.Node.Slug != "seed-bank" || !slices.Equal(seeds.Set, []string{"name", "url"}) {
		t.Errorf("%s", asJSON(t, seeds))
	}
}

func TestListsAreReadHoweverTheyAreKept(t *testing.T) {
	for text, want := range map[string][]string{
		`["a","b"]`: {"a", "b"}, `"[\"a\",\"b\"]"`: {"a", "b"}, `"\"[\\\"a\\\",\\\"b\\\"]\""`: {"a", "b"}, `"a, b,,"`: {"a", "b"},
		`{"0":"a","2":"b"}`: {"a", "b"}, `[1," a ","a",null,""]`: {"1", "a"}, `[]`: {}, `null`: nil, `""`: nil, `"null"`: nil,
	} {
		result := normalizeText(t, `[{"name":"A","url":"https://a.test","keywords":`+text+`}]`, false)
		if len(result.Nodes) != 1 || !reflect.DeepEqual(result.Nodes[0].Node.Keywords, want) {
			t.Errorf("%s is read as %s", text, asJSON(t, result))
			continue
		}
		if stated := slices.Contains(result.Nodes[0].Set, "keywords"); stated != (want != nil) {
			t.Errorf("%s: stated %v", text, stated)
		}
	}
	result := normalizeText(t, `[{"name":"A","url":"https://a.test","collections":["App\\Models\\Plant","plot",{"name":"x"},{"class":"App\\Tree","display_name":"Trees"}]}]`, false)
	want := []fleet.Collection{{Name: "plant", Class: `App\Models\Plant`}, {Name: "plot"}, {Name: "x"}, {Name: "tree", Class: `App\Tree`}}
	if !slices.Equal(result.Nodes[0].Node.Collections, want) {
		t.Errorf("collections %v", result.Nodes[0].Node.Collections)
	}
}

func TestHostileTextIsDefused(t *testing.T) {
	result := normalizeText(t, `[{"name":"\u001b[2J\u202eevil\u0000\r\nx","url":"https://a.test","description":"a\u001b[31m\nb\u0007","keywords":["\u001b]0;x\u0007"],"\u001b[1m":1}]`, false)
	if text := asJSON(t, result); strings.Contains(text, `\u001b`) || strings.Contains(text, `\u0007`) || strings.Contains(text, "\u202e") {
		t.Errorf("control characters are left: %s", text)
	}
	if node := result.Nodes[0].Node; node.Slug != "2jevil-x" || node.Description != "a[31m\nb" {
		t.Errorf("%+v", node)
	}
}

// TestTheIDOfARowIsChecked in all formats, whatever other columns there are: it
// is the subject of tokens, and nodes of December look it up.
func TestTheIDOfARowIsChecked(t *testing.T) {
	for id, subject := range map[string]string{"7": "7", "-1": "", "x": "", "0": "", "99999999999999999999": "", "1.5": ""} {
		for name, text := range map[string]string{
			"x.sql":  "INSERT INTO ai_nodes (id, name, url) VALUES ('" + id + "', 'A', 'https://a.test');",
			"x.csv":  "id,name,url\n" + id + ",A,https://a.test\n",
			"x.json": `[{"id":"` + id + `","name":"A","url":"https://a.test","ping_failures":0}]`,
		} {
			source, err := Read(name, []byte(text), Options{})
			if err != nil {
				t.Fatal(err)
			}
			switch result := Normalize(source.Rows, false); {
			case subject == "" && (len(result.Invalid) != 1 || result.Invalid[0].Field != "id" || !strings.Contains(result.Invalid[0].Reason, "no row id")):
				t.Errorf("%s with the id %s: invalid %+v", name, id, result.Invalid)
			case subject != "" && (len(result.Nodes) != 1 || result.Nodes[0].Node.Subject != subject):
				t.Errorf("%s with the id %s: %+v", name, id, result)
			}
		}
	}
	// a registry file has ids of its own, which no node knows
	if result := normalizeText(t, `[{"id":"x","name":"A","url":"https://a.test"}]`, false); len(result.Nodes) != 1 || result.Nodes[0].Node.Subject != "" {
		t.Errorf("of a registry file: %+v", result)
	}
}

// TestAKeyOfAMapIsTheSlug: a row that names another is doubtful.
func TestAKeyOfAMapIsTheSlug(t *testing.T) {
	text := `{"alpha":{"slug":"other","name":"Al","url":"https://a.test"},"beta":{"slug":"Beta","name":"B","url":"https://b.test"},"3":{"slug":"third","name":"C","url":"https://c.test"}}`
	for _, fix := range []bool{false, true} {
		result := normalizeText(t, text, fix)
		reason := `the row's key is "alpha", and its slug "other"`
		if !reflect.DeepEqual(result.Invalid, []Remark{ // both are named, so that --prune spares both
			{Row: "alpha", Slug: "alpha", Field: "slug", Reason: reason}, {Row: "alpha", Slug: "other", Field: "slug", Reason: reason},
		}) {
			t.Errorf("fix %v: invalid %+v", fix, result.Invalid)
		}
		var slugs []string
		for _, d := range result.Nodes {
			slugs = append(slugs, d.Node.Slug)
		}
		if !slices.Equal(slugs, []string{"beta", "third"}) {
			t.Errorf("fix %v: %v", fix, slugs)
		}
	}
}
