package importing

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// The dumps in testdata are of one table with six rows, written by the
// databases' own tools: mariadb-dump 10.11, pg_dump 15, sqlite3 3.40.
var dumps = []string{
	"mysql.sql", "mysql_complete.sql", "pg_copy.sql", "pg_inserts.sql", "pg_columns.sql", "sqlite.sql", "sqlite.csv", "pg.csv", "sqlite.json",
}

func readFile(t testing.TB, parts ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestEveryDumpOfOneTableReadsTheSame(t *testing.T) {
	var first Result
	for i, name := range dumps {
		t.Run(name, func(t *testing.T) {
			source, err := Read(name, readFile(t, "testdata", name), Options{})
			if err != nil {
				t.Fatal(err)
			}
			if len(source.Rows) != 6 {
				t.Fatalf("%d rows, expected 6", len(source.Rows))
			}
			result := Normalize(source.Rows, false)
			if i == 0 {
				first = result
				return
			}
			if !reflect.DeepEqual(result, first) {
				t.Errorf("differs from %s:\n%s\n%s", dumps[0], asJSON(t, result), asJSON(t, first))
			}
		})
	}
}

func asJSON(t testing.TB, value any) string {
	t.Helper()
	encoded, err := json.MarshalIndent(value, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

func TestADumpIsReadFieldByField(t *testing.T) {
	source, err := Read("mysql.sql", readFile(t, "testdata", "mysql.sql"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	result := Normalize(source.Rows, false)
	if len(result.Invalid) != 0 || len(result.Nodes) != 5 {
		t.Fatalf("%s", asJSON(t, result))
	}
	if len(result.Deleted) != 1 || result.Deleted[0].Slug != "old-barn" || result.Deleted[0].Row != "3" {
		t.Errorf("the soft-deleted row: %+v", result.Deleted)
	}
	got := make(map[string]map[string]any)
	for _, d := range result.Nodes {
		var node map[string]any
		if err := json.Unmarshal([]byte(asJSON(t, d.Node)), &node); err != nil {
			t.Fatal(err)
		}
		got[d.Node.Slug] = node
	}
	want := map[string]map[string]any{
		"orchard-shop": {
			"slug": "orchard-shop", "name": "Orchard Shop", "url": "https://orchard.test", "type": "child", "version": "1.0.0", "weight": 2.0, "subject": "1",
			"description":  "Fruit trees;\nthe gardener's \"best\" tools \\ more (now)",
			"capabilities": []any{"search", "actions", "rag"}, "domains": []any{"gardening"}, "data_types": []any{"plants"},
			"keywords":    []any{"tree", "pépinière"},
			"collections": []any{map[string]any{"name": "plant", "class": `App\Models\Plant`}}, "admin_state": "enabled",
		},
		"seed-bank": {
			"slug": "seed-bank", "name": "Seed Bank", "url": "http://seeds.test:8080", "type": "child", "version": "1.0.0", "weight": 1.0, "subject": "2",
			"capabilities": []any{"search"}, "domains": []any{"farming"}, "keywords": []any{"seeds"}, "admin_state": "maintenance",
			"metadata": map[string]any{"topics": []any{"seeds"}, "domains": []any{"farming"}},
		},
		"omalley": {
			"slug": "omalley", "name": "O'Malley; DROP TABLE ai_nodes; --", "url": "https://omalley.test", "type": "child", "version": "1.0.0", "weight": 1.0,
			"subject": "3", "capabilities": []any{"search"}, "admin_state": "enabled",
		},
		"hub": {"slug": "hub", "name": "Hub", "url": "https://hub.test", "type": "master", "version": "1.0.0", "weight": 1.0, "admin_state": "enabled"},
		"mir-eu": {
			"slug": "mir-eu", "name": "Мир, (EU)", "url": "https://mir.test", "type": "child", "version": "1.0.0", "weight": 1.0, "subject": "7",
			"capabilities": []any{"search", "actions"}, "keywords": []any{"it's", `a\b`}, "admin_state": "enabled",
		},
	}
	for slug := range want {
		if !reflect.DeepEqual(got[slug], want[slug]) {
			t.Errorf("%s is\n%v, expected\n%v", slug, got[slug], want[slug])
		}
	}
	if key := result.Nodes[0].APIKey; !strings.HasSuffix(string(key), "0001") || key.String() != "(secret)" {
		t.Errorf("the api key was lost or can be printed")
	}
}

// TestCommentsOfADumpHideNoRow: whoever wrote it, and whatever is in them.
func TestCommentsOfADumpHideNoRow(t *testing.T) {
	row := func(slug string) string {
		return "INSERT INTO ai_nodes (slug,name,url) VALUES ('" + slug + "','N','http://" + slug + ".test');"
	}
	for name, text := range map[string]string{
		"by hand":             row("a") + "\n# x\n" + row("b"),
		"with a quote":        row("a") + "\n# it's\n" + row("b"),
		"first":               "# x\n" + row("a") + "\n" + row("b"),
		"behind a statement":  row("a") + " # it's one\n" + row("b"),
		"in a statement":      "INSERT INTO ai_nodes (slug,name,url) VALUES # two (2)\n('a','N','http://a.test'), # it's one\n('b','N','http://b.test');",
		"of MySQL":            "/*!40101 SET NAMES utf8 */;\n" + row("a") + "\n#> x\n" + row("b"),
		"in one of SQLite":    "PRAGMA foreign_keys=OFF;\n" + row("a") + "\n# it's\n" + row("b"),
		"operator":            "CREATE VIEW v AS SELECT a #>> '{b}' FROM c;\n" + row("a") + "\n" + row("b"),
		"operator without":    "CREATE VIEW v AS SELECT a #- '{b' FROM c; " + row("a") + "\n" + row("b"),
		"operator of dumps":   "-- PostgreSQL database dump\nCREATE VIEW v AS SELECT a # 1 FROM c; " + row("a") + "\n" + row("b"),
		"the other two kinds": row("a") + "\n-- it's\n/* it's */" + row("b"),
	} {
		source, err := Read("x.sql", []byte(text), Options{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if len(source.Rows) != 2 {
			t.Errorf("%s: %d rows", name, len(source.Rows))
		}
	}
}

func TestJSONShapes(t *testing.T) {
	one := `{"name":"Seed Bank","url":"https://seeds.test"}`
	for name, text := range map[string]string{
		"wrapped":     `{"nodes":[` + one + `]}`,
		"bare":        `[` + one + `]`,
		"with a BOM":  "\xef\xbb\xbf[" + one + "]",
		"map":         `{"seed-bank":` + one + `}`,
		"wrapped map": `{"nodes":{"seed-bank":` + one + `}}`,
		"PHP list":    `{"nodes":{"3":` + one + `}}`,
		"lines":       one + "\n" + `{"name":"B","url":"https://b.test"}` + "\n",
		"phpMyAdmin":  `[{"type":"header","version":"5"},{"type":"database","name":"app"},{"type":"table","name":"ai_nodes","data":[` + one + `]}]`,
	} {
		t.Run(name, func(t *testing.T) {
			source, err := Read("", []byte(text), Options{})
			if err != nil {
				t.Fatal(err)
			}
			result := Normalize(source.Rows, false)
			if len(result.Nodes) == 0 || result.Nodes[0].Node.Slug != "seed-bank" || result.Nodes[0].Node.URL != "https://seeds.test" {
				t.Errorf("%s", asJSON(t, result))
			}
		})
	}
}

func TestSQLOddities(t *testing.T) {
	const columns = "(name, url, keywords) VALUES "
	for name, test := range map[string]struct{ sql, keywords string }{
		"a semicolon in a string":   {"INSERT INTO ai_nodes " + columns + `('a','https://a.test','x;y');`, "x;y"},
		"schema and double quotes":  {`INSERT INTO "public"."ai_nodes" ("name","url","keywords") VALUES ('a','https://a.test','["x"]'::jsonb);`, "x"},
		"backticks and database":    {"INSERT IGNORE INTO `app`.`ai_nodes` (`name`,`url`,`keywords`) VALUES ('a','https://a.test','[\\\"x\\\"]')", "x"},
		"replace":                   {"REPLACE INTO ai_nodes " + columns + `('a','https://a.test','x')`, "x"},
		"a charset":                 {"INSERT INTO `ai_nodes` " + columns + `('a','https://a.test',_utf8mb4'x')`, "x"},
		"hex":                       {"INSERT INTO `ai_nodes` " + columns + `('a','https://a.test',0x78)`, "x"},
		"X'':":                      {"INSERT INTO ai_nodes " + columns + `('a','https://a.test',X'78')`, "x"},
		"E'':":                      {"INSERT INTO ai_nodes " + columns + `('a','https://a.test',E'[\"\\u0078\"]')`, "x"},
		"dollars":                   {"INSERT INTO ai_nodes " + columns + `('a','https://a.test',$q$it's$q$)`, "it's"},
		"unistr":                    {"INSERT INTO ai_nodes " + columns + `('a','https://a.test',unistr('\u0078'))`, "x"},
		"cast":                      {"INSERT INTO ai_nodes " + columns + `('a','https://a.test',CAST('["x"]' AS JSON))`, "x"},
		"upsert":                    {"INSERT INTO ai_nodes " + columns + `('a','https://a.test','x') ON CONFLICT (name) DO UPDATE SET url = ';';`, "x"},
		"overriding":                {"INSERT INTO ai_nodes (name, url, keywords) OVERRIDING SYSTEM VALUE VALUES ('a','https://a.test','x');", "x"},
		"comments":                  {"/* a ' */ -- it's\nINSERT INTO ai_nodes " + columns + "('a', -- '\n'https://a.test' /* ' */,'x')", "x"},
		"MySQL's comment":           {"# it's `x`\nINSERT INTO ai_nodes " + columns + "('a','https://a.test','x')", "x"},
		"another table's rows":      {"INSERT INTO other VALUES ('INSERT INTO ai_nodes VALUES (1)');INSERT INTO ai_nodes " + columns + "('a','https://a.test','x')", "x"},
		"a function's body":         {"CREATE FUNCTION f() AS $$ INSERT INTO ai_nodes VALUES ('; $$;INSERT INTO ai_nodes " + columns + "('a','https://a.test','x')", "x"},
		"null":                      {"INSERT INTO ai_nodes " + columns + "('a','https://a.test',NULL)", ""},
		"trailing words are no end": {"SELECT 1; INSERT INTO ai_nodes " + columns + "('a','https://a.test','x') ON DUPLICATE KEY UPDATE name='b'; SELECT ';'", "x"},
	} {
		t.Run(name, func(t *testing.T) {
			source, err := Read("dump.sql", []byte(test.sql), Options{})
			if err != nil {
				t.Fatal(err)
			}
			result := Normalize(source.Rows, false)
			if len(result.Nodes) != 1 {
				t.Fatalf("%s", asJSON(t, result))
			}
			if got := strings.Join(result.Nodes[0].Node.Keywords, ","); got != test.keywords {
				t.Errorf("keywords %q, expected %q", got, test.keywords)
			}
		})
	}
}

func TestAPrefixedTableIsNamed(t *testing.T) {
	sql := "INSERT INTO `app_ai_nodes` (`name`,`url`) VALUES ('a','https://a.test');"
	_, err := Read("dump.sql", []byte(sql), Options{})
	if err == nil || !strings.Contains(err.Error(), "--table app_ai_nodes") {
		t.Errorf("%v", err)
	}
	source, err := Read("dump.sql", []byte(sql), Options{Table: "app_ai_nodes"})
	if err != nil || len(source.Rows) != 1 {
		t.Errorf("%v", err)
	}
}

func TestWhatCannotBeReadIsSaidClearly(t *testing.T) {
	for name, test := range map[string]struct{ file, text, expected string }{
		"php by name":         {"ai-engine-nodes.php", "return [];", "never executed"},
		"php by text":         {"", "<?php return ['nodes' => []];", "never executed"},
		"empty":               {"x.json", " \n", "empty"},
		"utf-16":              {"x.csv", "\xff\xfen\x00", "UTF-16"},
		"latin-1":             {"x.csv", "name,url\nGr\xf6\xdfe,https://a.test", "UTF-8"},
		"gzip":                {"x.sql.gz", "\x1f\x8b\x08", "compressed"},
		"sqlite file":         {"x", "SQLite format 3\x00", ".dump"},
		"pg custom":           {"x", "PGDMP\x01", "pg_dump"},
		"not a list":          {"x.json", `{"nodes":"x"}`, "expected"},
		"a number":            {"x.json", `7`, "expected"},
		"a field twice":       {"x.json", `[{"name":"a","url":"http://a.test"},{"name":"b","url":"http://b.test","url":"http://c.test"}]`, `row 1: "/url" is given twice`},
		"broken json":         {"x.json", "{\"nodes\":[\n{\"api_key\":\"hidden\",]}", "line 2 is not JSON"},
		"csv header":          {"x.csv", "a,b\n1,2", "name and url"},
		"csv twice":           {"x.csv", "name,name\n1,2", "twice"},
		"csv width":           {"x.csv", "name,url\n1", "line 2 has 1 cells"},
		"csv quote":           {"x.csv", "name,url\n\"1,2", "line 2 is not CSV"},
		"no rows":             {"x.sql", "SELECT 1;", "no rows of a table ai_nodes"},
		"no columns":          {"x.sql", "INSERT INTO ai_nodes VALUES (1);", "--complete-insert"},
		"open string":         {"x.sql", "SELECT 1;\nINSERT INTO ai_nodes (name) VALUES ('a);", "line 2: a string is not closed"},
		"open comment":        {"x.sql", "/* ", "comment is not closed"},
		"too few values":      {"x.sql", "INSERT INTO ai_nodes (name,url) VALUES ('a');", "1 values for 2 columns"},
		"too many values":     {"x.sql", "INSERT INTO ai_nodes (name) VALUES ('a','b');", "more values"},
		"insert select":       {"x.sql", "INSERT INTO ai_nodes (name) SELECT 1;", "SELECT"},
		"arithmetic":          {"x.sql", "INSERT INTO ai_nodes (name) VALUES (1+1);", "expected a comma"},
		"nested":              {"x.sql", "INSERT INTO ai_nodes (name) VALUES (" + strings.Repeat("f(", 50) + ");", "too deep"},
		"copy without end":    {"x.sql", "COPY ai_nodes (name) FROM stdin;\na\n", "no end"},
		"copy width":          {"x.sql", "COPY ai_nodes (name) FROM stdin;\na\tb\n\\.\n", "2 values for 1 columns"},
		"copy options":        {"x.sql", "COPY ai_nodes (name) FROM stdin WITH CSV;\na\n\\.\n", "not understood"},
		"a value too long":    {"x.sql", "INSERT INTO ai_nodes (name) VALUES ('" + strings.Repeat("a", MaxValue+1) + "');", "longer than"},
		"rows without end":    {"x.json", "[" + strings.Repeat("{},", MaxRows) + "{}]", "more than 10000 rows"},
		"columns without end": {"x.sql", "INSERT INTO ai_nodes (" + strings.Repeat("a,", MaxColumns) + "b) VALUES (1);", "more than 256 columns"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Read(test.file, []byte(test.text), Options{})
			if err == nil || !strings.Contains(err.Error(), test.expected) {
				t.Errorf("%v, expected %q", err, test.expected)
			}
			if err != nil && strings.Contains(err.Error(), "hidden") {
				t.Errorf("the error quotes a secret: %v", err)
			}
		})
	}
	if _, err := Read("x.sql", make([]byte, MaxSize+1), Options{}); err == nil || !strings.Contains(err.Error(), "64 MiB") {
		t.Errorf("too large: %v", err)
	}
}

func TestAnExpressionIsNoName(t *testing.T) {
	source, err := Read("x.sql", []byte("INSERT INTO ai_nodes (name,url,created_at,deleted_at) VALUES (concat('a','b'),'https://a.test',now(),NULL),('b','https://b.test',now(),now());"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	result := Normalize(source.Rows, true)
	if len(result.Nodes) != 0 || len(result.Deleted) != 1 || result.Invalid[0].Field != "name" {
		t.Errorf("%s", asJSON(t, result))
	}
}

// fuzzSeeds are the recorded dumps and the oddest of the texts above.
func fuzzSeeds(f *testing.F, extension string) {
	f.Helper()
	for _, name := range dumps {
		if strings.HasSuffix(name, extension) {
			f.Add(readFile(f, "testdata", name))
		}
	}
}

// checkRead holds whatever can be read to what the importer promises.
func checkRead(t *testing.T, format Format, data []byte) {
	source, err := Read("", data, Options{Format: format})
	if err != nil {
		return
	}
	for _, fix := range []bool{false, true} {
		result := Normalize(source.Rows, fix)
		slugs := make(map[string]bool)
		for _, d := range result.Nodes {
			if err := d.Node.Validate(); err != nil {
				t.Errorf("a row came through that is no node: %v", err)
			}
			if slugs[d.Node.Slug] {
				t.Errorf("two rows came through as %q", d.Node.Slug)
			}
			slugs[d.Node.Slug] = true
			if d.Node.Name != cleanText(d.Node.Name) {
				t.Errorf("name %q has characters that move the cursor", d.Node.Name)
			}
			if encoded, err := json.Marshal(d); err != nil || !json.Valid(encoded) {
				t.Errorf("not JSON: %v", err)
			}
		}
	}
}

func FuzzReadJSON(f *testing.F) {
	fuzzSeeds(f, ".json")
	f.Add([]byte(`{"nodes":{"a":{"url":"a.test","capabilities":{"0":"x","5":"y"},"collections":{"App\\X":{}},"metadata":"{\"topics\":[1]}","weight":"NaN"}}}`))
	f.Add([]byte(`[{"type":"header"},{"type":"table","data":[{"name":"-","slug":"local","url":"https://a.test?x=1","timeout":"5s","required":true,"dialect":"auto"}]}]`))
	f.Fuzz(func(t *testing.T, data []byte) { checkRead(t, FormatJSON, data) })
}

func FuzzReadCSV(f *testing.F) {
	fuzzSeeds(f, ".csv")
	f.Add([]byte("name;url;keywords\nA;a.test;\"x;y\"\n"))
	f.Fuzz(func(t *testing.T, data []byte) { checkRead(t, FormatCSV, data) })
}

func FuzzReadSQL(f *testing.F) {
	fuzzSeeds(f, ".sql")
	f.Add([]byte("INSERT INTO `ai_nodes` (`name`,`url`) VALUES (_utf8mb4'a\\'b',0x78),(replace('a\\n','\\n',char(10)),unistr('\\u00e9'));"))
	f.Add([]byte("COPY ai_nodes (name, url) FROM stdin;\na\\x41\\101\thttps://a.test\n\\.\n"))
	f.Add([]byte("CREATE TABLE ai_nodes (name text, url text, primary key (name)); INSERT INTO ai_nodes VALUES ($x$a$x$,E'\\u0041'::text);"))
	f.Fuzz(func(t *testing.T, data []byte) { checkRead(t, FormatSQL, data) })
}
