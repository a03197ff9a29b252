package ace

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestC2RequestInJSON has every byte of a request in application/ace+json (RFC 9200, figure 5; RFC 9431, 2.1).
func TestC2RequestInJSON(t *testing.T) {
	as := newHandAS(t)
	as.says(200, "application/ace+json", symmetricAnswer)
	cfg := as.config()
	cfg.Scope = exampleScope
	_, err := as.ask(t, cfg)
	require.NoError(t, err)
	asked := as.last(t)
	require.Equal(t, "application/ace+json", asked.header.Get("Content-Type"))
	require.Equal(t, `{"grant_type":"client_credentials","audience":"broker.example",`+
		`"scope":"W1sidG9waWMxIixbInB1YiIsInN1YiJdXSxbInRvcGljMi8jIixbInB1YiJdXSxbIisvdG9waWMzIixbInN1YiJdXV0",`+
		`"ace_profile":""}`, asked.body)
	require.Equal(t, "Basic c2Vuc29yLTE6czNjcmV0", asked.header.Get("Authorization"))
}

// TestC2RequestInCBOR has every byte of one in application/ace+cbor, by the labels of RFC 9200, table 5.
func TestC2RequestInCBOR(t *testing.T) {
	as := newHandAS(t)
	as.says(200, "application/ace+cbor", unhex("a4"+
		"01"+"4e"+hex.EncodeToString([]byte("ref-token-0001"))+ // access_token
		"02"+"190e10"+ // expires_in: 3600
		"08"+"a1"+"01"+"a3"+"0104"+"0241aa"+"205820"+"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"+ // cnf: COSE_Key
		"1826"+"03")) // ace_profile: mqtt_tls
	cfg := as.config()
	cfg.Encoding = CBOR
	cfg.Scope = exampleScope
	token, err := as.ask(t, cfg)
	require.NoError(t, err)
	asked := as.last(t)
	require.Equal(t, "application/ace+cbor", asked.header.Get("Content-Type"))
	require.Equal(t, "a4"+
		"05"+"6e"+hex.EncodeToString([]byte("broker.example"))+ // audience
		"09"+"5830"+"838266746f706963318263707562637375628268746f706963322f23816370756282682b2f746f706963338163737562"+ // scope
		"1821"+"02"+ // grant_type: client_credentials
		"1826"+"f6", // ace_profile: null
		hex.EncodeToString([]byte(asked.body)))
	require.Equal(t, "ref-token-0001", string(token.Raw))
	require.Equal(t, exampleScope, token.Scope, "not said: what was asked for")
	want, err := Secret(unhexBytes("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"))
	require.NoError(t, err)
	require.Equal(t, want, token.Key)
}

// TestC2RequestAsForm is OAuth's own encoding (RFC 6749, appendix B).
func TestC2RequestAsForm(t *testing.T) {
	as := newHandAS(t)
	as.says(200, "application/json;charset=UTF-8", `{"access_token":"t","expires_in":60,"ace_profile":"mqtt_tls"}`)
	cfg := as.config()
	cfg.Encoding = Form
	cfg.SecretInBody = true
	cfg.Signer = seedKey()
	_, err := as.ask(t, cfg)
	require.NoError(t, err)
	asked := as.last(t)
	require.Equal(t, "application/x-www-form-urlencoded", asked.header.Get("Content-Type"))
	form, err := url.ParseQuery(asked.body)
	require.NoError(t, err)
	require.Equal(t, url.Values{
		"grant_type": {"client_credentials"}, "client_id": {"sensor-1"}, "client_secret": {"s3cret"},
		"audience": {"broker.example"}, "ace_profile": {""},
		"req_cnf": {`{"jwk":{"kty":"OKP","alg":"EdDSA","crv":"Ed25519","x":"` + publicText + `"}}`},
	}, form)
	require.Empty(t, asked.header.Get("Authorization"))
}

// TestC3CNonceIsCopied, in each encoding.
func TestC3CNonceIsCopied(t *testing.T) {
	nonce := []byte{0xfe, 0xff, 0x01}
	for encoding, want := range map[Encoding]string{JSON: `"cnonce":"_v8B"`, Form: "cnonce=_v8B", CBOR: "\x18\x27\x43\xfe\xff\x01"} {
		as := newHandAS(t)
		cfg := as.config()
		cfg.CNonce, cfg.Encoding = nonce, encoding
		_, _ = as.ask(t, cfg)
		require.Contains(t, as.last(t).body, want)
	}
}

// TestC4PublicKeyIsSent, and never a secret one.
func TestC4PublicKeyIsSent(t *testing.T) {
	as := newHandAS(t)
	as.says(200, "application/ace+json", `{"access_token":"t","expires_in":60,"ace_profile":"mqtt_tls"}`)
	cfg := as.config()
	cfg.Signer = seedKey()
	token, err := as.ask(t, cfg)
	require.NoError(t, err)
	require.Contains(t, as.last(t).body, `"req_cnf":{"jwk":{"kty":"OKP","alg":"EdDSA","crv":"Ed25519","x":"`+publicText+`"}}`)
	require.NotContains(t, as.last(t).body, `"d"`)
	require.Equal(t, seedKey().Public(), token.Key.Verifier().Public())

	cfg.Encoding = CBOR
	_, _ = as.ask(t, cfg)
	require.Contains(t, as.last(t).body, string(unhexBytes("04a101a3"+"0101"+"2006"+"215820"+
		"03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8")), "req_cnf: COSE_Key OKP, Ed25519")

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	cfg.Signer, cfg.Encoding = key, JSON
	token, err = as.ask(t, cfg)
	require.NoError(t, err)
	require.Contains(t, as.last(t).body, `"req_cnf":{"jwk":{"kty":"EC","alg":"ES256","crv":"P-256","x":"`)
	require.True(t, key.PublicKey.Equal(token.Key.Verifier().Public()))
}

// TestC4SymmetricKeyIsNeverSent: nothing about a key in a first request, and its identifier in the next.
func TestC4SymmetricKeyIsNeverSent(t *testing.T) {
	hand := newHandAS(t)
	hand.says(200, "application/ace+json", symmetricAnswer)
	cfg := hand.config()
	cfg.KeepKey = true
	as, err := NewAS(cfg)
	require.NoError(t, err)
	first, err := as.Token(t.Context())
	require.NoError(t, err)
	require.NotContains(t, hand.last(t).body, "req_cnf")

	hand.says(200, "application/ace+json", `{"access_token":"t2","expires_in":60,"ace_profile":"mqtt_tls","cnf":{"kid":"k1"}}`)
	second, err := as.Token(t.Context())
	require.NoError(t, err)
	require.Contains(t, hand.last(t).body, `"req_cnf":{"kid":"k1"}`)
	require.NotContains(t, hand.last(t).body, secretText)
	require.Equal(t, first.Key, second.Key)

	hand.says(200, "application/ace+json", `{"access_token":"t2","expires_in":60,"ace_profile":"mqtt_tls","cnf":{"kid":"other"}}`)
	_, err = as.Token(t.Context())
	require.ErrorIs(t, err, ErrResponse)

	hand.says(400, "application/ace+json", `{"error":"unsupported_pop_key"}`)
	_, err = as.Token(t.Context())
	require.Error(t, err)
	hand.says(200, "application/ace+json", symmetricAnswer)
	_, err = as.Token(t.Context())
	require.NoError(t, err)
	require.NotContains(t, hand.last(t).body, "req_cnf", "the server has forgotten the key; a new one is asked for")
}

// TestC1ClientCertificate is mutual TLS (RFC 8705): the client names itself in the request.
func TestC1ClientCertificate(t *testing.T) {
	as := newHandAS(t)
	as.says(200, "application/ace+json", `{"access_token":"t","expires_in":60,"ace_profile":"mqtt_tls"}`)
	key := seedKey()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	cfg := as.config()
	cfg.ClientSecret = ""
	cfg.Signer = key
	cfg.TLS.Certificates = []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
	_, err = as.ask(t, cfg)
	require.NoError(t, err)
	asked := as.last(t)
	require.Contains(t, asked.body, `"client_id":"sensor-1"`)
	require.NotContains(t, asked.body, "client_secret")
	require.Len(t, asked.client, 1)
	require.Equal(t, key.Public(), asked.client[0].PublicKey)
}

// TestBasicIsEncoded: client identifier and secret are encoded as in a form first (RFC 6749, 2.3.1).
func TestBasicIsEncoded(t *testing.T) {
	as := newHandAS(t)
	cfg := as.config()
	cfg.ClientID, cfg.ClientSecret = "a:b", "ü /"
	_, _ = as.ask(t, cfg)
	require.Equal(t, "Basic YSUzQWI6JUMzJUJDKyUyRg==", as.last(t).header.Get("Authorization"))
}

// TestBearerRequest asks for a token without a key, in the server's own words for the scope.
func TestBearerRequest(t *testing.T) {
	as := newHandAS(t)
	as.says(200, "application/json", `{"access_token":"jwt","token_type":"bearer","expires_in":60,"scope":"mqtt read"}`)
	cfg := as.config()
	cfg.Bearer, cfg.OAuthScope, cfg.Encoding = true, "mqtt read", Form
	token, err := as.ask(t, cfg)
	require.NoError(t, err)
	require.Equal(t, "audience=broker.example&grant_type=client_credentials&scope=mqtt+read", as.last(t).body)
	require.Equal(t, "jwt", string(token.Raw))
	require.Zero(t, token.Key)
	require.Nil(t, token.Scope)

	cfg.Encoding = CBOR
	_, _ = as.ask(t, cfg)
	require.Equal(t, "\xa3\x05\x6ebroker.example\x09\x69mqtt read\x18\x21\x02", as.last(t).body)

	as.says(200, "application/json", `{"access_token":"jwt","token_type":"pop","expires_in":60}`)
	_, err = as.ask(t, cfg)
	require.ErrorIs(t, err, ErrResponse)
}

func unhexBytes(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func unhex(s string) string { return string(unhexBytes(s)) }
