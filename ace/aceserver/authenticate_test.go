package aceserver

import (
	"crypto/x509"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestCertificateOfAnotherName: of those that an authority has issued, one certificate authenticates one name, and none
// does without an authority (RFC 8705, section 2.1).
func TestCertificateOfAnotherName(t *testing.T) {
	authority := certify(t, newP256(), "ca.example", nil)
	roots := x509.NewCertPool()
	roots.AddCert(authority.Leaf)
	alice := Credential{DNSName: "alice.example"}
	own := []*x509.Certificate{certify(t, newP256(), "alice.example", &authority).Leaf}
	other := []*x509.Certificate{certify(t, newP256(), "bob.example", &authority).Leaf}
	require.True(t, alice.byCertificate(own, roots))
	require.False(t, alice.byCertificate(other, roots))
	require.False(t, alice.byCertificate(own, nil))
	server := *own[0]
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	require.False(t, alice.byCertificate([]*x509.Certificate{&server}, roots), "not for clients")
}
