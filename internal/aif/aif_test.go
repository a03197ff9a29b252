package aif

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The example of RFC 9431, 2.3, in its three encodings.
const (
	exampleJSON = `[["topic1",["pub","sub"]],["topic2/#",["pub"]],["+/topic3",["sub"]]]`
	exampleText = "W1sidG9waWMxIixbInB1YiIsInN1YiJdXSxbInRvcGljMi8jIixbInB1YiJdXSxbIisvdG9waWMzIixbInN1YiJdXV0"
	exampleCBOR = "838266746f706963318263707562637375628268746f706963322f23816370756282682b2f746f706963338163737562"
)

var example = Scope{
	{Filter: "topic1", Publish: true, Subscribe: true},
	{Filter: "topic2/#", Publish: true},
	{Filter: "+/topic3", Subscribe: true},
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

func TestExampleOfTheRFC(t *testing.T) {
	text, err := example.Encode()
	require.NoError(t, err)
	require.Equal(t, exampleText, text)
	got, err := Decode(exampleText)
	require.NoError(t, err)
	require.Equal(t, example, got)

	b, err := json.Marshal(example)
	require.NoError(t, err)
	require.Equal(t, exampleJSON, string(b))
	require.Len(t, b, 68)
	var fromJSON Scope
	require.NoError(t, json.Unmarshal([]byte(" [ [\"topic1\" , [\"pub\",\"sub\"]],[\"topic2/#\",[\"pub\"]],[\"\\u002b/topic3\",[\"sub\"]]]\n"), &fromJSON))
	require.Equal(t, example, fromJSON)

	c, err := example.EncodeCBOR()
	require.NoError(t, err)
	require.Equal(t, exampleCBOR, hex.EncodeToString(c))
	got, err = DecodeCBOR(c)
	require.NoError(t, err)
	require.Equal(t, example, got)
}

// TestS1ClaimOfCWT: a byte string around the array, or the array.
func TestS1ClaimOfCWT(t *testing.T) {
	for _, claim := range []string{"5830" + exampleCBOR, exampleCBOR, "9f" + exampleCBOR[2:] + "ff"} {
		got, err := DecodeClaim(unhex(t, claim))
		require.NoError(t, err)
		require.Equal(t, example, got)
	}
	for _, claim := range []string{"", "60", "f6", "a0", "41f6", "4100", "5830", "4180ff", "8000", "c080"} {
		_, err := DecodeClaim(unhex(t, claim))
		require.ErrorIs(t, err, ErrScope, claim)
	}
}

// TestS3EmptyScope: an empty array allows to connect, and is not null.
func TestS3EmptyScope(t *testing.T) {
	for _, s := range []Scope{nil, {}} {
		b, err := s.MarshalJSON()
		require.NoError(t, err)
		require.Equal(t, "[]", string(b))
		c, err := s.EncodeCBOR()
		require.NoError(t, err)
		require.Equal(t, []byte{0x80}, c)
		require.False(t, s.AllowsPublish("t"))
		require.False(t, s.AllowsSubscribe("t"))
	}
	got, err := Decode("W10")
	require.NoError(t, err)
	require.Empty(t, got)
	got, err = DecodeCBOR([]byte{0x80})
	require.NoError(t, err)
	require.Empty(t, got)
}

// TestS3NotUnderstood: one fault anywhere refuses the whole scope, and leaves what was there.
func TestS3NotUnderstood(t *testing.T) {
	for name, text := range map[string]string{
		"null":                 `null`,
		"object":               `{}`,
		"string":               `"topic1"`,
		"entry is null":        `[null]`,
		"entry is a string":    `["topic1"]`,
		"no permissions":       `[["topic1"]]`,
		"empty permissions":    `[["topic1",[]]]`,
		"null permissions":     `[["topic1",null]]`,
		"permission is null":   `[["topic1",[null]]]`,
		"permission is text":   `[["topic1","pub"]]`,
		"permission is number": `[["topic1",[1]]]`,
		"unknown permission":   `[["topic1",["pub","read"]]]`,
		"upper case":           `[["topic1",["PUB"]]]`,
		"three members":        `[["topic1",["pub"],["sub"]]]`,
		"filter is null":       `[[null,["pub"]]]`,
		"filter is a number":   `[[1,["pub"]]]`,
		"empty filter":         `[["",["pub"]]]`,
		"wildcard in a level":  `[["a/b#",["pub"]]]`,
		"more behind #":        `[["a/#/b",["pub"]]]`,
		"U+0000":               `[["a\u0000",["pub"]]]`,
		"shared subscription":  `[["$share/g/a",["sub"]]]`,
		"not UTF-8":            "[[\"a\xff\",[\"pub\"]]]",
		"lone surrogate":       `[["a\ud800",["pub"]]]`,
		"lone low surrogate":   `[["a\uDC00b",["pub"]]]`,
		"two high surrogates":  `[["a\ud83d\ud83d\ude00",["pub"]]]`,
		"trailing":             `[["a",["pub"]]]x`,
		"second fault":         `[["a",["pub"]],["b",["p"]]]`,
		"too many":             "[" + strings.Repeat(`["a",["pub"]],`, MaxEntries) + `["a",["pub"]]]`,
		"too long":             `[["` + strings.Repeat("a", MaxSize) + `",["pub"]]]`,
	} {
		kept := Scope{example[0]}
		require.ErrorIs(t, kept.UnmarshalJSON([]byte(text)), ErrScope, name)
		require.Equal(t, Scope{example[0]}, kept, name)
	}
	for name, text := range map[string]string{
		"padding": "W10=", "line break": "W1\n0", "other alphabet": "W+0", "spare bits": "W11", "JSON": "[]",
		"too long": strings.Repeat("A", MaxSize*4/3+8),
	} {
		_, err := Decode(text)
		require.ErrorIs(t, err, ErrScope, name)
	}
	for name, b := range map[string]string{
		"empty":                     "",
		"null":                      "f6",
		"undefined":                 "f7",
		"map":                       "a0",
		"entry is text":             "8161" + "61",
		"no permissions":            "81816161",
		"empty permissions":         "8182616180",
		"null permissions":          "81826161f6",
		"permission is a number":    "8182616181" + "01",
		"permission is null":        "8182616181" + "f6",
		"permission is bytes":       "8182616181" + "43707562",
		"unknown permission":        "8182616181" + "6161",
		"three members":             "8183616181637075628163737562",
		"filter is bytes":           "818241618163707562",
		"filter is null":            "8182f68163707562",
		"empty filter":              "8182608163707562",
		"filter is not UTF-8":       "818261ff8163707562",
		"shared subscription":       "81826a2473686172652f672f618163737562",
		"tag":                       "c181826161816370" + "7562",
		"trailing":                  "818261618163707562" + "00",
		"length beyond the end":     "9b7fffffffffffffff",
		"array nested deeper":       "8182616181" + "8163707562",
		"too many":                  "19" + "0500",
		"text longer than its data": "81827bffffffffffffffff",
	} {
		_, err := DecodeCBOR(unhex(t, b))
		require.ErrorIs(t, err, ErrScope, name)
	}
	many, err := encodeMode.Marshal(make([]entryCBOR, MaxEntries+1))
	require.NoError(t, err)
	_, err = DecodeCBOR(many)
	require.ErrorIs(t, err, ErrScope)
	_, err = DecodeCBOR(make([]byte, MaxSize+1))
	require.ErrorIs(t, err, ErrScope)
}

func TestEncodersRefuseWhatDecodersDo(t *testing.T) {
	for name, s := range map[string]Scope{
		"no permission": {{Filter: "a"}},
		"no filter":     {{Publish: true}},
		"not UTF-8":     {{Filter: "\xff", Publish: true}},
		"share":         {{Filter: "$share/g/a", Subscribe: true}},
		"too many":      make(Scope, MaxEntries+1),
		"too long":      {{Filter: strings.Repeat("a", MaxSize), Publish: true}},
	} {
		_, err := s.Encode()
		require.ErrorIs(t, err, ErrScope, name)
		_, err = s.EncodeCBOR()
		require.ErrorIs(t, err, ErrScope, name)
	}
}

// TestTextThatJSONWouldChange keeps every character that a filter may have.
func TestTextThatJSONWouldChange(t *testing.T) {
	for _, filter := range []string{"<a>&b", "\u2028\u2029", "a\ufffd", "\U0001F600/+", `a\ud800`, `\\u`, "$SYS/#", "/"} {
		s := Scope{{Filter: filter, Subscribe: true}}
		text, err := s.Encode()
		require.NoError(t, err)
		got, err := Decode(text)
		require.NoError(t, err)
		require.Equal(t, s, got)
	}
	var s Scope
	require.NoError(t, json.Unmarshal([]byte(`[["\ud83d\uDE00\\ud800",["sub","sub"]]]`), &s))
	require.Equal(t, Scope{{Filter: "\U0001F600\\ud800", Subscribe: true}}, s)
}

// TestS4AndS5 is which names and filters a scope covers. What a filter matches and covers is package topic's;
// here it is that the permissions are kept apart, and that filters do not add up.
func TestS4AndS5(t *testing.T) {
	s := Scope{
		{Filter: "out/#", Publish: true},
		{Filter: "in/+", Subscribe: true},
		{Filter: "half/a", Subscribe: true},
		{Filter: "half/b", Subscribe: true},
		{Filter: "#", Publish: true},
	}
	for name, want := range map[string]bool{
		"out/a": true, "out": true, "in/a": true, "$SYS/a": false, "": false, "out/#": false, "a/+": false,
	} {
		require.Equal(t, want, s.AllowsPublish(name), name)
	}
	require.False(t, s[:4].AllowsPublish("in/a"))
	for filter, want := range map[string]bool{
		"in/a": true, "in/+": true, "$share/g/in/+": true, "in/#": false, "in/a/b": false, "out/a": false, "half/a": true,
		"half/+": false, "#": false, "$share/in/+": false,
	} {
		require.Equal(t, want, s.AllowsSubscribe(filter), filter)
	}
}

func ExampleScope() {
	s := Scope{{Filter: "site/7/#", Publish: true}}
	text, _ := s.Encode()
	fmt.Println(text)
	back, _ := Decode(text)
	fmt.Println(back.AllowsPublish("site/7/temperature"), back.AllowsSubscribe("site/7/#"))
	// Output:
	// W1sic2l0ZS83LyMiLFsicHViIl1dXQ
	// true false
}

// FuzzJSON: what decodes encodes, and decodes to the same again.
func FuzzJSON(f *testing.F) {
	f.Add([]byte(exampleJSON))
	f.Add([]byte(`[["\ud83d\ude00",["sub"]]]`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s, again Scope
		if err := s.UnmarshalJSON(b); err != nil {
			require.ErrorIs(t, err, ErrScope)
			return
		}
		text, err := s.MarshalJSON()
		if len(text) == 0 { // escapes may make it longer than it may be
			require.ErrorIs(t, err, ErrScope)
			return
		}
		require.NoError(t, again.UnmarshalJSON(text))
		require.Equal(t, s, again)
		c, err := s.EncodeCBOR()
		require.NoError(t, err)
		again, err = DecodeCBOR(c)
		require.NoError(t, err)
		require.Equal(t, s, again)
	})
}

// FuzzText: a scope's text has one form, for one JSON.
func FuzzText(f *testing.F) {
	f.Add(exampleText)
	f.Add("W10")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Decode(text)
		if err != nil {
			require.ErrorIs(t, err, ErrScope)
			return
		}
		require.NoError(t, s.Validate())
	})
}

// FuzzCBOR: what decodes encodes, and decodes to the same again.
func FuzzCBOR(f *testing.F) {
	f.Add(unhex(f, exampleCBOR))
	f.Add(unhex(f, "5830"+exampleCBOR))
	f.Add([]byte{0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeClaim(b)
		if err != nil {
			require.ErrorIs(t, err, ErrScope)
			return
		}
		c, err := s.EncodeCBOR()
		require.NoError(t, err)
		again, err := DecodeCBOR(c)
		require.NoError(t, err)
		require.Equal(t, s, again)
	})
}

// TestHalvesOfPairsInEscapes: package json would make one character of all of them.
func TestHalvesOfPairsInEscapes(t *testing.T) {
	for escape, ok := range map[string]bool{
		`\ud83d\ude00`: true, `\uD83D\uDE00`: true, `\ud939\udc99`: true, `\ud800\udfff`: true, `\ue000`: true, `\u0041`: true,
		`\ud800`: false, `\ud900`: false, `\udc00`: false, `\udfff`: false, `\ud800\u0041`: false, `\ud800\ue000`: false, `\ud800\ud800`: false,
		`\ud800x`: false, `\ud800\n`: false,
	} {
		var s Scope
		err := s.UnmarshalJSON([]byte(`[["a` + escape + `",["pub"]]]`))
		if ok {
			require.NoError(t, err, escape)
		} else {
			require.ErrorIs(t, err, ErrScope, escape)
		}
	}
}
