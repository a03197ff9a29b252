package pop

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/strict"
)

func ecdsaKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	require.NoError(t, err)
	return key
}

func edKey(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	return key
}

// oracle is a crypto.Signer whose key is elsewhere.
type oracle struct {
	public crypto.PublicKey
	sign   func(input []byte, opts crypto.SignerOpts) ([]byte, error)
}

func (o oracle) Public() crypto.PublicKey { return o.public }
func (o oracle) Sign(_ io.Reader, input []byte, opts crypto.SignerOpts) ([]byte, error) {
	return o.sign(input, opts)
}

func TestProveAndVerify(t *testing.T) {
	secret, err := Secret(sequence(7, MinSecret))
	require.NoError(t, err)
	ed, err := Signer(edKey(t))
	require.NoError(t, err)
	es, err := Signer(ecdsaKey(t, elliptic.P256()))
	require.NoError(t, err)
	all := map[Algorithm]Prover{HS256: secret, EdDSA: ed, ES256: es}
	for alg, p := range all {
		require.Equal(t, alg, p.Verifier().Algorithm())
		require.Equal(t, alg == HS256, p.Verifier().Symmetric())
		require.Equal(t, alg == HS256, p.Verifier().Public() == nil)
		for range 50 { // some of the numbers in an ES256 signature are short
			proof, err := p.Prove([]byte("input"))
			require.NoError(t, err)
			require.Len(t, proof, alg.ProofSize())
			for other, q := range all {
				if err := q.Verifier().Verify([]byte("input"), proof); other == alg {
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, ErrProof)
				}
			}
		}
	}
}

func TestZeroValuesProveNothing(t *testing.T) {
	_, err := Prover{}.Prove(nil)
	require.ErrorIs(t, err, ErrKey)
	require.ErrorIs(t, Verifier{}.Verify(nil, nil), ErrProof)
	require.ErrorIs(t, Verifier{}.Verify(nil, mac(nil, nil)), ErrProof)
	require.Zero(t, Algorithm("none").ProofSize())
	_, err = JWK{}.Verifier()
	require.ErrorIs(t, err, ErrKey)
	_, err = JWK{}.Encode()
	require.ErrorIs(t, err, ErrKey)
}

func TestUnfitKeys(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	for name, key := range map[string]crypto.PublicKey{
		"none": nil, "RSA": rsaKey.Public(), "P-384": ecdsaKey(t, elliptic.P384()).Public(),
		"nil ECDSA": (*ecdsa.PublicKey)(nil), "short Ed25519": ed25519.PublicKey{1},
	} {
		_, err := PublicKey(key)
		require.ErrorIs(t, err, ErrKey, name)
		_, err = Signer(oracle{public: key})
		require.ErrorIs(t, err, ErrKey, name)
	}
	_, err = Signer(nil)
	require.ErrorIs(t, err, ErrKey)
	for _, n := range []int{0, MinSecret - 1, MaxSecret + 1} {
		_, err := Secret(make([]byte, n))
		require.ErrorIs(t, err, ErrKey, n)
	}
	for _, n := range []int{MinSecret, MaxSecret} {
		_, err := Secret(make([]byte, n))
		require.NoError(t, err, n)
	}
}

// TestSignerThatDoesNotSign: a signer in a security module may be of another kind than its public key says, hash
// where it must not, or fail.
func TestSignerThatDoesNotSign(t *testing.T) {
	es, ed := ecdsaKey(t, elliptic.P256()), edKey(t)
	broken := errors.New("token removed")
	for name, tc := range map[string]struct {
		signer oracle
		want   error
	}{
		"fails":     {oracle{es.Public(), func([]byte, crypto.SignerOpts) ([]byte, error) { return nil, broken }}, broken},
		"not ASN.1": {oracle{es.Public(), func([]byte, crypto.SignerOpts) ([]byte, error) { return make([]byte, 64), nil }}, ErrKey},
		"trailing byte": {oracle{es.Public(), func(b []byte, o crypto.SignerOpts) ([]byte, error) {
			s, err := es.Sign(nil, b, o)
			return append(s, 0), err
		}}, ErrKey},
		"other key": {oracle{es.Public(), func(b []byte, o crypto.SignerOpts) ([]byte, error) {
			return ecdsaKey(t, elliptic.P256()).Sign(rand.Reader, b, o)
		}}, ErrKey},
		"larger curve": {oracle{es.Public(), func(b []byte, o crypto.SignerOpts) ([]byte, error) {
			return ecdsaKey(t, elliptic.P521()).Sign(rand.Reader, b, o)
		}}, ErrKey},
		"other Ed25519": {oracle{ed.Public(), func(b []byte, o crypto.SignerOpts) ([]byte, error) { return edKey(t).Sign(nil, b, o) }}, ErrKey},
		"short Ed25519": {oracle{ed.Public(), func([]byte, crypto.SignerOpts) ([]byte, error) { return nil, nil }}, ErrKey},
	} {
		p, err := Signer(tc.signer)
		require.NoError(t, err)
		_, err = p.Prove([]byte("input"))
		require.ErrorIs(t, err, tc.want, name)
	}
}

func TestSecretIsCopied(t *testing.T) {
	secret := sequence(1, 32)
	v, err := SharedKey(secret)
	require.NoError(t, err)
	proof := mac(secret, []byte("input"))
	clear(secret)
	require.NoError(t, v.Verify([]byte("input"), proof))
}

// TestFingerprintIsTheKeys: two keys have the same one if, and only if, what one proves the other verifies. HMAC does
// not tell a secret from the same with zeros behind it, nor a long one from its hash.
func TestFingerprintIsTheKeys(t *testing.T) {
	block := sequence(1, sha256.BlockSize)
	long := sequence(1, sha256.BlockSize+1)
	hash, blockHash := sha256.Sum256(long), sha256.Sum256(block)
	var all []Prover
	for _, secret := range [][]byte{
		block[:MinSecret], append(sequence(1, MinSecret), 0), sequence(2, MinSecret), block, blockHash[:], long, hash[:], append(block[:63:63], 7),
	} {
		p, err := Secret(secret)
		require.NoError(t, err)
		all = append(all, p)
	}
	for _, signer := range []crypto.Signer{edKey(t), edKey(t), ecdsaKey(t, elliptic.P256()), ecdsaKey(t, elliptic.P256())} {
		p, err := Signer(signer)
		require.NoError(t, err)
		all = append(all, p)
	}
	equal := 0
	for i, p := range all {
		proof, err := p.Prove([]byte("input"))
		require.NoError(t, err)
		for j, q := range all {
			verified := q.Verifier().Verify([]byte("input"), proof) == nil
			require.Equal(t, verified, p.Verifier().Fingerprint() == q.Verifier().Fingerprint(), "%d and %d", i, j)
			if verified {
				equal++
			}
		}
	}
	require.Equal(t, len(all)+2*2, equal, "two pairs of equals")
}

func TestNothingPrintsSecrets(t *testing.T) {
	secret := []byte("0123456789abcdef-secret-material")
	p, err := Secret(secret)
	require.NoError(t, err)
	k := NewJWK(p.Verifier(), "id")
	signer, err := Signer(ed25519.NewKeyFromSeed(secret))
	require.NoError(t, err)
	// fmt calls no methods of a field that is not exported.
	inside := struct {
		p Prover
		v Verifier
		s Prover
	}{p, p.Verifier(), signer}
	for _, v := range []any{p, p.Verifier(), k, &p, struct{ V any }{k}, signer, inside, &inside} {
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("m", "v", v)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			text := fmt.Sprintf(verb, v) + log.String()
			require.NotContains(t, text, "secret-material", verb)
			require.NotContains(t, strings.ToLower(text), fmt.Sprintf("%x", secret), verb)
			require.NotContains(t, text, strings.Trim(fmt.Sprint(secret), "[]"), verb)
		}
	}
}

func TestJWKRefused(t *testing.T) {
	const x, y = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
	point, err := strict.DecodeText(x)
	require.NoError(t, err)
	right, err := strict.DecodeText(y)
	require.NoError(t, err)
	point = append(point, right...)
	modulus := func(n int, first byte) string { return strict.EncodeText(append([]byte{first}, make([]byte, n-1)...)) }
	for name, text := range map[string]string{
		"not JSON":        `{`,
		"array":           `[]`,
		"no kind":         `{"k":"AAECAwQFBgcICQoLDA0ODw"}`,
		"other kind":      `{"kty":"AKP"}`,
		"no secret":       `{"kty":"oct"}`,
		"padding":         `{"kty":"oct","k":"AA=="}`,
		"line break":      `{"kty":"oct","k":"AAEC\nAwQF"}`,
		"spare bits":      `{"kty":"oct","k":"AB"}`,
		"other alphabet":  `{"kty":"oct","k":"+///"}`,
		"X25519":          `{"kty":"OKP","crv":"X25519","x":"` + x + `"}`,
		"short Ed25519":   `{"kty":"OKP","crv":"Ed25519","x":"AAEC"}`,
		"private Ed25519": `{"kty":"OKP","crv":"Ed25519","x":"` + x + `","d":"` + x + `"}`,
		"secp256k1":       `{"kty":"EC","crv":"secp256k1","x":"` + x + `","y":"` + y + `"}`,
		"no y":            `{"kty":"EC","crv":"P-256","x":"` + x + `"}`,
		"off the curve":   `{"kty":"EC","crv":"P-256","x":"` + y + `","y":"` + x + `"}`,
		"shifted":         `{"kty":"EC","crv":"P-256","x":"` + strict.EncodeText(point[:31]) + `","y":"` + strict.EncodeText(point[31:]) + `"}`,
		"wrong curve":     `{"kty":"EC","crv":"P-384","x":"` + x + `","y":"` + y + `"}`,
		"K":               `{"kty":"oct","K":"AAECAwQFBgcICQoLDA0ODw"}`,
		"Kelvin":          `{"kty":"oct","\u212a":"AAECAwQFBgcICQoLDA0ODw"}`,
		"Kty":             `{"Kty":"oct","k":"AAECAwQFBgcICQoLDA0ODw"}`,
		"two secrets":     `{"kty":"oct","k":"AAECAwQFBgcICQoLDA0ODw","k":"AAECAwQFBgcICQoLDA0ODw"}`,
		"two of escapes":  `{"kty":"oct","k":"AAECAwQFBgcICQoLDA0ODw","\u006b":"DwECAwQFBgcICQoLDA0ODw"}`,
		"more behind it":  `{"kty":"oct","k":"AAECAwQFBgcICQoLDA0ODw"}}`,
		"tiny RSA":        `{"kty":"RSA","n":"AQAB","e":"AQAB"}`,
		"RSA of 127":      `{"kty":"RSA","n":"` + modulus(127, 128) + `","e":"AQAB"}`,
		"RSA of 2049":     `{"kty":"RSA","n":"` + modulus(2049, 128) + `","e":"AQAB"}`,
		"RSA, not full":   `{"kty":"RSA","n":"` + modulus(256, 0) + `","e":"AQAB"}`,
		"RSA of e 1":      `{"kty":"RSA","n":"` + modulus(256, 128) + `","e":"AQ"}`,
		"RSA of large e":  `{"kty":"RSA","n":"` + modulus(256, 128) + `","e":"AQAAAAM"}`,
		"large":           `{"kty":"oct","k":"` + strings.Repeat("A", maxJWK) + `"}`,
	} {
		_, err := ParseJWK([]byte(text))
		require.ErrorIs(t, err, ErrKey, name)
	}
}

// TestJWKNamesAreCaseSensitive is RFC 7517, 4: "K", which another reader passes over, does not take the place of "k".
func TestJWKNamesAreCaseSensitive(t *testing.T) {
	k, err := ParseJWK([]byte(`{"kty":"oct","k":"AAECAwQFBgcICQoLDA0ODw","kid":"a","K":"////////////////////_w","KID":"b","KTY":"EC",` +
		`"ALG":"none","USE":"enc","KEY_OPS":["encrypt"],"D":"AA"}`))
	require.NoError(t, err)
	require.Equal(t, "a", k.KeyID)
	require.Equal(t, []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, k.Secret)
	_, err = k.Verifier()
	require.NoError(t, err)
}

// TestC8KeyForAnotherPurpose is RFC 9201, 5: a key whose parameters forbid the proof is not used.
func TestC8KeyForAnotherPurpose(t *testing.T) {
	const (
		k  = `"kty":"oct","k":"AAECAwQFBgcICQoLDA0ODw"`
		ed = `"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"`
	)
	fits := func(text string, ok bool) {
		key, err := ParseJWK([]byte("{" + text + "}"))
		require.NoError(t, err)
		_, err = key.Verifier()
		if ok {
			require.NoError(t, err, text)
		} else {
			require.ErrorIs(t, err, ErrKey, text)
		}
	}
	for more, ok := range map[string]bool{
		``: true, `,"alg":"HS256"`: true, `,"use":"sig"`: true, `,"key_ops":["verify","sign"]`: true,
		`,"key_ops":["verify"]`: true, `,"key_ops":["encrypt","sign"]`: true,
		`,"alg":"A128GCM"`: false, `,"alg":"ES256"`: false, `,"alg":"none"`: false, `,"alg":"Ed25519"`: false, `,"alg":"EdDSA"`: false, `,"use":"enc"`: false,
		`,"key_ops":["encrypt"]`: false, `,"key_ops":[]`: false,
	} {
		fits(k+more, ok)
	}
	for more, ok := range map[string]bool{
		``: true, `,"alg":"EdDSA"`: true, `,"alg":"Ed25519"`: true, `,"alg":"HS256"`: false, `,"alg":"ES256"`: false, `,"alg":"Ed448"`: false,
	} {
		fits(ed+more, ok)
	}
}

func TestJWKOfRSAAndLargerCurves(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	text, err := json.Marshal(map[string]string{"kty": "RSA", "e": "AQAB", "n": strict.EncodeText(rsaKey.N.Bytes())})
	require.NoError(t, err)
	k, err := ParseJWK(text)
	require.NoError(t, err)
	require.True(t, rsaKey.PublicKey.Equal(k.Public))
	_, err = k.Verifier()
	require.ErrorIs(t, err, ErrKey, "it recognises a broker and proves nothing")

	for _, curve := range []elliptic.Curve{elliptic.P384(), elliptic.P521()} {
		public := &ecdsaKey(t, curve).PublicKey
		text, err := JWK{Public: public}.Encode()
		require.NoError(t, err)
		k, err := ParseJWK(text)
		require.NoError(t, err)
		require.True(t, public.Equal(k.Public))
	}
}

func TestMalformedAuthData(t *testing.T) {
	for name, b := range map[string][]byte{
		"half a length":   {0},
		"no token":        {0, 0},
		"length too long": {0, 3, 'a', 'b'},
		"proof of 31":     append([]byte{0, 1, 'a'}, make([]byte, 31)...),
		"proof of 33":     append([]byte{0, 1, 'a'}, make([]byte, 33)...),
		"proof of 65":     append([]byte{0, 1, 'a'}, make([]byte, 65)...),
	} {
		_, err := ParseAuthData(b)
		require.ErrorIs(t, err, ErrMalformed, name)
	}
	a, err := ParseAuthData(nil)
	require.NoError(t, err)
	require.Zero(t, a, "none is no mistake: it asks where to get a token")
	_, err = AuthData{Token: make([]byte, 65533)}.Append(nil)
	require.NoError(t, err)
	for name, a := range map[string]AuthData{
		"long token":          {Token: make([]byte, 65534)},
		"long with proof":     {Token: make([]byte, 65502), Proof: make([]byte, 32)},
		"proof without token": {Proof: make([]byte, 32)},
		"short proof":         {Token: []byte("t"), Proof: []byte("p")},
	} {
		_, err := a.Append(nil)
		require.ErrorIs(t, err, ErrMalformed, name)
	}
	for _, n := range []int{0, 7, 9} {
		_, err := ParseNonce(make([]byte, n))
		require.ErrorIs(t, err, ErrMalformed)
	}
	for _, n := range []int{0, 8, 39, 41, 71, 73} {
		_, err := ParseReply(make([]byte, n))
		require.ErrorIs(t, err, ErrMalformed)
	}
}

// TestV2UsernameMayHoldPlainJWT is the leniency of the verifying side, V-2.
func TestV2UsernameMayHoldPlainJWT(t *testing.T) {
	const jwt = "eyJhbGciOiJFUzI1NiJ9.e30.c2ln"
	name, err := Username([]byte(jwt))
	require.NoError(t, err)
	require.NotContains(t, name, ".")
	for _, name := range []string{name, "ace" + jwt} {
		token, err := ParseUsername([]byte(name))
		require.NoError(t, err)
		require.Equal(t, jwt, string(token))
	}
	for _, name := range []string{"", "ac", "ace", "aceQQ==", "aceQQ\n", "ace\r\n", "aceQR", "bob", "ace*"} {
		_, err := ParseUsername([]byte(name))
		require.ErrorIs(t, err, ErrMalformed, name)
	}
	longest, err := Username(make([]byte, 49149))
	require.NoError(t, err)
	require.Len(t, longest, 65535)
	for _, n := range []int{0, 49150} {
		_, err = Username(make([]byte, n))
		require.ErrorIs(t, err, ErrMalformed)
	}
}

// TestM5ExporterContextIsEmptyNotAbsent: in TLS 1.2 the two give different bytes.
func TestM5ExporterContextIsEmptyNotAbsent(t *testing.T) {
	var asked []byte
	export := func(label string, context []byte, n int) ([]byte, error) {
		require.Equal(t, "EXPORTER-ACE-MQTT-Sign-Challenge", label)
		require.NotNil(t, context)
		require.Empty(t, context)
		asked = make([]byte, n)
		return asked, nil
	}
	input, err := ExporterInput(exporter(export))
	require.NoError(t, err)
	require.Len(t, input, 32)
	_, err = ExporterInput(exporter(func(string, []byte, int) ([]byte, error) { return nil, nil }))
	require.Error(t, err)
	_, err = ExporterInput(exporter(func(string, []byte, int) ([]byte, error) { return nil, io.ErrClosedPipe }))
	require.ErrorIs(t, err, io.ErrClosedPipe)
}

type exporter func(string, []byte, int) ([]byte, error)

func (e exporter) ExportKeyingMaterial(label string, context []byte, n int) ([]byte, error) {
	return e(label, context, n)
}

func TestNoncesDiffer(t *testing.T) {
	require.NotEqual(t, NewNonce(), NewNonce())
}
