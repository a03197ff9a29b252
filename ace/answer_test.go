package ace

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestC6Answer is one that has all that it may have.
func TestC6Answer(t *testing.T) {
	as := newHandAS(t)
	for _, kind := range []string{"pop", "PoP", "POP"} {
		as.says(200, "application/ace+json", strings.Replace(symmetricAnswer, `"pop"`, `"`+kind+`"`, 1))
		before := time.Now()
		token, err := as.ask(t, as.config())
		require.NoError(t, err)
		require.Equal(t, "ref-token-0001", string(token.Raw))
		require.Equal(t, exampleScope, token.Scope)
		require.WithinRange(t, token.Expires, before.Add(time.Hour).Add(-time.Second), time.Now().Add(time.Hour))
		require.WithinRange(t, token.Obtained, before.Add(-time.Second), time.Now())
		require.True(t, token.Key.Verifier().Symmetric())
	}
}

// TestC6LifetimeMustBeKnown: expires_in, or what the configuration assumes.
func TestC6LifetimeMustBeKnown(t *testing.T) {
	as := newHandAS(t)
	as.says(200, "application/ace+json", strings.Replace(symmetricAnswer, `"expires_in":3600,`, "", 1))
	_, err := as.ask(t, as.config())
	require.ErrorIs(t, err, ErrResponse)
	cfg := as.config()
	cfg.Lifetime = time.Minute
	token, err := as.ask(t, cfg)
	require.NoError(t, err)
	require.Equal(t, time.Minute, token.Expires.Sub(token.Obtained))
}

// answersRefused are answers in JSON that must not be used, by what is wrong.
var answersRefused = map[string]string{
	"C-7 profile of another":    strings.Replace(symmetricAnswer, "mqtt_tls", "coap_dtls", 1),
	"C-7 no profile":            strings.Replace(symmetricAnswer, `"ace_profile":"mqtt_tls",`, "", 1),
	"C-7 bearer":                strings.Replace(symmetricAnswer, `"pop"`, `"Bearer"`, 1),
	"C-8 no key":                `{"access_token":"t","expires_in":60,"ace_profile":"mqtt_tls"}`,
	"C-8 key to encrypt":        strings.Replace(symmetricAnswer, `"HS256"`, `"A256GCM"`, 1),
	"C-8 short key":             strings.Replace(symmetricAnswer, secretText, "AAEC", 1),
	"C-8 only a kid":            `{"access_token":"t","expires_in":60,"ace_profile":"mqtt_tls","cnf":{"kid":"k1"}}`,
	"C-8 encrypted key":         `{"access_token":"t","expires_in":60,"ace_profile":"mqtt_tls","cnf":{"jwe":"e30...."}}`,
	"C-8 public key of another": `{"access_token":"t","expires_in":60,"ace_profile":"mqtt_tls","cnf":{"jwk":{"kty":"OKP","crv":"Ed25519","x":"` + publicText + `"}}}`,
	"C-9 rs_cnf and symmetric":  strings.Replace(symmetricAnswer, `"cnf"`, `"rs_cnf":{"x5t#S256":"`+secretText+`"},"cnf"`, 1),
	"C-9 rs_cnf unknown":        `{"access_token":"t","expires_in":60,"ace_profile":"mqtt_tls","rs_cnf":{"jku":"https://x"}}`,
	"C-9 rs_cnf short":          `{"access_token":"t","expires_in":60,"ace_profile":"mqtt_tls","rs_cnf":{"x5t#S256":"AAEC"}}`,
	"C-9 rs_cnf secret":         `{"access_token":"t","expires_in":60,"ace_profile":"mqtt_tls","rs_cnf":{"jwk":{"kty":"oct","k":"` + secretText + `"}}}`,
	"no token":                  strings.Replace(symmetricAnswer, "ref-token-0001", "", 1),
	"token is a number":         strings.Replace(symmetricAnswer, `"ref-token-0001"`, "1", 1),
	"expired":                   strings.Replace(symmetricAnswer, "3600", "0", 1),
	"negative lifetime":         strings.Replace(symmetricAnswer, "3600", "-1", 1),
	"endless":                   strings.Replace(symmetricAnswer, "3600", "9223372036854775807", 1),
	"lifetime overflows":        strings.Replace(symmetricAnswer, "3600", "9223372036854775808", 1),
	"scope in plain text":       strings.Replace(symmetricAnswer, "W1si", "read ", 1),
	"token of another case":     strings.Replace(symmetricAnswer, `"access_token"`, `"Access_Token"`, 1),
	"two tokens":                strings.Replace(symmetricAnswer, `{`, `{"access_token":"another",`, 1),
	"two keys":                  strings.Replace(symmetricAnswer, `"cnf"`, `"cnf":{"kid":"k2"},"cnf"`, 1),
	"two keys in one":           strings.Replace(symmetricAnswer, `{"jwk"`, `{"jwk":{"kty":"oct"},"jwk"`, 1),
	"key of another case":       strings.Replace(symmetricAnswer, `{"jwk"`, `{"JWK"`, 1),
	"two secrets":               strings.Replace(symmetricAnswer, `"k":`, `"k":"`+publicText+`","k":`, 1),
	"secret of another case":    strings.Replace(symmetricAnswer, `"k":`, `"K":`, 1),
	"array":                     "[]",
	"cut":                       symmetricAnswer[:100],
	"empty":                     "",
	"more behind it":            symmetricAnswer + "{}",
}

// TestAnswerNamesAreCaseSensitive: what another reader of the same answer passes over counts for nothing.
func TestAnswerNamesAreCaseSensitive(t *testing.T) {
	as := newHandAS(t)
	as.says(200, "application/ace+json", strings.TrimSuffix(symmetricAnswer, "}")+`,"ACCESS_TOKEN":"another","Expires_In":1,"Error":"x",`+
		`"Ace_Profile":"coap_dtls","CNF":{"kid":"k2"},"RS_CNF":{"x5t#S256":"AAEC"}}`)
	token, err := as.ask(t, as.config())
	require.NoError(t, err)
	require.Equal(t, "ref-token-0001", string(token.Raw))
	require.Equal(t, "k1", token.KeyID)
	require.Equal(t, time.Hour, token.Expires.Sub(token.Obtained))
	require.Nil(t, token.Broker)
}

func TestAnswersThatMustNotBeUsed(t *testing.T) {
	as := newHandAS(t)
	for name, body := range answersRefused {
		as.says(200, "application/ace+json", body)
		cfg := as.config()
		if strings.Contains(name, "C-9") && !strings.Contains(name, "symmetric") {
			cfg.Signer = seedKey()
		}
		_, err := as.ask(t, cfg)
		require.ErrorIs(t, err, ErrResponse, name)
		require.NotContains(t, err.Error(), secretText, name)
		require.NotContains(t, err.Error(), "ref-token", name)
	}
}

// TestC8OwnKeyAndNoOther: with a key of the client's own, a token bound to any other is refused.
func TestC8OwnKeyAndNoOther(t *testing.T) {
	as := newHandAS(t)
	cfg := as.config()
	cfg.Signer = seedKey()
	for cnf, ok := range map[string]bool{
		`{"jwk":{"kty":"OKP","crv":"Ed25519","x":"` + publicText + `"}}`: true,
		`{"kid":"any"}`: true,
		`{"jwk":{"kty":"OKP","crv":"Ed25519","x":"` + secretText + `"}}`: false,
		`{"jwk":{"kty":"oct","k":"` + secretText + `"}}`:                 false,
	} {
		as.says(200, "application/ace+json", `{"access_token":"t","expires_in":60,"ace_profile":"mqtt_tls","cnf":`+cnf+`}`)
		_, err := as.ask(t, cfg)
		if ok {
			require.NoError(t, err, cnf)
		} else {
			require.ErrorIs(t, err, ErrResponse, cnf)
		}
	}
}

// TestC8OwnKeyInCBOR is the same in CBOR: COSE_Key of the client's public key, and of another.
func TestC8OwnKeyInCBOR(t *testing.T) {
	as := newHandAS(t)
	cfg := as.config()
	cfg.Signer, cfg.Encoding = seedKey(), CBOR
	for cnf, ok := range map[string]bool{
		"a101a3" + "0101" + "2006" + "215820" + "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8": true,
		"a103" + "41aa": true,
		"a101a3" + "0101" + "2006" + "215820" + "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f": false,
		"a101a3" + "0101" + "2004" + "215820" + "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8": false, // X25519
		"a1" + "0480": false,
	} {
		as.says(200, "application/ace+cbor", unhex("a4"+"014174"+"02183c"+"08"+cnf+"182603"))
		_, err := as.ask(t, cfg)
		if ok {
			require.NoError(t, err, cnf)
		} else {
			require.ErrorIs(t, err, ErrResponse, cnf)
		}
	}
}

// TestAnswersInCBORThatMustNotBeUsed, by the labels of RFC 9200, table 5.
func TestAnswersInCBORThatMustNotBeUsed(t *testing.T) {
	const (
		token   = "014174"
		expires = "02183c"
		cnf     = "08a101a2010420" + "50000102030405060708090a0b0c0d0e0f"
		profile = "182603"
	)
	as := newHandAS(t)
	cfg := as.config()
	cfg.Encoding = CBOR
	for body, ok := range map[string]bool{
		"a4" + token + expires + cnf + profile:                                                           true,
		"a5" + token + expires + cnf + "182202" + profile:                                                true,
		"a5" + token + expires + cnf + "0941" + "80" + profile:                                           true,
		"a5" + token + expires + cnf + "0963" + "573130" + profile:                                       true,
		"a5" + token + expires + cnf + "0941" + "a0" + profile:                                           false,
		"a5" + token + expires + cnf + "182201" + profile:                                                false, // Bearer
		"a5" + token + expires + cnf + "182209" + profile:                                                false,
		"a4" + token + expires + cnf + "182601":                                                          false, // coap_dtls
		"a3" + token + expires + cnf:                                                                     false,
		"a3" + token + expires + profile:                                                                 false,
		"a4" + token + expires + "08a10341aa" + profile:                                                  false, // kid alone
		"a4" + token + expires + "08a101a30104030120" + "50000102030405060708090a0b0c0d0e0f" + profile:   false, // for A128GCM
		"a4" + token + expires + "08a101a3010404810320" + "50000102030405060708090a0b0c0d0e0f" + profile: false, // to encrypt
		"a4" + "0174" + expires + cnf + profile:                                                          false,
		"a5" + token + expires + cnf + profile + "1829a10341aa":                                          false, // rs_cnf
		"a4" + token + "01" + "4174" + expires + cnf:                                                     false, // twice
		"80": false,
		"":   false,
	} {
		as.says(200, "application/ace+cbor", unhex(body))
		_, err := as.ask(t, cfg)
		if ok {
			require.NoError(t, err, body)
		} else {
			require.ErrorIs(t, err, ErrResponse, body)
		}
	}
}

// TestErrorsOfTheServer come typed, in both encodings (RFC 9200, 5.8.3).
func TestErrorsOfTheServer(t *testing.T) {
	as := newHandAS(t)
	for _, tc := range []struct {
		status      int
		contentType string
		body        string
		want        ASError
	}{
		{400, "application/ace+json", `{"error":"unsupported_pop_key","error_description":"no such\nkey","error_uri":"https://as/e"}`, ASError{400, "unsupported_pop_key", "no such key", "https://as/e"}},
		{401, "application/json", `{"error":"invalid_client"}`, ASError{401, "invalid_client", "", ""}},
		{200, "application/json", `{"error":"invalid_scope","access_token":"t"}`, ASError{200, "invalid_scope", "", ""}},
		{400, "application/ace+cbor", unhex("a2181e08" + "181f" + "626e6f"), ASError{400, "incompatible_ace_profiles", "no", ""}},
		{400, "application/ace+cbor", unhex("a1181e1863"), ASError{400, "error 99", "", ""}},
		{503, "text/html", `<h1>busy</h1>`, ASError{503, "", "", ""}},
		{500, "application/json", `{`, ASError{500, "", "", ""}},
		{204, "application/ace+json", ``, ASError{204, "", "", ""}},
		{201, "application/ace+json", symmetricAnswer, ASError{201, "", "", ""}},
	} {
		as.says(tc.status, tc.contentType, tc.body)
		_, err := as.ask(t, as.config())
		var refused *ASError
		require.ErrorAs(t, err, &refused, tc.body)
		require.Equal(t, tc.want, *refused)
		require.NotEmpty(t, err.Error())
	}
	as.says(400, "application/json", `{"error":"invalid_request","error_description":"`+strings.Repeat("ä", 600)+`\u0007"}`)
	_, err := as.ask(t, as.config())
	require.Less(t, len(err.Error()), 700)
	require.NotContains(t, err.Error(), "\ufffd")
}

// TestC9BrokerKeyIsRead, in both forms.
func TestC9BrokerKeyIsRead(t *testing.T) {
	as := newHandAS(t)
	cfg := as.config()
	cfg.Signer = seedKey()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	point, err := key.PublicKey.Bytes()
	require.NoError(t, err)
	for encoding, body := range map[Encoding]string{
		JSON: `{"access_token":"t","expires_in":60,"ace_profile":"mqtt_tls","rs_cnf":{"jwk":{"kty":"EC","crv":"P-256","x":"` + b64(point[1:33]) + `","y":"` + b64(point[33:]) + `"}}}`,
		CBOR: unhex("a4"+"014174"+"02183c"+"182603"+"1829"+"a101a4"+"0102"+"2001") + "\x21\x58\x20" + string(point[1:33]) + "\x22\x58\x20" + string(point[33:]),
	} {
		cfg.Encoding = encoding
		as.says(200, map[Encoding]string{JSON: typeJSON, CBOR: typeCBOR}[encoding], body)
		token, err := as.ask(t, cfg)
		require.NoError(t, err)
		require.NotNil(t, token.Broker)
		require.True(t, key.PublicKey.Equal(token.Broker.public))
	}
}

func TestRedirectIsRefused(t *testing.T) {
	as := newHandAS(t)
	other := newHandAS(t)
	as.header = map[string][]string{"Location": {other.URL + "/token"}}
	for _, status := range []int{302, 307, 308} {
		as.says(status, "application/ace+json", symmetricAnswer)
		_, err := as.ask(t, as.config())
		require.ErrorIs(t, err, ErrResponse)
		require.ErrorContains(t, err, "redirects")
	}
	require.Empty(t, other.asked)
}

// TestServerWithOldTLS: nothing is sent below TLS 1.2, also with a tls.Config that was made for something older.
func TestServerWithOldTLS(t *testing.T) {
	s := newHandAS(t)
	old := httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	old.Config.ErrorLog = log.New(io.Discard, "", 0)
	old.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	old.StartTLS()
	defer old.Close()
	cfg := s.config()
	cfg.Endpoint = old.URL + "/token"
	cfg.TLS.MinVersion = tls.VersionTLS10
	cfg.TLS.RootCAs = x509.NewCertPool()
	cfg.TLS.RootCAs.AddCert(old.Certificate())
	_, err := s.ask(t, cfg)
	require.ErrorIs(t, err, ErrUnreachable)
	require.ErrorContains(t, err, "version")
	require.Empty(t, s.asked)
}

func TestLongAnswerIsRefused(t *testing.T) {
	as := newHandAS(t)
	as.says(200, "application/ace+json", strings.Replace(symmetricAnswer, "ref-token", strings.Repeat("A", maxResponse), 1))
	_, err := as.ask(t, as.config())
	require.ErrorIs(t, err, ErrResponse)
}

// FuzzAnswer: whatever a server says, a token that comes of it is usable.
func FuzzAnswer(f *testing.F) {
	f.Add(200, true, []byte(symmetricAnswer))
	f.Add(400, true, []byte(`{"error":"invalid_scope","error_description":"no"}`))
	f.Add(200, false, unhexBytes("a4014174"+"02183c"+"08a101a2010420"+"50000102030405060708090a0b0c0d0e0f"+"182603"))
	f.Add(400, false, unhexBytes("a2181e08181f626e6f"))
	f.Add(200, true, []byte(`{"access_token":"t","expires_in":60,"ace_profile":"mqtt_tls","rs_cnf":{"x5t#S256":"`+secretText+`"}}`))
	own, err := Signer(seedKey())
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, status int, text bool, body []byte) {
		contentType := typeCBOR
		if text {
			contentType = typeJSON
		}
		a, err := parseAnswer(status, contentType, body)
		var refused *ASError
		if err != nil {
			require.True(t, errors.As(err, &refused) || errors.Is(err, ErrResponse), fmt.Sprint(err))
			return
		}
		for _, key := range []ProofKey{{}, own} {
			token, err := a.token(&ASConfig{}, key, ProofKey{})
			if err != nil {
				require.ErrorIs(t, err, ErrResponse)
				continue
			}
			require.NotEmpty(t, token.Raw)
			_, err = token.Key.Prove([]byte("input"))
			require.NoError(t, err)
			require.NoError(t, token.Scope.Validate())
			require.Positive(t, a.lifetime)
		}
	})
}
