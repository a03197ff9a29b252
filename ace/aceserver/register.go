package aceserver

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mqttsec/mqttsec/ace/aceserver/store"
	"github.com/mqttsec/mqttsec/ace/internal/claims"
	"github.com/mqttsec/mqttsec/internal/pop"
	"github.com/mqttsec/mqttsec/internal/strict"
)

// Invitation lets clients register.
type Invitation struct {
	// Group is what the clients are put into, for policies to name. Empty puts them into none.
	Group string
	// Uses is how many clients may register with it. 0 means one.
	Uses int
	// Lifetime is how long it is valid. 0 means one hour.
	Lifetime time.Duration
}

const inviteLifetime = time.Hour

// Invite returns an initial access token (RFC 7591, section 3) with which clients can register. It is a secret: who
// has it becomes a client.
func (s *Server) Invite(ctx context.Context, invitation Invitation) (token string, err error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if invitation.Uses < 0 || invitation.Lifetime < 0 {
		return "", errors.New("aceserver: an invitation with less than no uses or no time")
	}
	if invitation.Uses == 0 {
		invitation.Uses = 1
	}
	if invitation.Lifetime == 0 {
		invitation.Lifetime = inviteLifetime
	}
	token = randomText(referenceSize)
	expires := s.now().Add(invitation.Lifetime)
	record := inviteRecord{Group: invitation.Group, Uses: invitation.Uses, Expires: expires.Unix()}
	err = s.store.Update(func(tx store.Tx) error {
		return saveUntil(tx, bucketInvites, hashOf([]byte(token)), record, expires)
	})
	return token, err
}

// metadata is what a client says about itself (RFC 7591, section 2). Members that are not here are passed over.
type clientMetadata struct {
	Name       string          `json:"client_name,omitempty"`
	Method     string          `json:"token_endpoint_auth_method"`
	GrantTypes []string        `json:"grant_types"`
	JWKS       json.RawMessage `json:"jwks,omitempty"`
	DNSName    string          `json:"tls_client_auth_san_dns,omitempty"`
}

// registered is the answer to a registration (RFC 7591, section 3.2.1).
type registered struct {
	ID            string `json:"client_id"`
	Secret        string `json:"client_secret,omitempty"`
	SecretExpires *int   `json:"client_secret_expires_at,omitempty"` // 0: never
	Issued        int64  `json:"client_id_issued_at"`
	clientMetadata
}

const (
	clientIDSize = 12  // random bytes before base64url
	maxName      = 200 // bytes
	maxKeys      = 8   // keys of one client
)

// serveRegister is the client registration endpoint (RFC 7591). A key in jwks must be that of the TLS client
// certificate of the connection: who could register another's key could have tokens issued that displace the other's
// (RFC 9201, section 3.1). RFC 7591 has no other proof.
func (s *Server) serveRegister(x *exchange) (int, []byte, error) {
	x.answer = plainJSON
	scheme, invite, _ := strings.Cut(x.r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || invite == "" {
		return 0, nil, refuse(invalidToken, "registering takes an initial access token")
	}
	if x.request != plainJSON && x.request != aceJSON {
		return 0, nil, &refusal{http.StatusUnsupportedMediaType, invalidMetadata, "a registration is JSON"}
	}
	// Whoever has no valid token learns nothing about what is wrong with the rest, and keeps nobody from writing.
	err := s.store.View(func(tx store.Tx) error {
		_, err := valid(tx, invite, x.now)
		return err
	})
	if err != nil {
		return 0, nil, err
	}
	m, record, err := parseRegistration(x.body, peerCertificates(x.r))
	if err != nil {
		return 0, nil, err
	}
	answer := registered{ID: randomText(clientIDSize), Issued: x.now.Unix(), clientMetadata: m}
	if m.Method == methodBasic || m.Method == methodPost {
		answer.Secret, record.Secret = NewSecret()
		answer.SecretExpires = new(int)
	}
	record.Registered = answer.Issued
	err = s.store.Update(func(tx store.Tx) error { // the token is used up and the client there, or neither
		invitation, err := valid(tx, invite, x.now)
		if err != nil {
			return err
		}
		if err := use(tx, invite, invitation); err != nil {
			return err
		}
		record.Group = invitation.Group
		return save(tx, bucketClients, answer.ID, record)
	})
	if err != nil {
		return 0, nil, err
	}
	x.who = answer.ID
	s.log.InfoContext(x.r.Context(), "client registered", "client", answer.ID, "from", x.from, "name", m.Name, "method", m.Method,
		"group", record.Group)
	body, err := json.Marshal(answer)
	return http.StatusCreated, body, err
}

// valid finds an initial access token that can still be used.
func valid(tx store.Tx, invite string, now time.Time) (inviteRecord, error) {
	var record inviteRecord
	found, err := load(tx, bucketInvites, hashOf([]byte(invite)), &record)
	if err == nil && (!found || record.Uses < 1 || record.Expires <= now.Unix()) {
		err = refuse(invalidToken, "the initial access token is unknown, used up or expired")
	}
	return record, err
}

// use takes one use off an initial access token.
func use(tx store.Tx, invite string, record inviteRecord) error {
	hash := hashOf([]byte(invite))
	if record.Uses--; record.Uses == 0 {
		return tx.Delete(bucketInvites, hash)
	}
	return save(tx, bucketInvites, hash, record)
}

// parseRegistration reads and checks the metadata of a client that has come with a chain of certificates, and returns
// it as it will be registered.
func parseRegistration(body []byte, chain []*x509.Certificate) (m clientMetadata, record clientRecord, err error) {
	refused := func(description string) (clientMetadata, clientRecord, error) {
		return clientMetadata{}, clientRecord{}, refuse(invalidMetadata, "%s", description)
	}
	o, err := claims.ParseObject(body)
	if err != nil {
		return refused("not a JSON object")
	}
	if err := o.Into(&m); err != nil {
		return refused("a member is of another type than RFC 7591 says")
	}
	if m.Method == "" {
		m.Method = methodBasic
	}
	if m.GrantTypes == nil {
		m.GrantTypes = []string{"client_credentials"}
	}
	if !slices.Equal(m.GrantTypes, []string{"client_credentials"}) {
		return refused("the only grant type here is client_credentials")
	}
	if len(m.Name) > maxName || !utf8.ValidString(m.Name) {
		return refused("the client_name is too long")
	}
	record = clientRecord{Name: m.Name}
	keys, certificate, err := parseKeys(m.JWKS)
	if err != nil {
		return refused("jwks: " + err.Error())
	}
	for _, key := range keys {
		if len(chain) == 0 || !sameKey(key, chain[0].PublicKey) {
			return refused("jwks: only the key of the TLS client certificate that the registration comes with can be registered")
		}
	}
	if record.Keys, err = encodeKeys(keys); err != nil {
		return refused("jwks: a key that tokens cannot be bound to")
	}
	switch m.Method {
	case methodBasic, methodPost:
	case methodTLS:
		if m.DNSName == "" || len(m.DNSName) > 253 {
			return refused("tls_client_auth takes tls_client_auth_san_dns")
		}
		record.DNSName = m.DNSName
	case methodSelfSigned:
		if certificate == nil {
			return refused("self_signed_tls_client_auth takes a certificate in x5c of a key in jwks (RFC 8705, section 2.2.2)")
		}
		record.Certificate = certificate
	default:
		return refused("unknown token_endpoint_auth_method")
	}
	return m, record, nil
}

// parseKeys reads a JWK Set: public keys that tokens may be bound to, and the hash of the one certificate among them.
func parseKeys(raw json.RawMessage) (keys []crypto.PublicKey, certificate []byte, err error) {
	if raw == nil {
		return nil, nil, nil
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := strict.Unmarshal(raw, &set); err != nil || len(set.Keys) == 0 || len(set.Keys) > maxKeys {
		return nil, nil, errors.New("not a JWK Set of 1 to 8 keys")
	}
	for _, raw := range set.Keys {
		jwk, err := pop.ParseJWK(raw)
		if err != nil || jwk.Public == nil {
			return nil, nil, errors.New("a key is not a public one of a kind that is known here")
		}
		keys = append(keys, jwk.Public)
		sum, err := certificateOf(raw, jwk.Public)
		if err != nil {
			return nil, nil, err
		}
		if sum != nil && certificate != nil {
			return nil, nil, errors.New("more than one certificate")
		}
		if sum != nil {
			certificate = sum
		}
	}
	return keys, certificate, nil
}

// certificateOf returns the hash of the first certificate in "x5c" of a JWK (RFC 7517, section 4.7), nil if there is
// none.
func certificateOf(raw json.RawMessage, key crypto.PublicKey) ([]byte, error) {
	var jwk struct {
		X5C []string `json:"x5c"`
	}
	if err := strict.Unmarshal(raw, &jwk); err != nil || len(jwk.X5C) == 0 {
		return nil, nil
	}
	der, err := base64.StdEncoding.DecodeString(jwk.X5C[0])
	if err != nil {
		return nil, errors.New("x5c is not base64")
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, errors.New("x5c is not a certificate")
	}
	if !sameKey(key, certificate.PublicKey) {
		return nil, errors.New("the certificate in x5c has another key")
	}
	sum := sha256.Sum256(der)
	return sum[:], nil
}
