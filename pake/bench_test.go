package pake_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/brokers/ca"
	"github.com/mqttsec/mqttsec/pake"
)

// bothSides returns a function that does one whole run without stretching.
func bothSides(tb testing.TB, g pake.Group) func() error {
	cfg := pake.Config{Group: g, Stretch: pake.Stretch{Skip: true}}
	password := []byte("correct horse battery staple")
	v, err := pake.NewVerifier(cfg, "alice", "broker", password)
	require.NoError(tb, err)
	return func() error {
		msg1, client, err := pake.Start(cfg, "alice", "broker", password)
		if err != nil {
			return err
		}
		msg2, server, err := pake.Respond(cfg, "alice", "broker", v, msg1)
		if err != nil {
			return err
		}
		msg3, err := client.Reply(msg2)
		if err != nil {
			return err
		}
		msg4, _, err := server.Finish(msg3)
		if err != nil {
			return err
		}
		_, err = client.Finish(msg4)
		return err
	}
}

func BenchmarkP256BothSides(b *testing.B)         { benchmark(b, bothSides(b, pake.P256)) }
func BenchmarkRistretto255BothSides(b *testing.B) { benchmark(b, bothSides(b, pake.Ristretto255)) }

// BenchmarkTLS13Handshake is what a run is measured against: X25519, and an
// ECDSA P-256 certificate that the client verifies, over net.Pipe. A root of the
// same kind issued it, or the client trusts it as it is, which saves a signature.
func BenchmarkTLS13Handshake(b *testing.B) {
	b.Run("issued", func(b *testing.B) { benchmark(b, tlsHandshake(b, true)) })
	b.Run("self-signed", func(b *testing.B) { benchmark(b, tlsHandshake(b, false)) })
}

// BenchmarkRespond is the server's answer and its refusal of a wrong proof, for a
// user and for a decoy: the two may not differ.
func BenchmarkRespond(b *testing.B) {
	const user, server = "alice", "broker"
	cfg := pake.Config{Stretch: pake.Stretch{Time: 1, Memory: 1024, Threads: 1}}
	stored, err := pake.NewVerifier(cfg, user, server, []byte("correct horse"))
	require.NoError(b, err)
	decoys, err := pake.NewDecoys(cfg, make([]byte, 32))
	require.NoError(b, err)
	msg1, client, err := pake.Start(cfg, user, server, []byte("wrong"))
	require.NoError(b, err)
	msg2, _, err := pake.Respond(cfg, user, server, stored, msg1)
	require.NoError(b, err)
	msg3, err := client.Reply(msg2)
	require.NoError(b, err)
	answer := func(v *pake.Verifier) func() error {
		return func() error {
			_, run, err := pake.Respond(cfg, user, server, decoys.Verifier(user, server, v), msg1)
			if err != nil {
				return err
			}
			if _, _, err := run.Finish(msg3); !errors.Is(err, pake.ErrProof) {
				return fmt.Errorf("a wrong proof: %v", err)
			}
			return nil
		}
	}
	b.Run("user", func(b *testing.B) { benchmark(b, answer(stored)) })
	b.Run("decoy", func(b *testing.B) { benchmark(b, answer(nil)) })
	b.Run("user over decoy", func(b *testing.B) { ratio(b, answer(stored), answer(nil)) })
}

func BenchmarkNewVerifier(b *testing.B) {
	password := []byte("correct horse battery staple")
	benchmark(b, func() error {
		_, err := pake.NewVerifier(pake.Config{}, "alice", "broker", password)
		return err
	})
}

// BenchmarkP256OverTLS13 does one of each in turn, so that both meet the same
// machine, and reports the ratio of the median times.
func BenchmarkP256OverTLS13(b *testing.B) { overTLS13(b, pake.P256) }

// BenchmarkRistretto255OverTLS13 does the same for ristretto255.
func BenchmarkRistretto255OverTLS13(b *testing.B) { overTLS13(b, pake.Ristretto255) }

func overTLS13(b *testing.B, g pake.Group) {
	b.Run("issued", func(b *testing.B) { ratio(b, bothSides(b, g), tlsHandshake(b, true)) })
	b.Run("self-signed", func(b *testing.B) { ratio(b, bothSides(b, g), tlsHandshake(b, false)) })
}

func benchmark(b *testing.B, f func() error) {
	b.ReportAllocs()
	for b.Loop() {
		if err := f(); err != nil {
			b.Fatal(err)
		}
	}
}

func ratio(b *testing.B, f, g func() error) {
	var forF, forG []time.Duration
	for b.Loop() {
		start := time.Now()
		if err := f(); err != nil {
			b.Fatal(err)
		}
		middle := time.Now()
		if err := g(); err != nil {
			b.Fatal(err)
		}
		forF = append(forF, middle.Sub(start))
		forG = append(forG, time.Since(middle))
	}
	slices.Sort(forF)
	slices.Sort(forG)
	middle := len(forF) / 2
	b.ReportMetric(float64(forF[middle])/float64(forG[middle]), "ratio")
}

// tlsHandshake returns a function that does one full handshake. The client
// trusts the issuer of the server's certificate, or the certificate itself.
func tlsHandshake(tb testing.TB, issued bool) func() error {
	authority, err := ca.New()
	require.NoError(tb, err)
	serverConfig, err := authority.ServerConfig("broker")
	require.NoError(tb, err)
	serverConfig.MinVersion = tls.VersionTLS13
	serverConfig.CurvePreferences = []tls.CurveID{tls.X25519}
	serverConfig.SessionTicketsDisabled = true
	clientConfig := authority.ClientConfig()
	clientConfig.MinVersion = tls.VersionTLS13
	clientConfig.CurvePreferences = []tls.CurveID{tls.X25519}
	clientConfig.ServerName = "broker"
	if !issued {
		clientConfig.RootCAs = x509.NewCertPool()
		clientConfig.RootCAs.AddCert(serverConfig.Certificates[0].Leaf)
	}
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
	}
}

// TestAllocations holds both sides of a P-256 run to the 40 allocations that
// the project allows.
func TestAllocations(t *testing.T) {
	for g, most := range map[pake.Group]float64{pake.P256: 40, pake.Ristretto255: 60} {
		f := bothSides(t, g)
		allocations := testing.AllocsPerRun(50, func() {
			if err := f(); err != nil {
				panic(err)
			}
		})
		require.LessOrEqual(t, allocations, most, "%v", g)
	}
}
