package aceserver

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/mqttsec/mqttsec/internal/pop"
)

// Client is one that may ask for tokens.
type Client struct {
	// ID is its client_id: 1 to 255 printable ASCII characters. One that has "+", "#" or "/" gets nothing from
	// policies whose filters contain "{client_id}".
	ID string
	// Credential is how it proves who it is. Required.
	Credential Credential
	// Keys are public keys that it may have tokens bound to: ed25519.PublicKey, or *ecdsa.PublicKey on P-256. The key
	// of the certificate that it comes with needs not be among them.
	Keys []crypto.PublicKey
	// Group is what policies may call it by, together with others.
	Group string
}

// ResourceServer is a broker that may ask about tokens.
type ResourceServer struct {
	// ID is its client_id at the introspection endpoint, different from that of all clients.
	ID string
	// Credential is how it proves who it is. Required.
	Credential Credential
	// Audiences are those whose tokens it may ask about.
	Audiences []string
}

// Credential is how somebody proves to the server who they are. At least one of its fields is set; any of those that
// are will do.
type Credential struct {
	// Secret is the hash of the client_secret, given by HTTP Basic or in the body (RFC 6749, section 2.3.1).
	Secret SecretHash
	// Certificate is the SHA-256 of a TLS client certificate, self-signed or not
	// (self_signed_tls_client_auth of RFC 8705, section 2.2). Use [CertificateHash].
	Certificate [sha256.Size]byte
	// DNSName is a name in a TLS client certificate that one of Config.ClientCAs issued
	// (tls_client_auth of RFC 8705, section 2.1).
	DNSName string
}

// CertificateHash is what [Credential] knows a certificate by.
func CertificateHash(certificate *x509.Certificate) [sha256.Size]byte {
	return sha256.Sum256(certificate.Raw)
}

func (c Credential) validate() error {
	if c.Secret.IsZero() && c.Certificate == [sha256.Size]byte{} && c.DNSName == "" {
		return errors.New("nothing to authenticate it by")
	}
	return nil
}

// byCertificate reports whether the holder of a chain, whose first key the TLS handshake has proven, is meant.
func (c Credential) byCertificate(chain []*x509.Certificate, roots *x509.CertPool) bool {
	if len(chain) == 0 {
		return false
	}
	hash := CertificateHash(chain[0])
	if c.Certificate != [sha256.Size]byte{} && subtle.ConstantTimeCompare(hash[:], c.Certificate[:]) == 1 {
		return true
	}
	return c.DNSName != "" && hasName(chain[0], c.DNSName) && issued(chain, roots)
}

func hasName(certificate *x509.Certificate, name string) bool {
	for _, n := range certificate.DNSNames {
		if n == name {
			return true
		}
	}
	return false
}

// issued reports whether one of the roots vouches for the chain. Without roots nobody does, the system's included.
func issued(chain []*x509.Certificate, roots *x509.CertPool) bool {
	if roots == nil {
		return false
	}
	intermediates := x509.NewCertPool()
	for _, certificate := range chain[1:] {
		intermediates.AddCert(certificate)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: intermediates,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return err == nil
}

func validateID(id string) error {
	if len(id) < 1 || len(id) > 255 {
		return errors.New("an ID has 1 to 255 characters")
	}
	for _, c := range []byte(id) {
		if c < 0x20 || c > 0x7e { // VSCHAR of RFC 6749, appendix A
			return errors.New("an ID is printable ASCII")
		}
	}
	if id == AnyClient {
		return fmt.Errorf("the ID %q means any client", id)
	}
	return nil
}

func (c Client) validate() error {
	if err := errors.Join(validateID(c.ID), c.Credential.validate()); err != nil {
		return err
	}
	for _, key := range c.Keys {
		if _, err := pop.PublicKey(key); err != nil {
			return err
		}
	}
	return nil
}

// verifiers are the client's registered keys.
func (c Client) verifiers() []pop.Verifier {
	keys := make([]pop.Verifier, 0, len(c.Keys))
	for _, key := range c.Keys {
		if v, err := pop.PublicKey(key); err == nil { // else New or the registration would have said so
			keys = append(keys, v)
		}
	}
	return keys
}

// sameKey reports whether two public keys are equal.
func sameKey(a, b crypto.PublicKey) bool {
	switch a := a.(type) {
	case ed25519.PublicKey:
		return a.Equal(b)
	case *ecdsa.PublicKey:
		return a.Equal(b)
	}
	return false
}
