package index

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/blevesearch/bleve_index_api.AnalysisWorker"))
}

// opened is a live index over a folder, built once.
type opened struct {
	*testing.T
	*live
	logs *observer.ObservedLogs
}

func openTest(t *testing.T, folder string, watch bool, sources ...string) *opened {
	t.Helper()
	core, logs := observer.New(zapcore.InfoLevel)
	l, err := open(folder, sources, "en", watch, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	o := &opened{t, l, logs}
	o.wait()
	return o
}

// wait waits for a pass over the files.
func (o *opened) wait() {
	o.Helper()
	select {
	case <-o.synced:
	case <-time.After(20 * time.Second):
		o.Fatal("no pass over the files within 20s")
	}
}

// close closes the index.
func (o *opened) close() {
	o.Helper()
	if err := o.Destruct(); err != nil {
		o.Fatal(err)
	}
}

func (o *opened) find(text string) []string {
	o.Helper()
	answer, err := o.search(o.Context(), &fleet.SearchQuery{Text: text, Limit: 100})
	if err != nil {
		o.Fatal(err)
	}
	ids := []string{}
	for _, hit := range answer.Hits {
		var id string
		if err := json.Unmarshal(hit.ID, &id); err != nil {
			o.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

func put(t *testing.T, folder, name, body string) {
	t.Helper()
	path := filepath.Join(folder, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestEveryKindOfFile(t *testing.T) {
	folder := t.TempDir()
	put(t, folder, "lines.jsonl", `{"id":"j1","title":"Kettle","text":"boils water","url":"https://shop.example/1","colour":"blue","collection":"product"}

{"id":2,"name":"Pot","body":"keeps soup","tags":["a"]}
not json
{"id":"empty"}
{"id":"j1","title":"Kettle again"}
`)
	put(t, folder, "sub/list.json", `[{"id":"l1","title":"Spoon","abstract":"stirs"},7]`)
	put(t, folder, "one.json", `{"title":"Fork","text":"pricks"}`)
	put(t, folder, "plain.txt", "A note on saucers\n\nThey stand below cups.")
	put(t, folder, "page.md", "Intro about ladles.\n\n# The ladle\n\nIt *serves* `soup`.\n")
	put(t, folder, "page.html", "<html><head><title>Whisks</title><style>hiddenstyle{}</style></head><body><script>hiddenscript()</script><p>They beat eggs.</p></body></html>")
	put(t, folder, ".hidden.txt", "a hidden colander")
	put(t, folder, ".git/x.txt", "a hidden colander")
	put(t, folder, "binary.txt", "zero \x00 colander")
	put(t, folder, "image.png", "colander")
	if err := os.Symlink("/etc", filepath.Join(folder, "link")); err != nil {
		t.Fatal(err)
	}
	o := openTest(t, t.TempDir(), false, folder)
	defer o.close()
	for text, ids := range map[string]string{
		"kettle": "[j1]", "water boiling": "[j1]", "soup": "[2 page.md]", "spoon": "[l1]", "saucers": "[plain.txt]", "ladles": "[page.md]",
		"whisk": "[page.html]", "egg": "[page.html]", "hiddenstyle": "[]", "hiddenscript": "[]", "colander": "[]", "root": "[]",
	} {
		if got := fmt.Sprint(o.find(text)); got != ids {
			t.Errorf("%s: found %s, expected %s", text, got, ids)
		}
	}
	if n := o.describe().Documents; n != 7 {
		t.Errorf("there are %d documents", n)
	}
	answer, err := o.search(t.Context(), &fleet.SearchQuery{Text: "kettle", Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	hit := answer.Hits[0]
	if string(hit.Metadata) != `{"colour":"blue"}` || string(hit.URL) != `"https://shop.example/1"` || string(hit.Content) != `"boils water"` {
		t.Errorf("hit is %s %s %s", hit.Metadata, hit.URL, hit.Content)
	}
	complaints := o.logs.FilterMessage("document is left out").All()
	var lines []string
	for _, c := range complaints {
		lines = append(lines, fmt.Sprint(filepath.Base(c.ContextMap()["file"].(string)), ":", c.ContextMap()["line"]))
	}
	for _, expected := range []string{"lines.jsonl:4", "lines.jsonl:5", "list.json:2", "binary.txt:0"} {
		if !strings.Contains(strings.Join(lines, " "), expected) {
			t.Errorf("no complaint about %s in %v", expected, lines)
		}
	}
}

func TestTheQueryIsTextAndNoSyntax(t *testing.T) {
	folder := t.TempDir()
	put(t, folder, "a.txt", "tea and water")
	o := openTest(t, t.TempDir(), false, folder)
	defer o.close()
	for _, text := range []string{`tea`, `+tea -water`, `title:tea`, `tea~2`, `"tea`, `(tea`, `te* OR tea`, `/tea/`, `tea^5`, `\tea`, `tea AND`, `*`, `{`, "tea\x00", `<tea>`, strings.Repeat("tea ", 1000)} {
		answer, err := o.search(t.Context(), &fleet.SearchQuery{Text: text, Limit: 10})
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		// "title:tea" is one word to the analyzer, which is as good an answer as any
		if found := len(answer.Hits) == 1; found != strings.Contains(text, "tea") && text != "title:tea" {
			t.Errorf("%q: %d hits", text, len(answer.Hits))
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := o.search(ctx, &fleet.SearchQuery{Text: "tea", Limit: 1}); err == nil {
		t.Error("searched for somebody who left")
	}
}

func TestFilters(t *testing.T) {
	folder := t.TempDir()
	put(t, folder, "a.jsonl", `{"id":"1","title":"tea","colour":"green","price":3,"fair":true,"collection":"x"}
{"id":"2","title":"tea","colour":"black","price":3.5,"fair":false,"collection":"y"}
`)
	o := openTest(t, t.TempDir(), false, folder)
	defer o.close()
	for filters, id := range map[string]string{`{"colour":"green"}`: "1", `{"price":3.5}`: "2", `{"fair":true,"price":3}`: "1"} {
		answer, err := o.search(t.Context(), &fleet.SearchQuery{Text: "tea", Limit: 9, Filters: []byte(filters)})
		if err != nil || len(answer.Hits) != 1 || string(answer.Hits[0].ID) != `"`+id+`"` {
			t.Errorf("%s: %+v, %v", filters, answer, err)
		}
	}
	if _, err := o.search(t.Context(), &fleet.SearchQuery{Text: "tea", Limit: 9, Filters: []byte(`{"colour":["green"]}`)}); err == nil {
		t.Error("an array was taken for a filter")
	}
	answer, err := o.search(t.Context(), &fleet.SearchQuery{Text: "tea", Limit: 9, Collections: []string{"y", "z"}})
	if err != nil || len(answer.Hits) != 1 {
		t.Errorf("%+v, %v", answer, err)
	}
	if got := fmt.Sprint(o.describe().Collections); got != "[{x x} {y y}]" {
		t.Errorf("collections are %s", got)
	}
}

func TestFilesThatChangeAreFollowed(t *testing.T) {
	folder := t.TempDir()
	put(t, folder, "a.txt", "tea")
	put(t, folder, "b.jsonl", `{"id":"1","title":"coffee"}
{"id":"2","title":"cocoa"}
`)
	o := openTest(t, t.TempDir(), true, folder)
	defer o.close()
	until := func(text, ids string) {
		t.Helper()
		deadline := time.Now().Add(10 * time.Second)
		for {
			got := fmt.Sprint(o.find(text))
			if got == ids {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: found %s, expected %s", text, got, ids)
			}
			o.wait()
		}
	}
	until("tea", "[a.txt]")
	put(t, folder, "a.txt", "lemonade now")
	until("lemonade", "[a.txt]")
	until("tea", "[]")
	put(t, folder, "new/deep/c.md", "# Juice")
	until("juice", "[new/deep/c.md]")
	put(t, folder, "b.jsonl", `{"id":"2","title":"cocoa"}
`)
	until("coffee", "[]")
	until("cocoa", "[2]")
	if err := os.Rename(filepath.Join(folder, "a.txt"), filepath.Join(folder, "renamed.txt")); err != nil {
		t.Fatal(err)
	}
	until("lemonade", "[renamed.txt]")
	if err := os.RemoveAll(filepath.Join(folder, "new")); err != nil {
		t.Fatal(err)
	}
	until("juice", "[]")
}

func TestARestartIndexesOnlyWhatChanged(t *testing.T) {
	folder, data := t.TempDir(), t.TempDir()
	put(t, folder, "a.txt", "tea")
	put(t, folder, "b.txt", "coffee")
	openTest(t, data, false, folder).close()
	put(t, folder, "b.txt", "lemonade")
	o := openTest(t, data, false, folder)
	indexed := o.logs.FilterMessage("documents indexed").All()
	if len(indexed) != 1 || indexed[0].ContextMap()["documents"] != int64(1) {
		t.Errorf("logged %v", indexed)
	}
	if got := fmt.Sprint(o.find("tea"), o.find("lemonade"), o.find("coffee")); got != "[a.txt] [b.txt] []" {
		t.Errorf("found %s", got)
	}
	o.close()
	// a source that is gone for a moment does not empty the index
	if err := os.Rename(folder, folder+".away"); err != nil {
		t.Fatal(err)
	}
	o = openTest(t, data, false, folder)
	if got := fmt.Sprint(o.find("tea")); got != "[a.txt]" || o.describe().Error == "" {
		t.Errorf("found %s, state %+v", got, o.describe())
	}
	o.close()
	if err := os.Rename(folder+".away", folder); err != nil {
		t.Fatal(err)
	}
	o = openTest(t, data, false, folder)
	defer o.close()
	if got := fmt.Sprint(o.find("tea")); got != "[a.txt]" || o.describe().Error != "" {
		t.Errorf("found %s, state %+v", got, o.describe())
	}
}

func TestADamagedIndexIsBuiltAnewAndAForeignFolderIsNot(t *testing.T) {
	folder, data := t.TempDir(), t.TempDir()
	put(t, folder, "a.txt", "tea")
	openTest(t, data, false, folder).close()
	err := filepath.WalkDir(filepath.Join(data, "bleve"), func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			err = os.WriteFile(path, []byte("damaged"), 0o600)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	o := openTest(t, data, false, folder)
	if got := fmt.Sprint(o.find("tea")); got != "[a.txt]" {
		t.Errorf("found %s", got)
	}
	o.close()
	theirs := t.TempDir()
	put(t, theirs, "precious.txt", "do not touch")
	if _, err := open(theirs, []string{folder}, "en", false, zap.NewNop()); err == nil || !strings.Contains(err.Error(), "something else") {
		t.Errorf("error is %v", err)
	}
	if _, err := os.Stat(filepath.Join(theirs, "precious.txt")); err != nil {
		t.Error(err)
	}
}

func TestExcerpt(t *testing.T) {
	for _, c := range []struct {
		text  string
		limit int
		cut   string
	}{
		{"short", 10, "short"}, {"one two three", 9, "one two…"}, {"ääääää", 5, "ää…"}, {strings.Repeat("x", 20), 8, "xxxxxxxx…"},
	} {
		if got := excerpt(c.text, c.limit); got != c.cut {
			t.Errorf("%q at %d: %q, expected %q", c.text, c.limit, got, c.cut)
		}
	}
}

func FuzzDocuments(f *testing.F) {
	f.Add("a.jsonl", []byte(`{"id":"1","title":"x"}`+"\n{}\n"))
	f.Add("a.json", []byte(`[{"text":"x","a":{"b":1}}]`))
	f.Add("a.md", []byte("# T\n\n* a\n* b `c`\n\n```\ncode\n```\n"))
	f.Add("a.html", []byte("<title>a</title><p>b<script>c"))
	f.Add("a.txt", []byte("\xff\xfe"))
	f.Fuzz(func(t *testing.T, name string, body []byte) {
		read := readers[filepath.Ext(name)]
		if read == nil {
			return
		}
		_ = read(name, strings.NewReader(string(body)), func(d document) error {
			if d.ID == "" || d.Title == "" && d.Content == "" && filepath.Ext(name)[1] == 'j' {
				t.Errorf("document is %+v", d)
			}
			if d.Metadata != nil && !d.Metadata.IsValid() {
				t.Errorf("metadata is %s", d.Metadata)
			}
			return nil
		}, func(int, error) {})
	})
}
