package aceserver

import (
	"crypto"
	"crypto/rand"
	"crypto/subtle"
	"net/http"
	"slices"
	"time"

	"github.com/mqttsec/mqttsec/ace/aceserver/store"
	"github.com/mqttsec/mqttsec/ace/internal/claims"
	"github.com/mqttsec/mqttsec/internal/pop"
)

const (
	secretSize = 32 // of a symmetric key, in bytes: what HS256 takes (RFC 7518, section 3.2)
	keyIDSize  = 8  // of its identifier, random bytes before base64url
	maxKeyID   = 64 // of one that a client gives its own key
)

// proofKey decides which key a token is bound to (RFC 9200, section 5.8.1; RFC 9201, section 3.1).
func (s *Server) proofKey(tx store.Tx, r *http.Request, client Client, audience *Audience, asked claims.Confirmation) (claims.Confirmation, error) {
	switch {
	case asked.IsZero():
		return freshKey(audience)
	case asked.Encrypted != nil:
		return claims.Confirmation{}, refuse(unsupportedPopKey, "an encrypted key in req_cnf is not supported")
	case asked.Key.Symmetric():
		return claims.Confirmation{}, refuse(unsupportedPopKey, "symmetric keys are generated here, a client must not send one (RFC 9201, section 3.1)")
	case asked.Key.Algorithm() == "":
		return s.knownKey(tx, client, audience, asked.ID)
	}
	if !slices.Contains(audience.Algorithms, asked.Key.Algorithm()) {
		return claims.Confirmation{}, refuse(unsupportedPopKey, "this audience does not take keys for %s", asked.Key.Algorithm())
	}
	if !validKeyID(asked.ID) {
		return claims.Confirmation{}, refuse(invalidRequest, "a key identifier is printable ASCII of up to %d characters", maxKeyID)
	}
	if !proven(r, client, asked.Key) {
		return claims.Confirmation{}, refuse(unsupportedPopKey,
			"the key in req_cnf is neither that of the TLS client certificate nor registered for this client")
	}
	return asked, nil
}

// freshKey makes a symmetric key, unless the broker does not take any.
func freshKey(audience *Audience) (claims.Confirmation, error) {
	if !slices.Contains(audience.Algorithms, pop.HS256) {
		return claims.Confirmation{}, refuse(unsupportedPopKey, "this audience takes no symmetric keys: send a public one in req_cnf")
	}
	secret := make([]byte, secretSize)
	rand.Read(secret) // never fails
	key, err := pop.SharedKey(secret)
	return claims.Confirmation{Key: key, ID: randomText(keyIDSize)}, err
}

// knownKey finds the key that a client names by its identifier: one of its registered keys, by the RFC 7638
// thumbprint, or one that it has got or had a token for already (RFC 9202, section 4). A key that is shared with one
// broker is not given to another, which could then pretend to be the client.
func (s *Server) knownKey(tx store.Tx, client Client, audience *Audience, id string) (claims.Confirmation, error) {
	unknown := refuse(unsupportedPopKey, "no key of this identifier has been issued to this client for this audience")
	c := claims.Confirmation{ID: id}
	for _, key := range client.verifiers() {
		if name, err := thumbprint(key); err == nil && subtle.ConstantTimeCompare([]byte(name), []byte(id)) == 1 {
			c.Key = key
		}
	}
	if c.Key.Algorithm() == "" {
		var record keyRecord
		found, err := load(tx, bucketKeys, keyName(client.ID, id), &record)
		switch {
		case err != nil:
			return claims.Confirmation{}, err
		case !found || record.Expires <= s.now().Unix():
			return claims.Confirmation{}, unknown
		}
		if c, err = record.confirmation(); err != nil {
			return claims.Confirmation{}, err
		}
		if c.Key.Symmetric() && record.Audience != audience.Name {
			return claims.Confirmation{}, unknown
		}
	}
	if !slices.Contains(audience.Algorithms, c.Key.Algorithm()) {
		return claims.Confirmation{}, refuse(unsupportedPopKey, "this audience does not take keys for %s", c.Key.Algorithm())
	}
	return c, nil
}

// proven reports whether the client holds a private key: the TLS handshake has shown that, or it has been settled
// before.
func proven(r *http.Request, client Client, key pop.Verifier) bool {
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 && sameKey(key.Public(), r.TLS.PeerCertificates[0].PublicKey) {
		return true
	}
	return slices.ContainsFunc(client.Keys, func(known crypto.PublicKey) bool { return sameKey(key.Public(), known) })
}

func validKeyID(id string) bool {
	for _, c := range []byte(id) {
		if c < 0x20 || c > 0x7e {
			return false
		}
	}
	return len(id) <= maxKeyID
}

// rememberKey lets the client name the key for as long as the token lives, and once more as long.
func rememberKey(tx store.Tx, client Client, audience *Audience, c claims.Confirmation, expires time.Time) error {
	if c.ID == "" {
		return nil
	}
	cnf, err := c.JSON()
	if err != nil {
		return err
	}
	until := expires.Add(audience.Lifetime)
	record := keyRecord{Audience: audience.Name, Confirmation: cnf, Expires: until.Unix()}
	return saveUntil(tx, bucketKeys, keyName(client.ID, c.ID), record, until)
}
