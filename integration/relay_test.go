package integration

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestWhatIsPassedOn(t *testing.T) {
	var came *http.Request
	var body string
	answer := `{"success":true,"message":"m","data":{"response":"hello","metadata":{}},"error":null,"meta":{"schema":"ai-engine.v1"}}`
	status := 200
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		if r.Method != http.MethodPost { // a check, which comes when it likes
			_, _ = io.WriteString(w, `{"status":"pass"}`)
			return
		}
		came, body = r, string(text)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	defer shop.Close()
	g := registryGateway(t, fmt.Sprintf(`node shop %[1]s {
		dialect laravel
		collections plants
	}
	node away http://127.0.0.1:1 {
		dialect laravel
		collections orders
		admin_state maintenance
	}
	node reader %[1]s {
		dialect laravel
		capabilities search
	}`, shop.URL), openNodes)
	access, _ := g.enrolled("App", node(t, answers(`{"status":"pass"}`)))
	headers := []string{"X-Node-Token", access, "X-User-Token", "user", "X-Tenant-Id", "9", "Cookie", "a=b", "Accept-Language", "ar"}
	chat := func(body string) reply { return g.call("POST", "/api/ai-engine/chat", body, headers...) }

	r := g.expects(200, chat(`{"message":"list","session_id":"s","options":{"collections":["App\\Models\\Plant"]}}`))
	if r.text("response") != "hello" || r.text("node") != "shop" || r.text("success") != "true" {
		t.Errorf("answered %s", r.raw)
	}
	if came.URL.Path != "/api/ai-engine/chat" || came.Header.Get("X-User-Token") != "user" || came.Header.Get("Accept-Language") != "ar" ||
		came.Header.Get("X-Forwarded-From-Node") != "test" ||
		came.Header.Get("X-Forwarded-For") != "127.0.0.1" || came.Header.Get("X-Forwarded-Proto") != "http" || came.Header.Get("Federation-Via") == "" {
		t.Errorf("the node got %s %v", came.URL, came.Header)
	}
	if came.Header.Get("X-Tenant-Id") != "" || came.Header.Get("Cookie") != "" || strings.Contains(fmt.Sprint(came.Header), access) {
		t.Errorf("what is the caller's went along: %v", came.Header)
	}
	g.expects(200, chat(`{"message":"list","session_id":"s","target_node":"shop"}`))
	if strings.Contains(body, "target_node") {
		t.Errorf("the node was told %s", body)
	}
	for request, expected := range map[string]int{
		`{"message":"list","session_id":"s"}`:                                          404, // nothing is guessed
		`{"message":"list","session_id":"s","options":{"model":"plants"}}`:             404, // the language model
		`{"message":"list","session_id":"s","target_node":"nobody"}`:                   404,
		`{"message":"list","session_id":"s","options":{"target_collection":"Trains"}}`: 404,
		`{"message":"list","session_id":"s","options":{"target_collection":"Order"}}`:  503,
		`{"message":"list"}`: 422,
		`{"message":"list","session_id":"s","target_node":5}`: 422,
		``: 422,
	} {
		if r := chat(request); r.status != expected || r.text("success") != "false" {
			t.Errorf("%s: status %d, expected %d: %s", request, r.status, expected, r.raw)
		}
	}
	for path, body := range map[string]string{"actions": `{"action":"sync","node":"reader"}`, "tools/execute": `{"action_type":"sync","data":{"a":1},"target_node":"reader"}`} {
		if r := g.call("POST", "/api/ai-engine/"+path, body, headers...); r.status != 503 || !strings.Contains(r.raw, "capability actions") {
			t.Errorf("%s to a node that has no actions: %d %s", path, r.status, r.raw)
		}
	}
	if r := g.call("POST", "/api/ai-engine/chat", `{"message":"list","session_id":"s","target_node":"shop"}`, "X-Node-Token", access, "Federation-Via", came.Header.Get("Federation-Via")); r.status != 508 {
		t.Errorf("what came round was answered %d", r.status)
	}
	status, answer = 500, `{"success":false,"message":"boom","data":{"trace":"#0 /var/www/secret.php"},"error":{"message":"boom"},"meta":{"schema":"ai-engine.v1"}}`
	if r := chat(`{"message":"list","session_id":"s","target_node":"shop"}`); r.status != 502 || strings.Contains(r.raw, "secret.php") || strings.Contains(r.raw, "boom") {
		t.Errorf("a broken node: %d %s", r.status, r.raw)
	}
	status, answer = 422, `{"success":false,"message":"m","data":{"errors":{"session_id":["too long"]}},"error":{"message":"m"},"meta":{"schema":"ai-engine.v1"}}`
	if r := chat(`{"message":"list","session_id":"s","target_node":"shop"}`); r.status != 422 || r.text("errors", "session_id") != "[too long]" {
		t.Errorf("a node that refuses: %d %s", r.status, r.raw)
	}
}
