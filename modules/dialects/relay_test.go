package dialects

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"testing"

	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

// TestRelayOfRecordedExchanges passes what was recorded on to a node that
// answers as recorded, and expects the body without its envelope.
func TestRelayOfRecordedExchanges(t *testing.T) {
	for file, kind := range map[string]string{"jun_chat": fleet.RelayChat, "jun_tools_execute": fleet.RelayTools, "dec_actions": fleet.RelayActions} {
		for _, e := range recorded(t, file) {
			t.Run(file+" "+e.Name, func(t *testing.T) {
				laravel := provisioned(t, new(Laravel), "laravel")
				asked := make(chan string, 1)
				node := connect(t, func(w http.ResponseWriter, r *http.Request) {
					body, _ := io.ReadAll(r.Body)
					asked <- r.Method + " " + r.URL.Path + " " + string(body)
					replay(e)(w, r)
				})
				answer, err := laravel.Relay(t.Context(), node, &fleet.RelayRequest{Kind: kind, Body: e.Request.Body})
				if got, expected := <-asked, e.Request.Method+" "+e.Request.Path+" "+string(e.Request.Body); got != expected {
					t.Errorf("the node was asked %s, expected %s", got, expected)
				}
				if !node.sent[0].Once || node.sent[0].TokenHeader != fleet.TokenBoth {
					t.Errorf("sent as %+v", node.sent[0])
				}
				if e.Response.Status > 299 {
					var status *fleet.StatusError
					if !errors.As(err, &status) || status.Status != e.Response.Status {
						t.Errorf("error is %v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				var got, whole any
				if err := errors.Join(json.Unmarshal(answer.Body, &got), json.Unmarshal(e.Response.Body, &whole)); err != nil {
					t.Fatal(err)
				}
				if data, enveloped := whole.(map[string]any)["data"]; enveloped {
					whole = data
				}
				if !reflect.DeepEqual(got, whole) {
					t.Errorf("answered %v, expected %v", got, whole)
				}
			})
		}
	}
}

func TestAnActionOnANodeThatHasTools(t *testing.T) {
	for answer, expected := range map[string]string{
		`{"success":true,"message":"","data":{"action_type":"sync","result":{"success":true,"data":{"n":1}}},"error":null,"meta":{"schema":"ai-engine.v1"}}`: `{"success":true,"action":"sync","result":{"success":true,"data":{"n":1}}}`,
		`{"success":true,"message":"","data":{"action_type":"sync","result":{"success":false}},"error":null,"meta":{"schema":"ai-engine.v1"}}`:               `{"success":false,"action":"sync","result":{"success":false}}`,
		`{"success":true,"message":"","data":[],"error":null,"meta":{"schema":"ai-engine.v1"}}`:                                                              `{"success":false,"action":null,"result":null}`,
	} {
		auto := provisioned(t, new(Auto), "auto")
		asked := ""
		node := connect(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				says(200, `{"success":true,"message":"","data":{"status":"healthy","ready":true},"error":null,"meta":{"schema":"ai-engine.v1"}}`)(w, r)
				return
			}
			body, _ := io.ReadAll(r.Body)
			asked = r.URL.Path + " " + string(body)
			says(200, answer)(w, r)
		})
		node.node = fleet.NewProbedNode("shop", &fleet.Report{Dialect: laravelEnveloped})
		got, err := auto.Relay(t.Context(), node, &fleet.RelayRequest{Kind: fleet.RelayActions, Body: []byte(`{"action":"sync","params":{"model":"Plant"}}`)})
		if err != nil {
			t.Fatal(err)
		}
		if string(got.Body) != expected {
			t.Errorf("answered %s, expected %s", got.Body, expected)
		}
		if expected := `/api/ai-engine/tools/execute {"action_type":"sync","data":{"model":"Plant"},"session_id":null,"user_id":null}`; asked != expected {
			t.Errorf("asked %s, expected %s", asked, expected)
		}
	}
}

func TestRelayToAnotherGateway(t *testing.T) {
	gateway := provisioned(t, new(Gateway), "gateway {\nprefix /federation\n}")
	node := connect(t, func(w http.ResponseWriter, r *http.Request) {
		says(200, `{"path":"`+r.URL.Path+`"}`)(w, r)
	})
	answer, err := gateway.Relay(t.Context(), node, &fleet.RelayRequest{Kind: fleet.RelayChat, Body: []byte("{}")})
	if err != nil || string(answer.Body) != `{"path":"/federation/api/ai-engine/chat"}` {
		t.Errorf("answered %+v: %v", answer, err)
	}
	for _, body := range []string{`"text"`, `{"a":}`, `{"meta":{"schema":"ai-engine.v1"},"data":5}`} {
		node := connect(t, says(200, body))
		if _, err := gateway.Relay(t.Context(), node, &fleet.RelayRequest{Kind: fleet.RelayChat, Body: []byte("{}")}); !isPayload(err) {
			t.Errorf("%s: %v", body, err)
		}
	}
}
