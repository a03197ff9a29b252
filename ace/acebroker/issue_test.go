package acebroker

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"
	gocose "github.com/veraison/go-cose"

	"github.com/mqttsec/mqttsec/ace/internal/claims"
	"github.com/mqttsec/mqttsec/internal/aif"
	"github.com/mqttsec/mqttsec/internal/cose"
	"github.com/mqttsec/mqttsec/internal/pop"
)

// as is an Authorization Server of the tests' own, which makes tokens of every form, good ones and bad ones.
type as struct {
	t      testing.TB
	name   string
	ed     ed25519.PrivateKey
	ec     *ecdsa.PrivateKey
	secret []byte // for A256GCM
	short  []byte // for A128GCM and AES-CCM
}

func newAS(t testing.TB, name string) *as {
	t.Helper()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	a := &as{t: t, name: name, ed: ed, ec: ec, secret: make([]byte, 32), short: make([]byte, 16)}
	rand.Read(a.secret)
	rand.Read(a.short)
	return a
}

// keys are what a broker is given.
func (a *as) keys() StaticKeys {
	return StaticKeys{
		{ID: "ed", Algorithm: EdDSA, Key: a.ed.Public()},
		{ID: "ec", Algorithm: ES256, Key: a.ec.Public()},
		{ID: "s256", Algorithm: A256GCM, Key: a.secret},
		{ID: "s128", Algorithm: A128GCM, Key: a.short},
		{ID: "ccm", Algorithm: AESCCM16x64x128, Key: a.short},
	}
}

func everyAlgorithm() []Algorithm {
	return []Algorithm{EdDSA, ES256, A128GCM, A256GCM, AESCCM16x64x128}
}

// sign makes a JWS of a payload.
func (a *as) sign(payload []byte, algorithm Algorithm, header map[jose.HeaderKey]any) []byte {
	a.t.Helper()
	key, id := any(a.ed), "ed"
	if algorithm == ES256 {
		key, id = a.ec, "ec"
	}
	opts := &jose.SignerOptions{ExtraHeaders: map[jose.HeaderKey]any{"typ": "JWT"}}
	for name, value := range header {
		opts.ExtraHeaders[name] = value
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(algorithm), Key: jose.JSONWebKey{Key: key, KeyID: id}}, opts)
	require.NoError(a.t, err)
	jws, err := signer.Sign(payload)
	require.NoError(a.t, err)
	text, err := jws.CompactSerialize()
	require.NoError(a.t, err)
	return []byte(text)
}

// encrypt makes a JWE of a payload.
func (a *as) encrypt(payload []byte, header map[jose.HeaderKey]any) []byte {
	a.t.Helper()
	encrypter, err := jose.NewEncrypter(jose.A256GCM, jose.Recipient{Algorithm: jose.DIRECT, Key: a.secret, KeyID: "s256"},
		&jose.EncrypterOptions{ExtraHeaders: header})
	require.NoError(a.t, err)
	jwe, err := encrypter.Encrypt(payload)
	require.NoError(a.t, err)
	text, err := jwe.CompactSerialize()
	require.NoError(a.t, err)
	return []byte(text)
}

func (a *as) sign1(payload []byte, algorithm Algorithm) []byte {
	a.t.Helper()
	number, id := gocose.AlgorithmEdDSA, "ed"
	signer, err := gocose.NewSigner(gocose.AlgorithmEdDSA, a.ed)
	if algorithm == ES256 {
		number, id = gocose.AlgorithmES256, "ec"
		signer, err = gocose.NewSigner(gocose.AlgorithmES256, a.ec)
	}
	require.NoError(a.t, err)
	m, err := gocose.Sign1(rand.Reader, signer, gocose.Headers{
		Protected:   gocose.ProtectedHeader{gocose.HeaderLabelAlgorithm: number},
		Unprotected: gocose.UnprotectedHeader{gocose.HeaderLabelKeyID: []byte(id)},
	}, payload, nil)
	require.NoError(a.t, err)
	return m
}

func (a *as) encrypt0(payload []byte, algorithm Algorithm) []byte {
	a.t.Helper()
	key, id := a.secret, "s256"
	switch algorithm {
	case A128GCM:
		key, id = a.short, "s128"
	case AESCCM16x64x128:
		key, id = a.short, "ccm"
	}
	m, err := cose.Encrypt0(algorithm.cose(), key, []byte(id), nil, payload)
	require.NoError(a.t, err)
	return m
}

func jsonOf(t testing.TB, set claims.Set) []byte {
	t.Helper()
	b, err := set.JSON()
	require.NoError(t, err)
	return b
}

func cborOf(t testing.TB, set claims.Set) []byte {
	t.Helper()
	b, err := set.CBOR()
	require.NoError(t, err)
	return b
}

// encodings are all forms that a token comes in; secret ones may carry a symmetric key.
func (a *as) encodings() map[string]struct {
	secret bool
	make   func(claims.Set) []byte
} {
	tag := func(number uint64, content []byte) []byte {
		b, err := cbor.Marshal(cbor.RawTag{Number: number, Content: content})
		require.NoError(a.t, err)
		return b
	}
	text := func(b []byte) []byte { return base64.RawURLEncoding.AppendEncode(nil, b) }
	type form = struct {
		secret bool
		make   func(claims.Set) []byte
	}
	return map[string]form{
		"JWS EdDSA": {false, func(s claims.Set) []byte { return a.sign(jsonOf(a.t, s), EdDSA, nil) }},
		"JWS ES256": {false, func(s claims.Set) []byte { return a.sign(jsonOf(a.t, s), ES256, nil) }},
		"JWE":       {true, func(s claims.Set) []byte { return a.encrypt(jsonOf(a.t, s), nil) }},
		"JWS in JWE": {true, func(s claims.Set) []byte {
			return a.encrypt(a.sign(jsonOf(a.t, s), EdDSA, nil), map[jose.HeaderKey]any{"cty": "JWT"})
		}},
		"Sign1 EdDSA":       {false, func(s claims.Set) []byte { return a.sign1(cborOf(a.t, s), EdDSA) }},
		"Sign1 ES256":       {false, func(s claims.Set) []byte { return a.sign1(cborOf(a.t, s), ES256) }},
		"Sign1, CWT tag":    {false, func(s claims.Set) []byte { return tag(61, a.sign1(cborOf(a.t, s), EdDSA)) }},
		"Sign1, text":       {false, func(s claims.Set) []byte { return text(a.sign1(cborOf(a.t, s), EdDSA)) }},
		"Encrypt0 A256GCM":  {true, func(s claims.Set) []byte { return a.encrypt0(cborOf(a.t, s), A256GCM) }},
		"Encrypt0 A128GCM":  {true, func(s claims.Set) []byte { return a.encrypt0(cborOf(a.t, s), A128GCM) }},
		"Encrypt0 AES-CCM":  {true, func(s claims.Set) []byte { return a.encrypt0(cborOf(a.t, s), AESCCM16x64x128) }},
		"Encrypt0, text":    {true, func(s claims.Set) []byte { return text(tag(61, a.encrypt0(cborOf(a.t, s), A256GCM))) }},
		"Sign1 in Encrypt0": {true, func(s claims.Set) []byte { return a.encrypt0(a.sign1(cborOf(a.t, s), ES256), A256GCM) }},
	}
}

// claimSet is one that is valid at base for an hour.
func (a *as) claimSet(key pop.Verifier) claims.Set {
	return claims.Set{
		Issuer: a.name, Subject: "alice", Audience: []string{"broker"}, Expires: base.Add(time.Hour), IssuedAt: base, ID: "token-1",
		Scope:   aif.Scope{{Filter: "a/#", Publish: true, Subscribe: true}, {Filter: "s", Subscribe: true}},
		Profile: pop.Profile, Confirmation: claims.Confirmation{Key: key, ID: "key-1"},
	}
}

// base is when the tests take place.
var base = time.Unix(1_800_000_000, 0)

// holder is a client's key.
func holder(t testing.TB, algorithm pop.Algorithm) pop.Prover {
	t.Helper()
	var p pop.Prover
	var err error
	switch algorithm {
	case pop.HS256:
		secret := make([]byte, 32)
		rand.Read(secret)
		p, err = pop.Secret(secret)
	case pop.EdDSA:
		_, key, e := ed25519.GenerateKey(rand.Reader)
		require.NoError(t, e)
		p, err = pop.Signer(key)
	case pop.ES256:
		key, e := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, e)
		p, err = pop.Signer(key)
	}
	require.NoError(t, err)
	return p
}
