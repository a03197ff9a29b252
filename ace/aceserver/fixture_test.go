package aceserver

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/require"
	gocose "github.com/veraison/go-cose"

	"github.com/mqttsec/mqttsec/ace/aceserver/store"
	"github.com/mqttsec/mqttsec/ace/internal/claims"
	"github.com/mqttsec/mqttsec/internal/cose"
	"github.com/mqttsec/mqttsec/internal/pop"
	"github.com/mqttsec/mqttsec/internal/strict"
)

const issuer = "https://as.example"

// fixture is a server behind real HTTPS with an audience of each kind.
type fixture struct {
	*Server
	t       testing.TB
	url     string
	http    *http.Client
	secrets map[string]string // by client or resource server
	shared  []byte            // the encryption key of all audiences
	signer  crypto.Signer
	broker  crypto.PublicKey
}

// all formats that a token may have, by the audience of the fixture that has it.
var formats = []string{"jwt", "cwt", "ref"}

func start(t testing.TB, change ...func(*fixture, *Config)) *fixture {
	t.Helper()
	f := &fixture{t: t, secrets: map[string]string{}, shared: random(32), signer: newEd25519(), broker: newP256().Public()}
	secret := func(id string) Credential {
		text, hash := NewSecret()
		f.secrets[id] = text
		return Credential{Secret: hash}
	}
	encryption := TokenKey{ID: "k-broker", Secret: f.shared}
	cfg := Config{
		Issuer: issuer,
		Store:  store.NewMemory(),
		Keys:   []SigningKey{{ID: "s1", Key: f.signer}},
		Audiences: []Audience{
			{Name: "jwt", Format: JWT, Encryption: encryption, Key: f.broker},
			{Name: "cwt", Format: CWT, Encryption: encryption, Key: f.broker},
			{Name: "ref", Format: Reference, Key: f.broker},
			{Name: "signed", Format: JWT},
			{Name: "group", Format: CWT, Encryption: encryption, Group: true},
			{Name: "noclock", Format: CWT, Encryption: encryption, NoClock: true, Lifetime: time.Hour},
		},
		Clients: []Client{{ID: "alice", Credential: secret("alice")}, {ID: "bob", Credential: secret("bob"), Group: "staff"}},
		ResourceServers: []ResourceServer{
			{ID: "rs", Credential: secret("rs"), Audiences: []string{"jwt", "cwt", "ref", "noclock", "signed"}},
			{ID: "elsewhere", Credential: secret("elsewhere"), Audiences: []string{"group"}},
		},
		Limits: Limits{Address: Rate{Interval: -1}, Client: Rate{Interval: -1}},
	}
	for _, a := range cfg.Audiences {
		cfg.Policies = append(cfg.Policies, Policy{
			Client:   AnyClient,
			Audience: a.Name,
			Scope:    Scope{{Filter: "site/{client_id}/#", Publish: true, Subscribe: true}, {Filter: "news/+", Subscribe: true}},
			Default:  Scope{{Filter: "news/today", Subscribe: true}},
		})
	}
	for _, c := range change {
		c(f, &cfg)
	}
	var err error
	f.Server, err = New(cfg)
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(f)
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	server.StartTLS()
	t.Cleanup(server.Close)
	f.url, f.http = server.URL, server.Client()
	return f
}

// with returns the fixture as seen by a client with a TLS certificate.
func (f *fixture) with(certificate tls.Certificate) *fixture {
	transport := f.http.Transport.(*http.Transport).Clone()
	transport.TLSClientConfig.Certificates = []tls.Certificate{certificate}
	f.t.Cleanup(transport.CloseIdleConnections)
	other := *f
	other.http = &http.Client{Transport: transport}
	return &other
}

// reply is an HTTP response that has been read.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (f *fixture) post(path, contentType string, body []byte, edit ...func(*http.Request)) reply {
	f.t.Helper()
	r, err := http.NewRequestWithContext(f.t.Context(), http.MethodPost, f.url+path, bytes.NewReader(body))
	require.NoError(f.t, err)
	r.Header.Set("Content-Type", contentType)
	for _, e := range edit {
		e(r)
	}
	return f.do(r)
}

func (f *fixture) get(path string) reply {
	f.t.Helper()
	r, err := http.NewRequestWithContext(f.t.Context(), http.MethodGet, f.url+path, nil)
	require.NoError(f.t, err)
	return f.do(r)
}

func (f *fixture) do(r *http.Request) reply {
	f.t.Helper()
	response, err := f.http.Do(r)
	require.NoError(f.t, err)
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	require.NoError(f.t, err)
	return reply{response.StatusCode, response.Header, body}
}

// basic authenticates a request with the secret of somebody in the fixture.
func (f *fixture) basic(id string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(url.QueryEscape(id), f.secrets[id]) }
}

func accept(mediaType string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Accept", mediaType) }
}

// object is JSON in tests.
type object = map[string]any

func (f *fixture) json(path string, members object, edit ...func(*http.Request)) reply {
	f.t.Helper()
	body, err := json.Marshal(members)
	require.NoError(f.t, err)
	return f.post(path, claims.TypeACEJSON, body, edit...)
}

func (f *fixture) cbor(path string, members map[int64]any, edit ...func(*http.Request)) reply {
	f.t.Helper()
	body, err := cose.Encoding.Marshal(members)
	require.NoError(f.t, err)
	return f.post(path, claims.TypeACECBOR, body, edit...)
}

// members reads a response in JSON.
func (r reply) members(t testing.TB, status int) object {
	t.Helper()
	require.Equal(t, status, r.status, "%s", r.body)
	var o object
	require.NoError(t, json.Unmarshal(r.body, &o))
	return o
}

// labels reads a response in CBOR.
func (r reply) labels(t testing.TB, status int) map[int64]any {
	t.Helper()
	require.Equal(t, status, r.status, "%x", r.body)
	require.Equal(t, claims.TypeACECBOR, r.header.Get("Content-Type"))
	var m map[int64]any
	require.NoError(t, cose.Decoding.Unmarshal(r.body, &m))
	return m
}

// refused checks that a response is an error, in JSON.
func (r reply) refused(t testing.TB, status int, code string) {
	t.Helper()
	o := r.members(t, status)
	require.Equal(t, code, o["error"], "%s", r.body)
	require.NotEmpty(t, o["error_description"])
	require.Equal(t, "no-store", r.header.Get("Cache-Control"))
}

// ask gets a token for alice and returns it as MQTT carries it, with the response.
func (f *fixture) ask(members object, edit ...func(*http.Request)) ([]byte, object) {
	f.t.Helper()
	o := f.json("/token", members, append([]func(*http.Request){f.basic("alice")}, edit...)...).members(f.t, http.StatusOK)
	text := o["access_token"].(string)
	if name := members["audience"]; name == "cwt" || name == "noclock" || name == "group" {
		token, err := strict.DecodeText(text)
		require.NoError(f.t, err)
		return token, o
	}
	return []byte(text), o
}

// open reads a token as the broker of the fixture would, with other code than what made it.
func (f *fixture) open(audience string, token []byte) claims.Set {
	f.t.Helper()
	switch audience {
	case "jwt":
		if bytes.Count(token, []byte(".")) == 2 {
			return f.openSigned(string(token))
		}
		nested, err := jwt.ParseSignedAndEncrypted(string(token), []jose.KeyAlgorithm{jose.DIRECT},
			[]jose.ContentEncryption{jose.A256GCM}, []jose.SignatureAlgorithm{jose.EdDSA})
		require.NoError(f.t, err)
		require.Equal(f.t, "k-broker", nested.Headers[0].KeyID)
		inner, err := nested.Decrypt(f.shared)
		require.NoError(f.t, err)
		require.Equal(f.t, "s1", inner.Headers[0].KeyID)
		var raw json.RawMessage
		require.NoError(f.t, inner.Claims(f.signer.Public(), &raw))
		return f.parse(raw)
	case "signed":
		return f.openSigned(string(token))
	case "ref":
		r := f.json("/introspect", object{"token": string(token)}, f.basic("rs"))
		i, err := claims.ParseIntrospectionJSON(r.body)
		require.NoError(f.t, err)
		require.True(f.t, i.Active)
		return i.Set
	}
	return f.openCWT(token)
}

func (f *fixture) parse(raw []byte) claims.Set {
	f.t.Helper()
	set, err := claims.ParseJSON(raw)
	require.NoError(f.t, err)
	return set
}

func (f *fixture) openSigned(token string) claims.Set {
	f.t.Helper()
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.EdDSA, jose.ES256})
	require.NoError(f.t, err)
	payload, err := signed.Verify(f.signer.Public())
	require.NoError(f.t, err)
	return f.parse(payload)
}

func (f *fixture) openCWT(token []byte) claims.Set {
	f.t.Helper()
	payload := []byte(nil)
	if message, err := cose.ParseEncrypt0(token); err == nil {
		require.Equal(f.t, "k-broker", string(message.KeyID()))
		payload, err = message.Open(cose.A256GCM, f.shared, nil)
		require.NoError(f.t, err)
	} else {
		var signed gocose.Sign1Message
		require.NoError(f.t, signed.UnmarshalCBOR(token))
		require.Equal(f.t, []byte("s1"), signed.Headers.Unprotected[gocose.HeaderLabelKeyID])
		algorithm := gocose.AlgorithmEdDSA
		if _, ok := f.signer.Public().(*ecdsa.PublicKey); ok {
			algorithm = gocose.AlgorithmES256
		}
		verifier, err := gocose.NewVerifier(algorithm, f.signer.Public())
		require.NoError(f.t, err)
		require.NoError(f.t, signed.Verify(nil, verifier))
		payload = signed.Payload
	}
	set, err := claims.ParseCBOR(payload)
	require.NoError(f.t, err)
	return set
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func newEd25519() crypto.Signer {
	_, key, _ := ed25519.GenerateKey(rand.Reader) // never fails
	return key
}

func newP256() crypto.Signer {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader) // never fails
	return key
}

// certify makes a certificate for a key: by itself, or by an authority. One for a name in "ca." is an authority, too.
func certify(t testing.TB, key crypto.Signer, name string, by *tls.Certificate) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber:          new(big.Int).SetBytes(random(8)),
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		DNSNames:              []string{name},
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  by == nil || strings.HasPrefix(name, "ca."),
	}
	parent, signer := template, crypto.PrivateKey(key)
	if by != nil {
		parent, signer = by.Leaf, by.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// jwkOf is a public key as req_cnf has it in JSON.
func jwkOf(t testing.TB, key crypto.PublicKey, id string) object {
	t.Helper()
	v, err := pop.PublicKey(key)
	require.NoError(t, err)
	b, err := claims.Confirmation{Key: v, ID: id}.JSON()
	require.NoError(t, err)
	var o object
	require.NoError(t, json.Unmarshal(b, &o))
	return o
}

func scopeText(t testing.TB, scope Scope) string {
	t.Helper()
	text, err := scope.Encode()
	require.NoError(t, err)
	return text
}
