package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"time"

	"github.com/mqttsec/mqttsec/pake"
)

// pakeGoals are about a login: both sides of an AugPAKE run, without stretching, which
// is slow on purpose, against both sides of the handshake that it is an alternative to.
func pakeGoals() []Goal {
	const rounds = 101
	return []Goal{
		{
			ID: "K1", What: "AugPAKE P-256, both sides / TLS 1.3 handshake", Limit: 0.50, Rounds: rounds,
			Setup: func(context.Context) (Pair, error) { return pakePair(pake.P256) },
		},
		{
			ID: "K2", What: "AugPAKE ristretto255, both sides / TLS 1.3 handshake", Limit: 0.65, Rounds: rounds,
			Setup: func(context.Context) (Pair, error) { return pakePair(pake.Ristretto255) },
		},
	}
}

func pakePair(group pake.Group) (Pair, error) {
	login, err := pakeLogin(group)
	if err != nil {
		return Pair{}, err
	}
	handshake, err := fullHandshake()
	if err != nil {
		return Pair{}, err
	}
	return Pair{A: repeat(login), B: repeat(handshake)}, nil
}

// repeat is the Side whose operation is one call of f.
func repeat(f func() error) Side {
	return Side{Run: func(n int) error {
		for range n {
			if err := f(); err != nil {
				return err
			}
		}
		return nil
	}}
}

// pakeLogin returns a function that does one run, from the password and the verifier to
// the key on both sides.
func pakeLogin(group pake.Group) (func() error, error) {
	const user, server = "alice", "broker.example.org"
	password := []byte("correct horse battery staple")
	cfg := pake.Config{Group: group, Stretch: pake.Stretch{Skip: true}}
	verifier, err := pake.NewVerifier(cfg, user, server, password)
	if err != nil {
		return nil, err
	}
	return func() error {
		msg1, c, err := pake.Start(cfg, user, server, password)
		if err != nil {
			return err
		}
		msg2, s, err := pake.Respond(cfg, user, server, verifier, msg1)
		if err != nil {
			return err
		}
		msg3, err := c.Reply(msg2)
		if err != nil {
			return err
		}
		msg4, _, err := s.Finish(msg3)
		if err != nil {
			return err
		}
		_, err = c.Finish(msg4)
		return err
	}, nil
}

// fullHandshake returns a function that does one TLS 1.3 handshake over net.Pipe, with
// X25519 and an ECDSA P-256 certificate that a root of the same kind issued.
func fullHandshake() (func() error, error) {
	rootKey, root, err := p256Certificate("root", nil, nil)
	if err != nil {
		return nil, err
	}
	key, leaf, err := p256Certificate("broker.example.org", root, rootKey)
	if err != nil {
		return nil, err
	}
	serverConfig := &tls.Config{
		MinVersion:             tls.VersionTLS13,
		CurvePreferences:       []tls.CurveID{tls.X25519},
		Certificates:           []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}},
		SessionTicketsDisabled: true,
	}
	clientConfig := &tls.Config{
		MinVersion:       tls.VersionTLS13,
		CurvePreferences: []tls.CurveID{tls.X25519},
		RootCAs:          x509.NewCertPool(),
		ServerName:       "broker.example.org",
	}
	clientConfig.RootCAs.AddCert(root)
	return func() error {
		near, far := net.Pipe()
		defer near.Close()
		defer far.Close()
		served := make(chan error, 1)
		go func() { served <- tls.Server(far, serverConfig).Handshake() }()
		if err := tls.Client(near, clientConfig).Handshake(); err != nil {
			return err
		}
		return <-served
	}, nil
}

// p256Certificate makes a root if issuer is nil, and else a leaf.
func p256Certificate(name string, issuer *x509.Certificate, issuerKey *ecdsa.PrivateKey) (*ecdsa.PrivateKey, *x509.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: name},
		DNSNames:              []string{name},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IsCA:                  issuer == nil,
		BasicConstraintsValid: true,
	}
	if issuer == nil {
		issuer, issuerKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, issuerKey)
	if err != nil {
		return nil, nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	return key, certificate, err
}
