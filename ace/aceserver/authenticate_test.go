package aceserver

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
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

// TestSystemsRootsVouchForNobody runs itself where the system trusts the authority: that is still none of
// Config.ClientCAs.
func TestSystemsRootsVouchForNobody(t *testing.T) {
	const variable = "MQTTSEC_ACESERVER_LEAF"
	if file := os.Getenv(variable); file != "" {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		block, _ := pem.Decode(text)
		leaf, err := x509.ParseCertificate(block.Bytes)
		require.NoError(t, err)
		_, err = leaf.Verify(x509.VerifyOptions{KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		require.NoError(t, err, "the system vouches for it")
		require.False(t, Credential{DNSName: "alice.example"}.byCertificate([]*x509.Certificate{leaf}, nil))
		return
	}
	if runtime.GOOS != "linux" {
		t.Skip("the system's roots are elsewhere")
	}
	authority := certify(t, newP256(), "ca.example", nil)
	dir := t.TempDir()
	write := func(name string, c tls.Certificate) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}), 0o600))
		return path
	}
	child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	child.Env = append(os.Environ(), "SSL_CERT_FILE="+write("ca.pem", authority), "SSL_CERT_DIR="+dir,
		variable+"="+write("leaf.pem", certify(t, newP256(), "alice.example", &authority)))
	said, err := child.CombinedOutput()
	require.NoError(t, err, "%s", said)
}
