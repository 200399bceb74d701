package integration

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// openapi is the document of the native face, with its schemas compiled.
var openapi = sync.OnceValue(func() (d struct {
	Paths    map[string]map[string]json.RawMessage
	compiler *jsonschema.Compiler
}) {
	text, err := os.ReadFile("../modules/nodeapi/openapi.json")
	if err != nil {
		panic(err)
	}
	if err := json.Unmarshal(text, &d); err != nil {
		panic(err)
	}
	whole, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		panic(err)
	}
	d.compiler = jsonschema.NewCompiler()
	if err := d.compiler.AddResource("openapi.json", whole); err != nil {
		panic(err)
	}
	return d
})

// template finds the documented path of a request.
func template(path string) string {
	path, _, _ = strings.Cut(path, "?")
	if rest, ok := strings.CutPrefix(path, "/v1/nodes/"); ok {
		_, operation, more := strings.Cut(rest, "/")
		if path = "/v1/nodes/{slug}"; more {
			path += "/" + operation
		}
	}
	return path
}

// described fails unless the document describes an answer of the native face.
func described(t testing.TB, method, path string, r reply) {
	t.Helper()
	if !strings.HasPrefix(path, "/v1/") && !strings.HasPrefix(path, "/.well-known/") {
		return
	}
	operations, known := openapi().Paths[template(path)]
	operation, there := operations[strings.ToLower(method)]
	if !known || !there {
		switch r.status {
		case http.StatusMethodNotAllowed, http.StatusNotFound, http.StatusUnauthorized:
		default:
			t.Errorf("%s %s is not in the document and answers %d", method, path, r.status)
		}
		return
	}
	var parsed struct {
		Responses map[string]struct {
			Content map[string]json.RawMessage
		}
	}
	if err := json.Unmarshal(operation, &parsed); err != nil {
		t.Fatal(err)
	}
	status := strconv.Itoa(r.status)
	response, there := parsed.Responses[status]
	if !there {
		if status, response = "default", parsed.Responses["default"]; r.status < 400 {
			t.Errorf("%s %s answers %d, which the document does not say", method, path, r.status)
			return
		}
	}
	if len(response.Content) == 0 || r.raw == "" {
		return
	}
	media := r.header.Get("Content-Type")
	if _, there := response.Content[media]; !there {
		t.Errorf("%s %s answers %d as %s", method, path, r.status, media)
		return
	}
	escape := strings.NewReplacer("~", "~0", "/", "~1").Replace
	pointer := "/paths/" + escape(template(path)) + "/" + strings.ToLower(method) + "/responses/" + status + "/content/" + escape(media) + "/schema"
	schema, err := openapi().compiler.Compile("openapi.json#" + pointer)
	if err != nil {
		t.Fatalf("%s: %v", pointer, err)
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(r.raw))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(value); err != nil {
		t.Errorf("%s %s answers otherwise than the document says: %v\n%s", method, path, err, r.raw)
	}
}

// TestTheDocumentIsServed: it is what the tests compare with, and whole.
func TestTheDocumentIsServed(t *testing.T) {
	g := registryGateway(t, "", "federation_nodes")
	if r := g.expects(200, g.call("GET", "/v1/openapi.json", "")); r.text("openapi") != "3.1.0" {
		t.Errorf("the document is %.100s", r.raw)
	}
	for path, operations := range openapi().Paths {
		for method := range operations {
			if method == "parameters" || strings.HasPrefix(path, "/v1/search") {
				continue
			}
			r := g.call(strings.ToUpper(method), strings.ReplaceAll(path, "{slug}", "nobody"), "{}")
			if r.status == http.StatusMethodNotAllowed || r.raw == "" {
				t.Errorf("%s %s is in the document and is not answered: %d", method, path, r.status)
			}
		}
	}
}

// TestSearchesAreDescribed: a whole answer, a partial one, and a refusal.
func TestSearchesAreDescribed(t *testing.T) {
	g := serve(t, "node good "+node(t, answers(hits("1", "2")))+"\nnode bad "+node(t, http.NotFound), "server_timing")
	for _, body := range []string{`{"query":"x"}`, `{"query":"x","nodes":["good"]}`, `{"query":"x","nodes":["bad"]}`, `{"qery":"x"}`, `{}`} {
		g.call("POST", "/v1/search", body)
	}
	g.call("GET", "/v1/search?q=x&limit=1", "")
}
