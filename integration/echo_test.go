package integration

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// TestWhatANodeRepeatsIsNotPassedOn: a node that says again what the gateway sent
// it as a secret has nobody told of it, in no answer.
func TestWhatANodeRepeatsIsNotPassedOn(t *testing.T) {
	const bearer, extra = "Parrot/Bearer-abcdef-123456", "Parrot-Header-abcdef-123456"
	status := 200
	parrot := node(t, func(w http.ResponseWriter, r *http.Request) {
		said := r.Header.Get("X-Node-Token") + " and " + r.Header.Get("X-Extra")
		body, _ := json.Marshal(map[string]any{
			"status": "healthy", "version": said, "description": said, "capabilities": []string{"search", "actions"}, "domains": []string{said},
			"keywords": []string{r.Header.Get("X-Extra")}, "collections": []any{map[string]string{"name": said, "class": said}},
			"results": []any{map[string]any{"id": "1", "title": said, "content": said, "score": 1, "metadata": map[string]string{said: said}}},
			"count":   1, "response": said, "message": said, "errors": map[string][]string{said: {said}},
		})
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodPost {
			w.WriteHeader(status)
		}
		_, _ = w.Write([]byte(strings.ReplaceAll(string(body), "/", `\/`))) // as PHP writes it
	})
	g := registryGateway(t, "node parrot "+parrot+" {\ndialect laravel\ncredentials bearer "+bearer+"\nheader_up X-Extra "+extra+"\n}", "federation")
	headers := []string{"Authorization", "Bearer " + g.clientKey("ops", "nodes:read", "nodes:write", "search", "actions")}
	told := func(r reply) {
		t.Helper()
		if strings.Contains(r.raw, "Parrot") || !strings.Contains(r.raw, "REDACTED") {
			t.Errorf("answered %d %s", r.status, r.raw)
		}
	}
	told(g.expects(200, g.call("POST", "/v1/nodes/parrot/ping", "", headers...)))
	told(g.expects(200, g.call("GET", "/v1/nodes/parrot", "", headers...)))
	told(g.expects(200, g.call("GET", "/api/ai-engine/manifest", "", headers...)))
	told(g.expects(200, g.call("POST", "/v1/search", `{"query":"x"}`, headers...)))
	told(g.expects(200, g.call("POST", "/api/ai-engine/search", `{"query":"x"}`, headers...)))
	told(g.expects(200, g.call("POST", "/api/ai-engine/chat", `{"message":"m","session_id":"s","target_node":"parrot"}`, headers...)))
	status = 422
	told(g.expects(422, g.call("POST", "/api/ai-engine/chat", `{"message":"m","session_id":"s","target_node":"parrot"}`, headers...)))
}
