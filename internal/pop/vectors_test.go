package pop

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// A vector is one of testdata/vectors.json: made with OpenSSL and, for ES256, from RFC 7515, A.3.
type vector struct {
	Name  string
	JWK   json.RawMessage
	Input string // hex
	Proof string // hex
}

func vectors(t *testing.T) []vector {
	t.Helper()
	text, err := os.ReadFile("testdata/vectors.json")
	require.NoError(t, err)
	var vs []vector
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	require.NoError(t, dec.Decode(&vs))
	require.NotEmpty(t, vs)
	return vs
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

func TestVectors(t *testing.T) {
	for _, tc := range vectors(t) {
		t.Run(tc.Name, func(t *testing.T) {
			key, err := ParseJWK(tc.JWK)
			require.NoError(t, err)
			v, err := key.Verifier()
			require.NoError(t, err)
			input, proof := unhex(t, tc.Input), unhex(t, tc.Proof)
			require.Len(t, proof, v.Algorithm().ProofSize())
			require.NoError(t, v.Verify(input, proof))

			mutated(proof, func(bad []byte) { require.ErrorIs(t, v.Verify(input, bad), ErrProof) })
			mutated(input, func(bad []byte) { require.ErrorIs(t, v.Verify(bad, proof), ErrProof) })
			encoded, err := key.Encode()
			require.NoError(t, err)
			require.JSONEq(t, string(tc.JWK), string(encoded))
		})
	}
}

// mutated calls f with b changed in each bit, shortened and lengthened.
func mutated(b []byte, f func([]byte)) {
	for bit := range 8 * len(b) {
		bad := bytes.Clone(b)
		bad[bit/8] ^= 1 << (bit % 8)
		f(bad)
	}
	f(b[:len(b)-1])
	f(b[1:])
	f(append(bytes.Clone(b), 0))
	f(nil)
}

// TestProofIsTheVectors proves with the private keys of the vectors.
func TestProofIsTheVectors(t *testing.T) {
	secret := sequence(0, 32)
	provers := map[string]Prover{}
	var err error
	provers["HS256"], err = Secret(secret)
	require.NoError(t, err)
	provers["EdDSA"], err = Signer(ed25519.NewKeyFromSeed(secret))
	require.NoError(t, err)
	inputs := map[string][]byte{
		"exporter":  sequence(0xa0, 32),
		"challenge": ChallengeInput(Nonce(sequence(1, 8)), Nonce(sequence(0x11, 8))),
	}
	proved := 0
	for _, tc := range vectors(t) {
		for alg, p := range provers {
			for form, input := range inputs {
				if tc.Name != alg+" "+form {
					continue
				}
				require.Equal(t, tc.Input, hex.EncodeToString(input))
				proof, err := p.Prove(input)
				require.NoError(t, err)
				require.Equal(t, tc.Proof, hex.EncodeToString(proof))
				proved++
			}
		}
	}
	require.Equal(t, 4, proved)
}

func sequence(from byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = from + byte(i)
	}
	return b
}

// TestAuthDataVectors has the bytes of RFC 9431's figures 3 to 6 with the token "ref-token-0001".
func TestAuthDataVectors(t *testing.T) {
	token := []byte("ref-token-0001")
	const head = "000e7265662d746f6b656e2d30303031"
	mac := unhex(t, "0c95bd8bdd96004ec3f84f7bcc9526ee33491925dae778d32b6b81a42c38fe93")

	exporter, err := AuthData{Token: token, Proof: mac}.Append(nil)
	require.NoError(t, err)
	require.Equal(t, head+hex.EncodeToString(mac), hex.EncodeToString(exporter))
	challenge, err := AuthData{Token: token}.Append(nil)
	require.NoError(t, err)
	require.Equal(t, head, hex.EncodeToString(challenge))
	discovery, err := AuthData{}.Append(nil)
	require.NoError(t, err)
	require.Empty(t, discovery)

	parsed, err := ParseAuthData(exporter)
	require.NoError(t, err)
	require.Equal(t, AuthData{token, mac}, parsed)
	parsed, err = ParseAuthData(challenge)
	require.NoError(t, err)
	require.Equal(t, AuthData{Token: token}, parsed)

	answer := unhex(t, "07215b998b9a990c5cc6a160e9180b487dc80d13a7e464ed0d1298cfbf652467")
	reply := Reply{Nonce(sequence(0x11, 8)), answer}
	require.Equal(t, "1112131415161718"+hex.EncodeToString(answer), hex.EncodeToString(reply.Append(nil)))
	back, err := ParseReply(reply.Append(nil))
	require.NoError(t, err)
	require.Equal(t, reply, back)

	name, err := Username(token)
	require.NoError(t, err)
	require.Equal(t, "acecmVmLXRva2VuLTAwMDE", name)
}

func TestFingerprintTellsKeysApart(t *testing.T) {
	seen := map[[32]byte]string{}
	for _, tc := range vectors(t) {
		key, err := ParseJWK(tc.JWK)
		require.NoError(t, err)
		v, err := key.Verifier()
		require.NoError(t, err)
		f := v.Fingerprint()
		if jwk, ok := seen[f]; ok {
			require.JSONEq(t, jwk, string(tc.JWK))
		}
		seen[f] = string(tc.JWK)
	}
	require.Len(t, seen, 3)

	short, err := SharedKey(sequence(1, 16))
	require.NoError(t, err)
	padded, err := SharedKey(append(sequence(1, 16), 0))
	require.NoError(t, err)
	require.Equal(t, short.Fingerprint(), padded.Fingerprint(), "HMAC cannot tell them apart")
	proof := mac(short.secret.value(), []byte("x"))
	require.NoError(t, padded.Verify([]byte("x"), proof))
}
