package requestbody

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

type wish struct {
	Name     string          `json:"name"`
	For      caddy.Duration  `json:"for"`
	Metadata json.RawMessage `json:"metadata"`
	Inner    []struct {
		Class string `json:"class"`
	} `json:"inner"`
}

func TestDecode(t *testing.T) {
	var w wish
	if err := Decode([]byte(`{"name":"a","for":"10m","metadata":{"B":1},"inner":[{"class":"c"}]}`+"\n"), &w); err != nil {
		t.Fatal(err)
	}
	if w.Name != "a" || string(w.Metadata) != `{"B":1}` || w.Inner[0].Class != "c" {
		t.Errorf("%+v", w)
	}
	for body, want := range map[string]string{
		``:                                      "the body is empty, expected a JSON object",
		" \n":                                   "the body is empty, expected a JSON object",
		`[]`:                                    "the body is not a JSON object",
		`"x"`:                                   "the body is not a JSON object",
		`{"name":"a"`:                           "the body is not valid JSON (at byte 11)",
		`{"name":"a"} {}`:                       "the body has more than one JSON value",
		`{"name":"a","name":"b"}`:               "name: the member is given twice",
		`{"metadata":{"a":1,"a":2}}`:            "metadata.a: the member is given twice",
		`{"Name":"a"}`:                          "Name: unknown field",
		`{"inner":[{"Class":"a"}]}`:             "inner.0.Class: unknown field",
		`{"colour":"red"}`:                      "colour: unknown field",
		`{"name":7}`:                            "name: a number does not fit",
		`{"name":{}}`:                           "name: an object does not fit",
		"{\"name\":\"\xff\"}":                   "the body is not valid JSON (at byte 9)",
		`{"for":"soon"}`:                        "for: a string does not fit",
		`{"` + strings.Repeat("x", 99) + `":1}`: strings.Repeat("x", 64) + "…: unknown field",
	} {
		err := Decode([]byte(body), new(wish))
		var mistake *Mistake
		if !errors.As(err, &mistake) || mistake.Detail != want {
			t.Errorf("%.40s: %v, want %q", body, err, want)
		}
	}
}

func TestDecodeAMapOfMembers(t *testing.T) {
	var change map[string]json.RawMessage
	if err := Decode([]byte(`{"name":null,"weight":2}`), &change); err != nil || string(change["name"]) != "null" {
		t.Errorf("%v, %s", err, change)
	}
	if err := Decode([]byte(`{"a":1,"a":2}`), &change); err == nil || err.Error() != "a: the member is given twice" {
		t.Error(err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{`{}`, `{"name":"a","name":"b"}`, `{"inner":[{"class":1}]}`, `{"a/b~":[`, "\xff", `null`, `{"for":"1s"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		err := Decode(body, new(wish))
		var mistake *Mistake
		if err != nil && (!errors.As(err, &mistake) || mistake.Detail == "" || len(mistake.Detail) > 160) {
			t.Errorf("%q", err)
		}
	})
}
