package ace

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"slices"
)

// BrokerKey recognises a broker by its public key or by its certificate: what an authorization server says in "rs_cnf".
type BrokerKey struct {
	public     crypto.PublicKey
	thumbprint []byte // SHA-256 of the leaf certificate's DER
}

// BrokerPublicKey recognises a broker by the public key of its certificate.
func BrokerPublicKey(key crypto.PublicKey) *BrokerKey { return &BrokerKey{public: key} }

// BrokerCertificate recognises a broker by its certificate.
func BrokerCertificate(cert *x509.Certificate) *BrokerKey {
	sum := sha256.Sum256(cert.Raw)
	return &BrokerKey{thumbprint: sum[:]}
}

// decodeThumbprint reads "x5t#S256" (RFC 8705, 3.1).
func decodeThumbprint(text string) ([]byte, error) {
	sum, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(sum) != sha256.Size {
		return nil, malformed(`"x5t#S256" of "rs_cnf" is not a SHA-256 in base64url`)
	}
	return sum, nil
}

// match checks the certificates that the broker showed, the leaf first.
func (b *BrokerKey) match(shown []*x509.Certificate) error {
	if len(shown) == 0 {
		return fmt.Errorf("%w: it showed no certificate", ErrBrokerKey)
	}
	leaf := shown[0]
	if b.public == nil && b.thumbprint == nil {
		return fmt.Errorf("%w: it named none", ErrBrokerKey)
	}
	if b.public != nil && !equalKeys(b.public, leaf.PublicKey) {
		return fmt.Errorf("%w: another public key", ErrBrokerKey)
	}
	if sum := sha256.Sum256(leaf.Raw); b.thumbprint != nil && !slices.Equal(b.thumbprint, sum[:]) {
		return fmt.Errorf("%w: another certificate", ErrBrokerKey)
	}
	return nil
}
