package claims

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/aif"
	"github.com/mqttsec/mqttsec/internal/cose"
	"github.com/mqttsec/mqttsec/internal/pop"
)

// keys has one of each kind.
func keys(t testing.TB) map[pop.Algorithm]pop.Verifier {
	t.Helper()
	shared, err := pop.SharedKey([]byte("0123456789abcdef0123456789abcdef"))
	require.NoError(t, err)
	public, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	ed, err := pop.PublicKey(public)
	require.NoError(t, err)
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	ec, err := pop.PublicKey(private.Public())
	require.NoError(t, err)
	return map[pop.Algorithm]pop.Verifier{pop.HS256: shared, pop.EdDSA: ed, pop.ES256: ec}
}

func whole(key pop.Verifier) Set {
	return Set{
		Issuer:       "https://as.example",
		Subject:      "device-7",
		Audience:     []string{"broker.example"},
		Expires:      time.Unix(1_800_000_600, 0),
		NotBefore:    time.Unix(1_800_000_000, 0),
		IssuedAt:     time.Unix(1_800_000_001, 0),
		ExpiresIn:    10 * time.Minute,
		ID:           "aWQ",
		Scope:        aif.Scope{{Filter: "a/+/b", Publish: true}, {Filter: "c/#", Publish: true, Subscribe: true}},
		Confirmation: Confirmation{Key: key, ID: "kid-1"},
		ClientID:     "device-7",
		Profile:      pop.Profile,
		CNonce:       []byte{1, 2, 3, 4, 5, 6, 7, 8},
	}
}

func requireSame(t testing.TB, want, got Set) {
	t.Helper()
	require.Equal(t, want.Confirmation.Key.Fingerprint(), got.Confirmation.Key.Fingerprint())
	want.Confirmation.Key, got.Confirmation.Key = pop.Verifier{}, pop.Verifier{}
	require.Equal(t, want, got)
}

func TestSetInBothForms(t *testing.T) {
	for alg, key := range keys(t) {
		t.Run(string(alg), func(t *testing.T) {
			want := whole(key)
			text, err := want.JSON()
			require.NoError(t, err)
			got, err := ParseJSON(text)
			require.NoError(t, err)
			requireSame(t, want, got)

			want.ClientID = "" // a CWT has no such claim
			b, err := want.CBOR()
			require.NoError(t, err)
			require.Less(t, len(b), len(text)*3/4)
			got, err = ParseCBOR(b)
			require.NoError(t, err)
			requireSame(t, want, got)
		})
	}
}

func TestIntrospectionInBothForms(t *testing.T) {
	for alg, key := range keys(t) {
		t.Run(string(alg), func(t *testing.T) {
			want := Introspection{Active: true, Set: whole(key), TokenType: PoP}
			text, err := want.JSON()
			require.NoError(t, err)
			got, err := ParseIntrospectionJSON(text)
			require.NoError(t, err)
			requireSame(t, want.Set, got.Set)
			require.True(t, got.Active)
			require.Equal(t, PoP, got.TokenType)

			b, err := want.CBOR()
			require.NoError(t, err)
			got, err = ParseIntrospectionCBOR(b)
			require.NoError(t, err)
			requireSame(t, want.Set, got.Set)
			require.True(t, got.Active)
			require.Equal(t, PoP, got.TokenType)
		})
	}
	for _, kind := range []string{Bearer, ""} {
		want := Introspection{Active: true, TokenType: kind}
		text, err := want.JSON()
		require.NoError(t, err)
		got, err := ParseIntrospectionJSON(text)
		require.NoError(t, err)
		require.Equal(t, want, got)
		b, err := want.CBOR()
		require.NoError(t, err)
		got, err = ParseIntrospectionCBOR(b)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	inactive := Introspection{Set: Set{Issuer: "must not show"}}
	text, err := inactive.JSON()
	require.NoError(t, err)
	require.Equal(t, `{"active":false}`, string(text))
	b, err := inactive.CBOR()
	require.NoError(t, err)
	require.Equal(t, "a10af4", hex.EncodeToString(b))
	got, err := ParseIntrospectionCBOR(b)
	require.NoError(t, err)
	require.Equal(t, Introspection{}, got)
	for _, bad := range []string{`{}`, `{"active":null}`, `{"active":"true"}`, `{"active":1}`, `[]`, `{"active":true}{}`, `{"active":true,"token_type":2}`} {
		_, err := ParseIntrospectionJSON([]byte(bad))
		require.ErrorIs(t, err, ErrMalformed, bad)
	}
	for _, bad := range []string{"a0", "a10af6", "a10a01", "80", "a10af500", "a20af5181801", "a20af5182261" + "32"} {
		_, err := ParseIntrospectionCBOR(unhex(t, bad))
		require.ErrorIs(t, err, ErrMalformed, bad)
	}
	_, err = ParseIntrospectionJSON([]byte(`{"active":true,"scope":7}`))
	require.ErrorIs(t, err, ErrScope)
	_, err = ParseIntrospectionCBOR(unhex(t, "a20af50907"))
	require.ErrorIs(t, err, ErrScope)
}

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	require.NoError(t, err)
	return b
}

// TestScopeClaim holds the example of RFC 9431, section 2.3, in the forms of ace.md's requirement S-1.
func TestScopeClaim(t *testing.T) {
	want := aif.Scope{
		{Filter: "topic1", Publish: true, Subscribe: true},
		{Filter: "topic2/#", Publish: true},
		{Filter: "+/topic3", Subscribe: true},
	}
	const text = "W1sidG9waWMxIixbInB1YiIsInN1YiJdXSxbInRvcGljMi8jIixbInB1YiJdXSxbIisvdG9waWMzIixbInN1YiJdXV0"
	const array = "838266746f706963318263707562637375628268746f706963322f23816370756282682b2f746f706963338163737562"
	got, err := ParseJSON([]byte(`{"scope":"` + text + `"}`))
	require.NoError(t, err)
	require.Equal(t, want, got.Scope)
	for _, value := range []string{"5830" + array, array} { // wrapped in a byte string, and bare
		got, err := ParseCBOR(unhex(t, "a109"+value))
		require.NoError(t, err)
		require.Equal(t, want, got.Scope)
	}
	b, err := Set{Scope: want}.CBOR()
	require.NoError(t, err)
	require.Equal(t, "a1095830"+array, hex.EncodeToString(b))

	none, err := ParseJSON([]byte(`{}`))
	require.NoError(t, err)
	require.Nil(t, none.Scope)
	nothing, err := none.JSON()
	require.NoError(t, err)
	require.Equal(t, "{}", string(nothing), "a claim that is not there")
	empty, err := ParseJSON([]byte(`{"scope":"W10"}`))
	require.NoError(t, err)
	require.NotNil(t, empty.Scope)
	require.Empty(t, empty.Scope)
	for _, bad := range []string{`"a b"`, `["x"]`, `null`, `""`, `"bnVsbA"`} {
		_, err := ParseJSON([]byte(`{"scope":` + bad + `}`))
		require.ErrorIs(t, err, ErrScope, bad)
	}
	for _, bad := range []string{"a109f6", "a10940", "a10961" + "61", "a10901"} {
		_, err := ParseCBOR(unhex(t, bad))
		require.ErrorIs(t, err, ErrScope, bad)
	}
}

func TestTimesAndAudiences(t *testing.T) {
	got, err := ParseJSON([]byte(`{"exp":1800000000.75,"aud":["a","b"],"exi":3600}`))
	require.NoError(t, err)
	require.Equal(t, time.Unix(1_800_000_000, 0), got.Expires)
	require.Equal(t, []string{"a", "b"}, got.Audience)
	require.Equal(t, time.Hour, got.ExpiresIn)
	b, err := Set{Audience: got.Audience}.CBOR()
	require.NoError(t, err)
	two, err := ParseCBOR(b)
	require.NoError(t, err)
	require.Equal(t, got.Audience, two.Audience)
	for _, limits := range []string{`{"exp":1,"exi":1}`, `{"exp":137438953472,"exi":2147483648}`} {
		_, err := ParseJSON([]byte(limits))
		require.NoError(t, err, limits)
	}
	for _, bad := range []string{
		`{"exp":"1800000000"}`, `{"exp":-1}`, `{"exp":0}`, `{"exp":0.5}`, `{"exp":1e300}`, `{"exp":137438953473}`, `{"exi":2147483649}`, `{"exp":null}`, `{"exi":0.5}`, `{"exi":1e18}`,
		`{"aud":1}`, `{"aud":null}`, `{"aud":["a",null]}`, `{"aud":["a",1]}`, `{"aud":{}}`, `{"aud":[]}`,
		`{"iss":1}`, `{"iss":null}`, `{"iss":"a","iss":"b"}`, `{"i\u0073s":"a","iss":"b"}`, `{"cnonce":"+/"}`, `{"cnonce":"AA=="}`,
		``, `[]`, `null`, `{`, `{"a":}`, `{}x`, "{\"iss\":\"\xff\"}", `{"exp":1,}`,
	} {
		_, err := ParseJSON([]byte(bad))
		require.ErrorIs(t, err, ErrMalformed, bad)
	}
	for _, bad := range []string{
		"a10463313233", "a10420", "a10400", "a104fb7ff0000000000000", "a104fb7ff8000000000000", "a104f93800", "a104f6", "a11828f97e00", "a11828f6", "a11826f6", "a104c11a6b49d200",
		"a103f6", "a10301", "a1038101", "a10380", "a10101", "a101f6", "a101f7", "a2016161016162", "a1076161", "a1182760" + "", "bf0161" + "61ff", "a0a0", "f6", "",
	} {
		_, err := ParseCBOR(unhex(t, bad))
		require.ErrorIs(t, err, ErrMalformed, bad)
	}
}

// TestConfirmationNamesOneKey lists what a "cnf" may look like.
func TestConfirmationNamesOneKey(t *testing.T) {
	const oct = `{"kty":"oct","kid":"k1","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}`
	for _, good := range []struct{ text, id string }{
		{`{"jwk":` + oct + `}`, "k1"},
		{`{"jwk":` + oct + `,"kid":"k1"}`, "k1"},
		{`{"jwk":` + oct + `,"novel":1}`, "k1"},
		{`{"kid":"k1"}`, "k1"},
		{`{"jwk":{"kty":"oct","kid":"k1"}}`, "k1"},
		{`{"jwk":{"kty":"oct","kid":"k1"},"kid":"k1"}`, "k1"},
		{`{"jwe":"a.b.c.d.e"}`, ""},
		{`{"jwk":{"kty":"OKP","crv":"Ed25519","x":"A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg"},"kid":"x"}`, "x"},
	} {
		c, err := ParseConfirmationJSON([]byte(good.text))
		require.NoError(t, err, good.text)
		require.Equal(t, good.id, c.ID)
		require.False(t, c.IsZero())
	}
	for _, bad := range []string{
		`{}`, `null`, `"k1"`, `{"kid":1}`, `{"kid":""}`, `{"jwk":null}`, `{"jku":"https://a.example"}`,
		`{"jwk":` + oct + `,"kid":1}`, `{"jwk":{"kty":"oct","kid":"k1"},"kid":"k2"}`, `{"jwe":1,"kid":"k1"}`,
		`{"jwk":` + oct + `,"kid":"k2"}`, `{"jwk":` + oct + `,"jwe":"a.b.c.d.e"}`, `{"jwk":` + oct + `,"jwk":` + oct + `}`,
		`{"jwk":{"kty":"oct","k":"MDEyMzQ1Njc4OWFiY2RlZg","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}}`,
		`{"jwk":{"kty":"oct"}}`, `{"jwk":{"kty":"oct","k":"AA"}}`, `{"jwk":{"kty":"none"}}`,
		`{"jwk":{"kty":"oct","alg":"none","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}}`,
		`{"jwk":{"kty":"OKP","crv":"Ed25519","alg":"HS256","x":"A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg"}}`,
		`{"jwk":{"kty":"OKP","crv":"Ed25519","d":"AA","x":"A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg"}}`,
	} {
		_, err := ParseConfirmationJSON([]byte(bad))
		require.ErrorIs(t, err, ErrConfirmation, bad)
		_, err = ParseJSON([]byte(`{"cnf":` + bad + `}`))
		require.ErrorIs(t, err, ErrConfirmation, "nor a claim set with it: %s", bad)
	}

	kid, err := Confirmation{ID: "12345678"}.CBOR()
	require.NoError(t, err)
	require.Equal(t, "a103483132333435363738", hex.EncodeToString(kid))
	// T-2 of ace.md: a symmetric key that is known by its identifier.
	c, err := ParseConfirmationCBOR(unhex(t, "a101a2010402483132333435363738"))
	require.NoError(t, err)
	require.Equal(t, Confirmation{ID: "12345678"}, c)
	const good = "a30104024131" + "2050" + "000102030405060708090a0b0c0d0e0f" // its kid is "1"
	for text, ok := range map[string]bool{
		"a101" + good: true, "a201" + good + "034131": true, "a201" + good + "034132": false, "a201" + good + "0301": false, "a201" + good + "0281" + "00": false,
	} {
		c, err := ParseConfirmationCBOR(unhex(t, text))
		if !ok {
			require.ErrorIs(t, err, ErrConfirmation, text)
			continue
		}
		require.NoError(t, err, text)
		require.Equal(t, "1", c.ID)
	}
	for _, bad := range []string{
		"a0", "f6", "40", "a10301", "a10340", "a101a10104", "a101a201042041aa", "a101a3010403012041aa", "a10180",
		"a101a3010120062143aabbcc", "a20340" + "0340",
	} {
		_, err := ParseConfirmationCBOR(unhex(t, bad))
		require.ErrorIs(t, err, ErrConfirmation, bad)
		_, err = ParseCBOR(unhex(t, "a108"+bad))
		require.ErrorIs(t, err, ErrConfirmation, "nor a claim set with it: %s", bad)
	}
	for alg, key := range keys(t) { // a key that says it is for something else
		k, err := coseKey(key)
		require.NoError(t, err)
		for _, op := range []cose.Operation{cose.OpSign, cose.OpVerify, cose.OpMACCreate, cose.OpMACVerify} {
			k.Ops = []cose.Operation{op}
			_, err := verifier(k)
			require.NoError(t, err, "%s for %d alone", alg, op)
		}
		for _, spoil := range []func(k *cose.Key){
			func(k *cose.Key) { k.Alg = cose.A128GCM },
			func(k *cose.Key) { k.Ops = []cose.Operation{cose.OpEncrypt} },
		} {
			spoilt := k
			spoil(&spoilt)
			b, err := cose.Encoding.Marshal(map[int64]any{CnfKey: spoilt})
			require.NoError(t, err)
			_, err = ParseConfirmationCBOR(b)
			require.ErrorIs(t, err, ErrConfirmation, alg)
		}
	}
}

// TestConfirmationInBothForms: none of them is lost on its way, whatever it names the key by.
func TestConfirmationInBothForms(t *testing.T) {
	key := keys(t)[pop.HS256]
	for _, c := range []Confirmation{{Key: key}, {Key: key, ID: "k"}, {ID: "k"}} {
		text, err := Set{Confirmation: c}.JSON()
		require.NoError(t, err)
		got, err := ParseJSON(text)
		require.NoError(t, err)
		requireSame(t, Set{Confirmation: c}, got)
		b, err := Set{Confirmation: c}.CBOR()
		require.NoError(t, err)
		got, err = ParseCBOR(b)
		require.NoError(t, err)
		requireSame(t, Set{Confirmation: c}, got)
	}
	for _, id := range []string{"", "k"} {
		want := Set{Confirmation: Confirmation{Encrypted: []byte("a.b.c.d.e"), ID: id}}
		text, err := want.JSON()
		require.NoError(t, err)
		got, err := ParseJSON(text)
		require.NoError(t, err)
		require.Equal(t, want, got)
		want.Confirmation.Encrypted, err = cose.Encrypt0(cose.A128GCM, make([]byte, 16), nil, nil, []byte("key"))
		require.NoError(t, err)
		b, err := want.CBOR()
		require.NoError(t, err)
		got, err = ParseCBOR(b)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err := Confirmation{}.JSON()
	require.ErrorIs(t, err, ErrConfirmation)
	_, err = Confirmation{}.CBOR()
	require.ErrorIs(t, err, ErrConfirmation)
}

// TestMutations cuts and changes a claim set at every byte: nothing may panic, and a cut one is never taken.
func TestMutations(t *testing.T) {
	for _, key := range keys(t) {
		text, err := whole(key).JSON()
		require.NoError(t, err)
		b, err := whole(key).CBOR()
		require.NoError(t, err)
		for i := range text {
			_, err := ParseJSON(text[:i])
			require.Error(t, err)
			changed := []byte(string(text))
			changed[i] ^= 1
			_, _ = ParseJSON(changed)
		}
		for i := range b {
			_, err := ParseCBOR(b[:i])
			require.Error(t, err)
			changed := []byte(string(b))
			changed[i] ^= 1
			_, _ = ParseCBOR(changed)
		}
	}
	_, err := ParseJSON([]byte(`{"x":"` + strings.Repeat("a", MaxSize) + `"}`))
	require.ErrorIs(t, err, ErrMalformed)
	large, err := cose.Encoding.Marshal(map[int]string{LabelIssuer: strings.Repeat("a", MaxSize)})
	require.NoError(t, err)
	_, err = ParseCBOR(large)
	require.ErrorIs(t, err, ErrMalformed)
}

func TestSequenceID(t *testing.T) {
	for _, number := range []uint64{0, 1, 1<<64 - 1, 0x0123456789abcdef} {
		id := SequenceID("broker.example", number)
		got, ok := ParseSequenceID("broker.example", id)
		require.True(t, ok)
		require.Equal(t, number, got)
		for _, other := range []string{"broker.exampl", "broker.axample", "roker.example"} {
			_, ok = ParseSequenceID(other, id)
			require.False(t, ok, other)
		}
	}
	for _, c := range "/:`gG" {
		_, ok := ParseSequenceID("a", "a00000000000000"+string(c)+"0")
		require.False(t, ok, "%q", c)
	}
}

func TestErrorNumbers(t *testing.T) {
	for number, name := range Errors {
		require.Equal(t, number, ErrorNumber(name))
	}
	require.Zero(t, ErrorNumber("server_error"))
	require.Equal(t, int64(7), ErrorNumber("unsupported_pop_key"))
}

// TestProfile knows the one profile by name and keeps others apart by number.
func TestProfile(t *testing.T) {
	b, err := Set{Profile: pop.Profile}.CBOR()
	require.NoError(t, err)
	require.Equal(t, "a1182603", hex.EncodeToString(b))
	got, err := ParseCBOR(unhex(t, "a1182601"))
	require.NoError(t, err)
	require.Equal(t, "1", got.Profile)
	_, err = Set{Profile: "coap_dtls"}.CBOR()
	require.ErrorIs(t, err, ErrMalformed)
}

func TestNoSecretIsPrinted(t *testing.T) {
	set := whole(keys(t)[pop.HS256])
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		require.NotContains(t, fmt.Sprintf(verb, set), "0123456789abcdef")
	}
}

func FuzzParseJSON(f *testing.F) {
	for _, key := range keys(f) {
		text, err := whole(key).JSON()
		require.NoError(f, err)
		f.Add(text)
	}
	f.Add([]byte(`{"active":true,"cnf":{"kid":"a"},"aud":["a","b"]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		set, err := ParseJSON(b)
		if err != nil {
			require.True(t, errors.Is(err, ErrMalformed) || errors.Is(err, ErrScope) || errors.Is(err, ErrConfirmation))
			return
		}
		require.True(t, json.Valid(b))
		again, err := set.JSON()
		require.NoError(t, err)
		got, err := ParseJSON(again)
		require.NoError(t, err)
		requireSame(t, set, got)
		_, _ = ParseIntrospectionJSON(b)
	})
}

func FuzzParseCBOR(f *testing.F) {
	for _, key := range keys(f) {
		b, err := whole(key).CBOR()
		require.NoError(f, err)
		f.Add(b)
	}
	f.Add([]byte{0xa1, 0x0a, 0xf4})
	f.Fuzz(func(t *testing.T, b []byte) {
		set, err := ParseCBOR(b)
		if err != nil {
			require.True(t, errors.Is(err, ErrMalformed) || errors.Is(err, ErrScope) || errors.Is(err, ErrConfirmation))
			return
		}
		again, err := set.CBOR()
		require.NoError(t, err)
		got, err := ParseCBOR(again)
		require.NoError(t, err)
		requireSame(t, set, got)
		_, _ = ParseIntrospectionCBOR(b)
	})
}
