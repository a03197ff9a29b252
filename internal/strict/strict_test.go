package strict

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// TestNamesToTheLetter: a member of another case is another member, on every level that is read.
func TestNamesToTheLetter(t *testing.T) {
	type inner struct {
		K string `json:"k"`
	}
	var got struct {
		K     string          `json:"k,omitempty"`
		List  []string        `json:"list"`
		Raw   json.RawMessage `json:"raw"`
		Inner inner           `json:"inner"`
		Next  *int64          `json:"next"`
		None  string
	}
	require.NoError(t, Unmarshal([]byte(` {"K":"x","k":"\u0061","\u212a":"y","LIST":["x"],"list":["a"],"raw":{"a":1},"RAW":2,`+
		`"inner":{"K":"x"},"INNER":{"k":"y"},"next":7,"Next":8,"None":"x","none":"x","":"x"} `), &got))
	require.Equal(t, "a", got.K)
	require.Equal(t, []string{"a"}, got.List)
	require.JSONEq(t, `{"a":1}`, string(got.Raw))
	require.Equal(t, inner{}, got.Inner)
	require.EqualValues(t, 7, *got.Next)
	require.Empty(t, got.None)

	for _, bad := range []string{
		"{\"k\":\"\xff\"}", "{\"\xff\":1}", ``, `null`, `[]`, `"k"`, `{"k":1}`, `{"k":"a","k":"a"}`, `{"k":"a","\u006b":"b"}`, `{"k":"a"}}`, `{"k":"a"}]`, `{"k":"a"} {}`, `{"k":"\xff"}`,
		`{"inner":{"k":"a","k":"b"}}`, `{"inner":null}`, `{"inner":7}`, `{"list":"a"}`, `{"next":"7"}`, `{"x":1,"x":1}`,
	} {
		require.ErrorIs(t, Unmarshal([]byte(bad), &got), ErrMalformed, bad)
	}
}

// TestErrorsShowNoValue: a value may be a secret.
func TestErrorsShowNoValue(t *testing.T) {
	var to struct {
		K int `json:"k"`
	}
	err := Unmarshal([]byte(`{"k":"hush"}`), &to)
	require.ErrorIs(t, err, ErrMalformed)
	require.NotContains(t, err.Error(), "hush")
}

// FuzzObject holds what an Object says of its members against package json.
func FuzzObject(f *testing.F) {
	for _, seed := range []string{
		`{"a":"plain","b":"\u0061\n","c":1,"d":-0.5e3,"e":[],"f":null,"g":true}`, `{"a": "x" , "b" : 12 }`, ` { "a\n:," :{"a":[1,{"b":"}"}]},"":true , "c":-1}`, `{}`, `{"a":1,"\u0061":2}`, `[{}]`, `{"a":"}"} `, `{"a":"\ud800","b":1e999,"c":"\"\\"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := Parse(b)
		whole := map[string]json.RawMessage{}
		if json.Unmarshal(b, &whole) != nil || whole == nil || !utf8.Valid(b) {
			require.Error(t, err)
			return
		}
		names := strings.Count(string(b), ":") // at most
		if err != nil {
			require.Less(t, len(whole), names, "one name stands there twice")
			return
		}
		require.Len(t, o, len(whole))
		for name, raw := range whole {
			require.Equal(t, string(raw), string(o[name]))
		}
		for name, raw := range o {
			var text *string
			want := json.Unmarshal(raw, &text) == nil && text != nil
			got, err := o.Text(name)
			require.Equal(t, want, err == nil, string(raw))
			if want {
				require.Equal(t, *text, got)
			}
			var number *float64
			want = json.Unmarshal(raw, &number) == nil && number != nil
			n, ok, err := o.Number(name)
			require.Equal(t, want, ok && err == nil, string(raw))
			if want {
				require.Equal(t, *number, n)
			}
		}
	})
}

// TestDecodeTextIsStrict: bytes have one text.
func TestDecodeTextIsStrict(t *testing.T) {
	b, err := DecodeText("_v8B")
	require.NoError(t, err)
	require.Equal(t, []byte{0xfe, 0xff, 1}, b)
	for _, bad := range []string{"_v8B\n", "_v\r8B", "_v8B=", "/v8B", "AB", "A", "_v 8B"} {
		_, err := DecodeText(bad)
		require.Error(t, err, "%q", bad)
		_, err = Object{"x": []byte(`"` + bad + `"`)}.Bytes("x")
		require.ErrorIs(t, err, ErrMalformed, "%q", bad)
	}
}
