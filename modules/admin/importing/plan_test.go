package importing

import (
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

func TestAPlanShowsEveryFieldOldAndNew(t *testing.T) {
	existing := []Existing{
		{Node: settled(fleet.NodeConfig{Slug: "a", Name: "A", URL: "https://a.test/", Keywords: []string{"y", "x"}, AdminState: fleet.AdminDraining})},
		{Node: settled(fleet.NodeConfig{Slug: "b", Name: "B", URL: "https://b.test", Description: "kept", Weight: 3})},
		{Node: settled(fleet.NodeConfig{Slug: "fixed", URL: "https://f.test"}), Fixed: []string{"slug", "url"}},
		{Node: settled(fleet.NodeConfig{Slug: "same-fixed", URL: "https://g.test"}), Fixed: []string{"slug", "url"}},
		{Node: settled(fleet.NodeConfig{Slug: "gone", URL: "https://gone.test"})},
		{Node: settled(fleet.NodeConfig{Slug: "gone-already", URL: "https://gone.test", AdminState: fleet.AdminDisabled})},
		{Node: settled(fleet.NodeConfig{Slug: "typo", URL: "https://typo.test"})},
		{Node: settled(fleet.NodeConfig{Slug: "hub", URL: "https://hub.test", Type: "master"})},
	}
	result := normalizeText(t, `[
		{"name":"A","url":"https://a.test","keywords":["x","y"]},
		{"name":"B","slug":"b","url":"https://b.test","weight":1,"status":"inactive","keywords":[]},
		{"name":"C","url":"https://c.test","api_key":"a-key-of-thirty-two-or-more-bytes"},
		{"slug":"fixed","name":"fixed","url":"https://other.test","weight":2},
		{"slug":"same-fixed","name":"same-fixed","url":"https://g.test","api_key":"another-key-of-thirty-two-or-more"},
		{"name":"Typo","url":"nowhere"}
	]`, false)
	plan := Make(existing, result.Nodes, result.Invalid, defaults, true)
	want := &Plan{
		Create: []Change{{Slug: "c", Row: "2", APIKey: true, Fields: []FieldChange{{"name", "", "C"}, {"url", "", "https://c.test"}}}},
		Update: []Change{
			{Slug: "b", Row: "1", Fields: []FieldChange{{"admin_state", "enabled", "disabled"}, {"weight", 3.0, 1.0}}},
			{Slug: "fixed", Row: "3", Fields: []FieldChange{{"weight", 1.0, 2.0}}},
			{Slug: "same-fixed", Row: "4", APIKey: true, Fields: []FieldChange{}}, // its key alone
		},
		Held:  []Change{{Slug: "fixed", Row: "3", Fields: []FieldChange{{"url", "https://f.test", "https://other.test"}}}},
		Prune: []Change{{Slug: "gone", Fields: []FieldChange{{"admin_state", "enabled", "disabled"}}}},

		Unchanged: []string{"a"}, Invalid: result.Invalid,
	}
	if !reflect.DeepEqual(plan, want) {
		t.Errorf("the plan is\n%s\nexpected\n%s", asJSON(t, plan), asJSON(t, want))
	}
	if plan.Changes() != 5 || !errors.Is(plan.Refusal(false), ErrInvalidRows) || plan.Refusal(true) != nil {
		t.Errorf("%d changes, refusals %v, %v", plan.Changes(), plan.Refusal(false), plan.Refusal(true))
	}

	if members, err := result.Nodes[1].Members([]string{"weight", "keywords"}); err != nil || string(members["weight"]) != "1" || string(members["keywords"]) != "null" {
		t.Errorf("%s, %v", members, err)
	}
	merged := result.Nodes[1].Over(existing[1].Node)
	if merged.Description != "kept" || merged.Weight != 1 || merged.AdminState != fleet.AdminDisabled {
		t.Errorf("the row took away what it does not state: %+v", merged)
	}
}

// TestAURLInAnotherSpellingIsNoChange: in a plan, and between two rows.
func TestAURLInAnotherSpellingIsNoChange(t *testing.T) {
	existing := []Existing{
		{Node: settled(fleet.NodeConfig{Slug: "a", Name: "A", URL: "https://a.test/~x"})},
		{Node: settled(fleet.NodeConfig{Slug: "b", Name: "B", URL: "https://b.test/x%2Fy"})},
	}
	result := normalizeText(t, `[
		{"name":"A","url":"HTTPS://A.test:443/%7Ex/"},
		{"name":"B","url":"https://b.test/x/y"},
		{"name":"D","url":"https://a.test/~x"}
	]`, false)
	plan := Make(existing, result.Nodes, result.Invalid, defaults, false)
	if !slices.Equal(plan.Unchanged, []string{"a"}) || len(plan.Update) != 1 || plan.Update[0].Slug != "b" {
		t.Errorf("the plan is %s", asJSON(t, plan))
	}
	if len(result.Notes) != 1 || result.Notes[0].Slug != "d" || result.Notes[0].Field != "url" {
		t.Errorf("noted: %s", asJSON(t, result.Notes))
	}
}

func TestPruningAWholeFleetIsRefused(t *testing.T) {
	existing := []Existing{{Node: settled(fleet.NodeConfig{Slug: "a", URL: "https://a.test"})}}
	if err := Make(existing, nil, nil, defaults, true).Refusal(true); !errors.Is(err, ErrNothingToTry) {
		t.Errorf("%v", err)
	}
	if err := Make(existing, nil, nil, defaults, false).Refusal(true); err != nil {
		t.Errorf("%v", err)
	}
}

func TestAWrittenPlanLeavesNothingToDo(t *testing.T) {
	for _, name := range dumps {
		source, err := Read(name, readFile(t, "testdata", name), Options{})
		if err != nil {
			t.Fatal(err)
		}
		result := Normalize(source.Rows, false)
		var existing []Existing
		for _, d := range result.Nodes {
			existing = append(existing, Existing{Node: d.Over(Settings{})})
		}
		for i := range result.Nodes {
			result.Nodes[i].APIKey = "" // it is here by now
		}
		plan := Make(existing, result.Nodes, nil, defaults, true)
		if plan.Changes() != 0 || len(plan.Unchanged) != len(result.Nodes) {
			t.Errorf("%s: %s", name, asJSON(t, plan))
		}
	}
}

func TestEverySettingOfANodeIsImportedOrKeptOutOnPurpose(t *testing.T) {
	var names []string
	for _, s := range settings {
		names = append(names, s.name)
	}
	names = append(names, "slug", "credentials", "keys", "header_up", "transport")
	node := reflect.TypeFor[fleet.NodeConfig]()
	for i := range node.NumField() {
		tag, _, _ := cut(node.Field(i).Tag.Get("json"))
		if !slices.Contains(names, tag) {
			t.Errorf("nobody decided whether %s is imported", tag)
		}
	}
}

func cut(tag string) (string, string, bool) {
	for i := range tag {
		if tag[i] == ',' {
			return tag[:i], tag[i+1:], true
		}
	}
	return tag, "", false
}
