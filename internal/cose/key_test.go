package cose

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func decodeKey(b []byte) (Key, error) {
	var k Key
	err := Decoding.Unmarshal(b, &k)
	return k, err
}

// TestKeySymmetricRFC8392 is the key of RFC 8392, A.2.1.
func TestKeySymmetricRFC8392(t *testing.T) {
	const encoded = "a42050231f4c4d4d3051fdc2ec0a3851d5b3830104024c53796d6d6574726963313238030a"
	k, err := decodeKey(unhex(t, encoded))
	require.NoError(t, err)
	want := Key{Type: Octets, ID: []byte("Symmetric128"), Alg: AESCCM16x64x128, K: unhex(t, "231f4c4d4d3051fdc2ec0a3851d5b383")}
	require.Equal(t, want, k)
	out, err := Encoding.Marshal(k)
	require.NoError(t, err)
	require.Equal(t, "a40104024c53796d6d6574726963313238030a2050231f4c4d4d3051fdc2ec0a3851d5b383", hex.EncodeToString(out))
	_, err = k.Public()
	require.ErrorIs(t, err, ErrKey)
}

// TestKeyPrivateRFC8392 is the key of RFC 8392, A.2.3: a private key has no business in a token or an answer.
func TestKeyPrivateRFC8392(t *testing.T) {
	_, err := decodeKey(unhex(t, "a72358206c1382765aec5358f117733d281c1c7bdc39884d04a45a1e6c67c858bc206c1922582060f7f1a780d8a783bfb7a2dd6b2796e8128dbbcef9d3d168db9529971a36e7b9215820143329cce7868e416927599cf65a34f3ce2ffda55a7eca69ed8919a394d42f0f2001010202524173796d6d657472696345434453413235360326"))
	require.ErrorIs(t, err, ErrMalformed)
	require.ErrorContains(t, err, "private key")
}

// TestKeyECRFC9052 is a key of RFC 9052, C.7.1, with its y in full, and the same with the sign of y alone.
func TestKeyECRFC9052(t *testing.T) {
	const (
		x = "65eda5a12577c2bae829437fe338701a10aaa375e1bb5b5de108de439c08551d"
		y = "1e52ed75701163f7f9e40ddf9f341b3dc9ba860af7e0ca7ca7e9eecd0084d19c"
	)
	full, err := decodeKey(unhex(t, "a401022001215820"+x+"225820"+y))
	require.NoError(t, err)
	require.Equal(t, Key{Type: EC2, Curve: P256, X: unhex(t, x), Y: unhex(t, y)}, full)
	compressed, err := decodeKey(unhex(t, "a401022001215820"+x+"22f4"))
	require.NoError(t, err)
	require.Equal(t, full, compressed)

	pub, err := full.Public()
	require.NoError(t, err)
	require.Equal(t, elliptic.P256(), pub.(*ecdsa.PublicKey).Curve)
	back, err := PublicKey(pub)
	require.NoError(t, err)
	require.Equal(t, full, back)

	other, err := decodeKey(unhex(t, "a401022001215820"+x+"22f5"))
	require.NoError(t, err)
	require.NotEqual(t, full.Y, other.Y)
	b, err := other.MarshalCBOR()
	require.NoError(t, err)
	again, err := decodeKey(b)
	require.NoError(t, err)
	require.Equal(t, other, again, "a y in full is taken as it is")

	off := full
	off.Y = slices.Clone(full.Y)
	off.Y[0] ^= 1
	_, err = off.Public()
	require.ErrorIs(t, err, ErrKey)
}

func TestKeyEd25519(t *testing.T) {
	pub := ed25519.PublicKey(unhex(t, "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"))
	k, err := PublicKey(pub)
	require.NoError(t, err)
	k.ID, k.Ops, k.Alg = []byte{1}, []Operation{OpVerify}, EdDSA
	b, err := k.MarshalCBOR()
	require.NoError(t, err)
	require.Equal(t, "a601010241010327048102200621582003a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8", hex.EncodeToString(b))
	back, err := decodeKey(b)
	require.NoError(t, err)
	require.Equal(t, k, back)
	got, err := back.Public()
	require.NoError(t, err)
	require.Equal(t, pub, got)
	require.True(t, back.Allows(OpVerify))
	require.False(t, back.Allows(OpMACVerify))
	require.True(t, Key{}.Allows(OpMACVerify))
}

func TestKeyThatDoesNotFit(t *testing.T) {
	x, y := elliptic.P256().Params().Gx.Bytes(), elliptic.P256().Params().Gy.Bytes()
	point := Key{Type: EC2, Curve: P256, X: x, Y: y}
	_, err := point.Public()
	require.NoError(t, err)
	for name, k := range map[string]Key{
		"no type":            {},
		"symmetric":          Symmetric([]byte("secret")),
		"Ed25519, short":     {Type: OKP, Curve: CurveEd25519, X: make([]byte, 31)},
		"Ed25519 with ES256": {Type: OKP, Curve: CurveEd25519, X: make([]byte, 32), Alg: ES256},
		"P-256 with EdDSA":   {Type: EC2, Curve: P256, X: x, Y: y, Alg: EdDSA},
		"P-256, shifted":     {Type: EC2, Curve: P256, X: x[:31], Y: slices.Concat(x[31:], y)},
		"P-256, zero":        {Type: EC2, Curve: P256, X: make([]byte, 32), Y: make([]byte, 32)},
		"X25519":             {Type: OKP, Curve: 4, X: make([]byte, 32)},
		"OKP on P-256":       {Type: OKP, Curve: P256, X: x, Y: y},
		"EC2 on Ed25519":     {Type: EC2, Curve: CurveEd25519, X: make([]byte, 32)},
		"EC2 on no curve":    {Type: EC2, X: x, Y: y},
	} {
		_, err := k.Public()
		require.ErrorIs(t, err, ErrKey, name)
	}
	_, err = PublicKey("key")
	require.ErrorIs(t, err, ErrKey)
	_, err = PublicKey(ed25519.PublicKey{1})
	require.ErrorIs(t, err, ErrKey)
	for _, k := range []Key{{}, {Type: OKP}, {Type: EC2, X: x}, {Type: Octets}, {Type: 7, ID: x, X: x, Y: y, K: x}} {
		_, err = k.MarshalCBOR()
		require.ErrorIs(t, err, ErrKey)
	}
	b, err := Key{Type: Octets, ID: []byte{1}}.MarshalCBOR()
	require.NoError(t, err)
	require.Equal(t, "a20104024101", hex.EncodeToString(b), "a key that the recipient has already")
}

func TestKeyMalformed(t *testing.T) {
	for name, encoded := range map[string]string{
		"not a map":          "80",
		"no type":            "a0",
		"type is null":       "a101f6",
		"type is text":       "a1016161",
		"repeated label":     "a301040104204100",
		"indefinite":         "bf01042041aaff",
		"kid is text":        "a3010402616120" + "4100",
		"k is null":          "a2010420f6",
		"y is null":          "a401022001214100" + "22f6",
		"k is undefined":     "a2010420f7",
		"k is text":          "a20104206161",
		"ops is a number":    "a3010404012041aa",
		"op is a map":        "a301040481a02041aa",
		"private OKP":        "a4010120062141aa2341bb",
		"compressed, short":  "a401022001214100" + "22f5",
		"compressed, no x":   "a301022001" + "22f5",
		"compressed, unholy": "a401022001215820" + strings.Repeat("ff", 32) + "22f5",
	} {
		_, err := decodeKey(unhex(t, encoded))
		require.Error(t, err, name)
	}
	large, err := Symmetric(make([]byte, MaxSize)).MarshalCBOR()
	require.NoError(t, err)
	require.ErrorIs(t, new(Key).UnmarshalCBOR(large), ErrMalformed)
}

// TestKeyUnknownIsRead: a type that is not known, and labels that are not, are the caller's to judge.
func TestKeyUnknownIsRead(t *testing.T) {
	k, err := decodeKey(unhex(t, "a40107024101200118ff01"))
	require.NoError(t, err)
	require.Equal(t, Key{Type: 7, ID: []byte{1}}, k)
	k, err = decodeKey(unhex(t, "a30104048209637769702041aa"))
	require.NoError(t, err)
	require.True(t, k.Allows(OpMACCreate))
	require.False(t, k.Allows(OpMACVerify))
	k, err = decodeKey(unhex(t, "a3010404816269702041aa"))
	require.NoError(t, err)
	require.False(t, k.Allows(OpMACCreate), "a key for something else alone is for nothing here")
}

func TestKeyShowsNoSecret(t *testing.T) {
	k := Symmetric([]byte("verysecret"))
	k.ID = []byte("kid")
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("key", "key", k)
	ec, okp := Key{Type: EC2}, Key{Type: OKP}
	all := fmt.Sprintf("%v %s %+v %#v %v %v %v", k, k, k, k, ec, okp, Key{Type: 7}) + log.String()
	require.NotContains(t, all, "verysecret")
	require.NotContains(t, all, hex.EncodeToString([]byte("verysecret")))
	require.Contains(t, all, "redacted")
}

func FuzzKey(f *testing.F) {
	f.Add(unhex(f, "a42050231f4c4d4d3051fdc2ec0a3851d5b3830104024c53796d6d6574726963313238030a"))
	f.Add(unhex(f, "a40102200121582065eda5a12577c2bae829437fe338701a10aaa375e1bb5b5de108de439c08551d22f4"))
	f.Add(unhex(f, "a601010241010327048102200621582003a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := decodeKey(b)
		if err != nil {
			return
		}
		if _, err := k.Public(); err != nil {
			require.ErrorIs(t, err, ErrKey)
		}
		out, err := k.MarshalCBOR()
		if err != nil {
			require.ErrorIs(t, err, ErrKey)
			return
		}
		back, err := decodeKey(out)
		require.NoError(t, err)
		again, err := back.MarshalCBOR()
		require.NoError(t, err)
		require.Equal(t, out, again)
	})
}
