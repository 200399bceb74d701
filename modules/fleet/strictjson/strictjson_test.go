package strictjson

import (
	"encoding/json"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

type inner struct {
	Wait  caddy.Duration `json:"wait"`
	Count int            `json:"count"`
}

type outer struct {
	inner
	One  *inner          `json:"one"`
	Many []inner         `json:"many"`
	Raw  json.RawMessage `json:"raw"`
	Own  own             `json:"own"`
}

// own reads itself.
type own struct{}

func (*own) UnmarshalJSON(data []byte) error { return json.Unmarshal(data, new(int)) }

func TestErrorsNameTheMember(t *testing.T) {
	for text, says := range map[string]string{
		`{"wait":"5s","one":{"wait":1},"many":[{}],"raw":{"x":1},"own":1}`: "",
		`{"wait":null,"one":null}`:               "",
		`{"wait":"x"}`:                           `wait: "x" is not a duration, expected one as in "5s", or nanoseconds`,
		`{"one":{"wait":{}}}`:                    `one.wait: {} is not a duration, expected one as in "5s", or nanoseconds`,
		`{"many":[{},{"Wait":"x"}]}`:             `many[1].wait: "x" is not a duration, expected one as in "5s", or nanoseconds`,
		`{"many":[{},7]}`:                        "many[1]: json: cannot unmarshal number into Go value of type strictjson.inner",
		`{"one":{"count":"x"}}`:                  "one.count: json: cannot unmarshal string into Go value of type int",
		`{"own":"x"}`:                            "own: json: cannot unmarshal string into Go value of type int",
		`{"one":{"wiat":"5s"}}`:                  `json: unknown field "wiat"`,
		`[]`:                                     "json: cannot unmarshal array into Go value of type strictjson.outer",
		`{"one":{"wait":"5s"},"many":[{"wait":7`: "unexpected EOF",
	} {
		var got outer
		err := Unmarshal([]byte(text), &got)
		if err == nil && says != "" || err != nil && err.Error() != says {
			t.Errorf("%s: the error is %v, expected %q", text, err, says)
		}
	}
}
