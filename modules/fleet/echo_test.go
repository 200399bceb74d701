package fleet

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestANodeThatRepeatsOurCredentialIsNotQuoted(t *testing.T) {
	node := &Node{ID: 7, Slug: "shop", Name: "shop"}
	for name, lines := range map[string]string{
		"bearer": "credentials bearer Kettle-Secret-1", "basic": "credentials basic user Kettle-Secret-1",
		"header": "credentials header X-Private Kettle-Secret-1", "shared secret": "credentials shared_secret Kettle-Secret-1", "jwt": "",
	} {
		f := run(t, "key main hs256 a-secret-of-more-than-thirty-two-bytes\nnode shop http://127.0.0.1:1 {\n"+lines+"\n}")
		c := f.node("shop").credential
		header := http.Header{}
		if err := c.apply(header, TokenBoth, node); err != nil {
			t.Fatal(err)
		}
		for _, values := range header {
			echo := values[0]
			r := &Report{
				Reason: "the node's status is " + strings.ToLower(echo), Name: "Shop", Version: echo, Description: "says " + echo,
				Keywords: []string{"tea", echo}, Collections: []Collection{{Name: echo, Class: "App\\Tea"}},
			}
			r.withoutEcho(c)
			if got := fmt.Sprint(*r); got != "{  REDACTED Shop REDACTED REDACTED [] [] [] [tea REDACTED] [{REDACTED App\\Tea}]}" {
				t.Errorf("%s: the report is %s", name, got)
			}
		}
	}
	short := &Report{Version: "1.2.3", Reason: "1.2"}
	short.withoutEcho(tokenCredential{token: []string{"1.2"}})
	if short.Version != "1.2.3" {
		t.Errorf("a short secret made the version %s", short.Version)
	}
}
