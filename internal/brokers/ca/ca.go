// Package ca is the one maker of certificates for tests, examples and benchmarks: a certificate authority that lives in
// memory, issues certificates to servers and clients, right ones and, on request, those that must be refused, and
// writes them as the PEM files that other programs read.
//
// Every key is fresh, so that no private key ever lies in the source tree. It is meant for one machine and a short
// life: certificates end after a day, cannot be revoked, and nothing here is a way to run an authority in production.
package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// An Authority issues certificates that those who trust its pool accept.
type Authority struct {
	root *x509.Certificate
	key  crypto.Signer
}

// New makes an authority with an ECDSA P-256 key.
func New() (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template, err := newTemplate("mqttsec test authority")
	if err != nil {
		return nil, err
	}
	template.IsCA = true
	template.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &Authority{root: root, key: key}, nil
}

// A Subject is whom a certificate is for. The zero value is a server on this host.
type Subject struct {
	// Name is the Common Name; empty is the first of Hosts.
	Name string
	// Hosts are the DNS names and IP addresses of a server. Nil means localhost, 127.0.0.1 and ::1, and none for a
	// client. A name at which nobody will look for the server makes a certificate that must be refused.
	Hosts []string
	// Client makes a certificate for a client, which no server can use.
	Client bool
	// Ed25519 makes a key of that kind instead of ECDSA P-256.
	Ed25519 bool
	// NotBefore is when the certificate begins to hold; zero is an hour ago.
	NotBefore time.Time
	// NotAfter is when the certificate ends; zero is a day from now. A time in the past makes an expired one.
	NotAfter time.Time
}

// Issue makes a certificate with a key of its own.
func (a *Authority) Issue(s Subject) (tls.Certificate, error) {
	if s.Hosts == nil && !s.Client {
		s.Hosts = []string{"localhost", "127.0.0.1", "::1"}
	}
	if s.Name == "" && len(s.Hosts) > 0 {
		s.Name = s.Hosts[0]
	}
	template, err := newTemplate(s.Name)
	if err != nil {
		return tls.Certificate{}, err
	}
	if !s.NotBefore.IsZero() {
		template.NotBefore = s.NotBefore
	}
	if !s.NotAfter.IsZero() {
		template.NotAfter = s.NotAfter
		if s.NotBefore.IsZero() && !s.NotAfter.After(template.NotBefore) {
			template.NotBefore = s.NotAfter.Add(-time.Hour)
		}
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	if s.Client {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	for _, host := range s.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	key, err := newKey(s.Ed25519)
	if err != nil {
		return tls.Certificate{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.root, key.Public(), a.key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}

func newKey(edwards bool) (crypto.Signer, error) {
	if edwards {
		_, key, err := ed25519.GenerateKey(nil)
		return key, err
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

func newTemplate(name string) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber:          serial.Add(serial, big.NewInt(1)), // never zero
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(24 * time.Hour),
		BasicConstraintsValid: true,
	}, nil
}

// Pool holds the authority and nothing else.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.root)
	return pool
}

// ServerConfig is the TLS configuration of a server at hosts, of this host if there are none.
func (a *Authority) ServerConfig(hosts ...string) (*tls.Config, error) {
	certificate, err := a.Issue(Subject{Hosts: hosts})
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}, nil
}

// ClientConfig is the TLS configuration of a client that trusts this authority only.
func (a *Authority) ClientConfig() *tls.Config {
	return &tls.Config{RootCAs: a.Pool(), MinVersion: tls.VersionTLS12}
}

// PEM is the certificate of the authority as a file has it.
func (a *Authority) PEM() []byte { return pemOf(a.root.Raw) }

func pemOf(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// WriteFile writes the certificate of the authority to dir/ca.pem and returns that name.
func (a *Authority) WriteFile(dir string) (string, error) {
	file := filepath.Join(dir, "ca.pem")
	return file, os.WriteFile(file, a.PEM(), 0o600)
}

// WriteFiles writes a certificate to dir/name.pem and its key, in PKCS #8, to dir/name-key.pem. It returns both names.
func WriteFiles(dir, name string, c tls.Certificate) (certificateFile, keyFile string, err error) {
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		return "", "", err
	}
	var chain []byte
	for _, der := range c.Certificate {
		chain = append(chain, pemOf(der)...)
	}
	certificateFile, keyFile = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+"-key.pem")
	if err := os.WriteFile(certificateFile, chain, 0o600); err != nil {
		return "", "", err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	return certificateFile, keyFile, os.WriteFile(keyFile, text, 0o600)
}
