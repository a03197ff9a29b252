package key

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"
)

// testKey is a key whose secret counts up from first.
func testKey(t testing.TB, filter string, first byte) Key {
	t.Helper()
	secret := make([]byte, SecretSize)
	for i := range secret {
		secret[i] = first + byte(i)
	}
	k, err := New(filter, secret)
	require.NoError(t, err)
	return k
}

func TestNewRefuses(t *testing.T) {
	good := testKey(t, "a", 1).secret()[:]
	for name, c := range map[string]struct {
		filter string
		secret []byte
	}{
		"nil secret":   {"a", nil},
		"short secret": {"a", good[:31]},
		"long secret":  {"a", append(bytes.Clone(good), 1)},
		"zero secret":  {"a", make([]byte, 32)},
		"one byte":     {"a", bytes.Repeat([]byte{0xAB}, 32)},
		"no filter":    {"", good},
		"# not last":   {"a/#/b", good},
		"+ in a level": {"a/b+", good},
		"U+0000":       {"a\x00", good},
		"$share alone": {"$share/g", good},
		"long filter":  {strings.Repeat("a", 65536), good},
	} {
		_, err := New(c.filter, c.secret)
		require.ErrorIs(t, err, ErrInvalid, name)
	}
	_, err := Generate("a/#/b")
	require.ErrorIs(t, err, ErrInvalid)
}

func TestNewCopies(t *testing.T) {
	secret := bytes.Clone(testKey(t, "a", 1).secret()[:])
	k, err := New("a", secret)
	require.NoError(t, err)
	clear(secret)
	require.True(t, k.Equal(testKey(t, "a", 1)))
}

func TestKeyEqual(t *testing.T) {
	k := testKey(t, "a", 1)
	require.True(t, k.Equal(testKey(t, "a", 1)))
	require.False(t, k.Equal(testKey(t, "b", 1)))
	require.False(t, k.Equal(testKey(t, "a", 2)))
	require.False(t, k.Equal(Key{}))
	require.True(t, Key{}.Equal(Key{}))
}

func TestGenerate(t *testing.T) {
	a, err := Generate("$share/group/a/#")
	require.NoError(t, err)
	require.Equal(t, "a/#", a.Filter())
	b, err := Generate("a/#")
	require.NoError(t, err)
	require.False(t, a.Equal(b))
}

func TestKeyText(t *testing.T) {
	for _, filter := range []string{"#", "a", "site/7/#", "Häuser/Straße 7/+", strings.Repeat("x", 65535)} {
		k := testKey(t, filter, 9)
		text, err := k.MarshalText()
		require.NoError(t, err)
		for _, form := range []string{string(text), strings.ToUpper(string(text)), strings.ToLower(string(text)), "\t " + string(text) + "\r\n"} {
			var got Key
			require.NoError(t, got.UnmarshalText([]byte(form)))
			require.True(t, k.Equal(got), filter)
		}
	}
	_, err := Key{}.MarshalText()
	require.ErrorIs(t, err, ErrInvalid)
}

// What Windows PowerShell makes of a key file: UTF-16 with ">", a byte order mark with Set-Content, and CRLF.
func TestKeyTextInOtherEncodings(t *testing.T) {
	k := testKey(t, "Häuser/#", 9)
	text, err := k.MarshalText()
	require.NoError(t, err)
	wide := func(order binary.AppendByteOrder, text string) (file []byte) {
		for _, u := range utf16.Encode([]rune("\uFEFF" + text)) {
			file = order.AppendUint16(file, u)
		}
		return file
	}
	for name, file := range map[string][]byte{
		"UTF-8 with a mark": []byte("\uFEFF" + string(text)), "CRLF": append(bytes.Clone(text), "\r\n"...),
		"UTF-16LE": wide(binary.LittleEndian, string(text)+"\r\n"), "UTF-16BE": wide(binary.BigEndian, string(text)),
	} {
		var got Key
		require.NoError(t, got.UnmarshalText(file), name)
		require.True(t, k.Equal(got), name)
	}
	for name, file := range map[string][]byte{
		"NUL at the end":         append(bytes.Clone(text), 0),
		"UTF-16 without a mark":  wide(binary.LittleEndian, string(text))[2:],
		"half a character":       wide(binary.LittleEndian, string(text))[:21],
		"two marks":              []byte("\uFEFF\uFEFF" + string(text)),
		"a mark within the text": []byte(string(text[:20]) + "\uFEFF" + string(text[20:])),
	} {
		require.ErrorIs(t, new(Key).UnmarshalText(file), ErrInvalid, name)
	}
	require.ErrorContains(t, new(Key).UnmarshalText(append(bytes.Clone(text), 0)), "encoding")
	require.ErrorContains(t, new(Key).UnmarshalText(wide(binary.LittleEndian, string(text))[:21]), "UTF-16")
}

// The text form is a format: keys are stored in it.
func TestKeyTextVector(t *testing.T) {
	text, err := testKey(t, "site/#", 0).MarshalText()
	require.NoError(t, err)
	require.Equal(t, keyTextVector, string(text))
}

const keyTextVector = "mqttsec:AEAACAQDAQCQMBYIBEFAWDANBYHRAEISCMKBKFQXDAMRUGY4DUPB643JORSS6I2OYA5GO"

func TestKeyTextRefuses(t *testing.T) {
	text, err := testKey(t, "site/#", 1).MarshalText()
	require.NoError(t, err)
	var k Key
	for i := range text {
		for _, c := range []byte("A2=!\n ") {
			changed := bytes.Clone(text)
			changed[i] = c
			if bytes.Equal(bytes.ToUpper(changed), bytes.ToUpper(text)) {
				continue
			}
			if i == len(text)-1 && len(bytes.TrimSpace(changed)) < len(text) {
				continue // a truncation, below
			}
			require.ErrorIs(t, k.UnmarshalText(changed), ErrInvalid, "%q at %d", c, i)
		}
		require.ErrorIs(t, k.UnmarshalText(text[:i]), ErrInvalid, "cut at %d", i)
	}
	require.ErrorIs(t, k.UnmarshalText(append(bytes.Clone(text), 'A')), ErrInvalid)
	require.ErrorIs(t, k.UnmarshalText(append(bytes.Clone(text[:20]), "\n"+string(text[20:])...)), ErrInvalid, "a line break")
	spare := bytes.Clone(text)
	spare[len(spare)-1]++ // the last character has a bit to spare
	decoded, err := textEncoding.DecodeString(string(spare[len(textPrefix):]))
	require.NoError(t, err)
	require.Equal(t, string(text), textPrefix+textEncoding.EncodeToString(decoded))
	require.ErrorIs(t, k.UnmarshalText(spare), ErrInvalid, "a second form of the same key")
	encode := func(b []byte) []byte {
		return textEncoding.AppendEncode([]byte(textPrefix), append(b, textSum(b)...))
	}
	good := append(append([]byte{textVersion}, testKey(t, "a", 1).secret()[:]...), 'a')
	require.NoError(t, k.UnmarshalText(encode(bytes.Clone(good))))
	for name, b := range map[string][]byte{
		"version":     append([]byte{2}, good[1:]...),
		"zero secret": append(append([]byte{textVersion}, make([]byte, 32)...), 'a'),
		"no filter":   bytes.Clone(good[:33]),
		"bad filter":  append(bytes.Clone(good), "/#/b"...),
		"shortest":    {},
	} {
		require.ErrorIs(t, k.UnmarshalText(encode(b)), ErrInvalid, name)
	}
	require.ErrorIs(t, k.UnmarshalText(bytes.Repeat([]byte("mqttsec:"), 1<<20)), ErrInvalid)
	for ascii, other := range map[string]string{"S": "ſ", "I": "ı"} { // their upper case is ASCII
		foreign := strings.Replace(string(text[len(textPrefix):]), ascii, other, 1)
		require.NotEqual(t, string(text[len(textPrefix):]), foreign)
		require.ErrorIs(t, k.UnmarshalText([]byte(textPrefix+foreign)), ErrInvalid, other)
	}
	require.Equal(t, "a", k.Filter(), "a failure leaves the key as it was")
}

// Whatever prints values shows neither the secret nor a part of it.
func TestKeyIsNotPrinted(t *testing.T) {
	k := testKey(t, "site/#", 0xA0)
	tree, err := Plant(k)
	require.NoError(t, err)
	root := tree.Root()
	type holder struct {
		Exported Key
		hidden   Key
		Pointer  *Key
		List     []Key
		Map      map[string]Key
		Tree     *Tree
		tree     *Tree
		value    Tree
	}
	h := holder{k, k, &k, []Key{k}, map[string]Key{"k": k}, tree, tree, *tree}
	var out strings.Builder
	for _, v := range []any{k, &k, h, &h, []Key{k}, [1]Key{k}, map[string]Key{"k": k}, tree, *tree, &root, errors.New(fmt.Sprint(k))} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%o", "%b", "%c", "%U", "%p", "%T", "%t", "%100v"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		fmt.Fprintln(&out, v)
		if _, nested := v.(holder); nested {
			continue // slog's JSON of a struct is its json.Marshal
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("m", "v", v, slog.Any("w", v))
	}
	for _, v := range []any{k, &k, root} {
		slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "v", v, slog.Group("g", "k", v))
	}
	fmt.Fprintln(&out, k.String(), k.GoString(), k.LogValue(), root.GoString())

	text, err := k.MarshalText()
	require.NoError(t, err)
	_, err = k.Sub("other")
	fmt.Fprintln(&out, err)
	var broken Key
	fmt.Fprintln(&out, broken.UnmarshalText(append(text, 'A')), broken.UnmarshalText(text[:len(text)-1]))

	printed := out.String()
	require.Contains(t, printed, `mqttsec.Key("site/#", secret hidden)`)
	secret := k.secret()[:]
	for _, form := range []string{
		string(secret[:4]), fmt.Sprintf("%x", secret[:3]), fmt.Sprintf("%X", secret[:3]), fmt.Sprintf("% x", secret[:3]),
		"160 161 162", "0xa0, 0xa1", "0xA0", string(text[8:20]), strings.ToLower(string(text[8:20])),
	} {
		require.NotContains(t, printed, form)
	}
}

func TestKeyInJSON(t *testing.T) {
	type config struct{ Key Key }
	k := testKey(t, "site/#", 1)
	b, err := json.Marshal(config{k})
	require.NoError(t, err)
	var c config
	require.NoError(t, json.Unmarshal(b, &c))
	require.True(t, k.Equal(c.Key))
}

func TestZeroKeyPrints(t *testing.T) {
	require.Equal(t, "mqttsec.Key(none)", fmt.Sprint(Key{}))
}

// canonical is a key's text without what may differ.
func canonical(t *testing.T, text []byte) string {
	s, err := decode(text)
	require.NoError(t, err)
	return strings.ToUpper(strings.TrimSpace(s))
}

func FuzzKeyText(f *testing.F) {
	f.Add([]byte(keyTextVector))
	f.Add([]byte(strings.ToUpper(keyTextVector)))
	f.Add([]byte(keyTextVector[:40]))
	f.Add([]byte("mqttsec:AAAA"))
	f.Add([]byte("\uFEFF" + keyTextVector + "\r\n"))
	f.Add([]byte("\xFF\xFEm\x00q\x00t\x00t\x00s\x00e\x00c\x00:\x00"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var k Key
		if k.UnmarshalText(text) != nil {
			require.Equal(t, Key{}, k)
			return
		}
		again, err := k.MarshalText()
		require.NoError(t, err)
		require.Equal(t, canonical(t, text), strings.ToUpper(string(again)), "one text for one key")
	})
}
