package bench

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/mqttsec/mqttsec/internal/brokers/ca"
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
	authority, err := ca.New()
	if err != nil {
		return nil, err
	}
	const host = "broker.example.org"
	serverConfig, err := authority.ServerConfig(host)
	if err != nil {
		return nil, err
	}
	serverConfig.MinVersion = tls.VersionTLS13
	serverConfig.CurvePreferences = []tls.CurveID{tls.X25519}
	serverConfig.SessionTicketsDisabled = true
	clientConfig := authority.ClientConfig()
	clientConfig.MinVersion = tls.VersionTLS13
	clientConfig.CurvePreferences = []tls.CurveID{tls.X25519}
	clientConfig.ServerName = host
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
