package bench

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/mqttsec/mqttsec/internal/brokers/ca"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk"
)

// tlspskGoals compare TLS with a pre-shared key with what it is an alternative to: ECDSA certificates at both ends,
// since a pre-shared key proves both. Those with one certificate alone stand beside.
func tlspskGoals() []Goal {
	var goals []Goal
	for _, v := range []struct {
		psk   tlspsk.Version
		certs uint16
	}{{tlspsk.TLS13, tls.VersionTLS13}, {tlspsk.TLS12, tls.VersionTLS12}} {
		for _, mutual := range []bool{true, false} {
			beside := "server certificate"
			if mutual {
				beside = "mutual certificates"
			}
			goals = append(goals, Goal{
				ID: "H1", What: fmt.Sprintf("handshake, both sides, %v, PSK / ECDSA %s", v.psk, beside), Limit: 0.60, Rounds: 101,
				Setup: func(context.Context) (Pair, error) { return handshakePair(v.psk, v.certs, mutual) },
			}, Goal{
				ID: "H2", What: fmt.Sprintf("bytes of a handshake, %v, PSK / ECDSA %s", v.psk, beside), Limit: 0.40,
				Count: func(context.Context) (float64, float64, error) { return handshakeBytes(v.psk, v.certs, mutual) },
			})
		}
	}
	return append(goals, Goal{
		ID: "H3", What: "1 MiB through TLS_AES_128_GCM_SHA256, tlspsk / crypto/tls, rate", Limit: 0.80, AtLeast: true, Batch: 20 * time.Millisecond,
		Setup: func(context.Context) (Pair, error) { return bulkPair() },
	})
}

// benchKey is a pre-shared key of 32 octets.
var benchKey = []byte("\x9b\x4c\x1d\xee\x02\x7f\xa5\x31\xc8\x66\x90\x15\xf2\x3a\x88\xd7\x44\x01\x5e\xb3\xda\x29\x70\xcf\x8b\x16\xe2\x63\x05\xf8\x9d\x3c")

// secured makes the two ends of a connection.
type secured struct {
	client, server func(net.Conn) net.Conn
}

// run does one handshake over an in-memory connection and returns the ends.
func (s secured) run(near, far net.Conn) (client, server net.Conn, err error) {
	client, server = s.client(near), s.server(far)
	served := make(chan error, 1)
	go func() { served <- handshake(server) }()
	if err := handshake(client); err != nil {
		_ = near.Close()
		return nil, nil, err
	}
	return client, server, <-served
}

func handshake(conn net.Conn) error { return conn.(interface{ Handshake() error }).Handshake() }

func withPSK(v tlspsk.Version) secured {
	client := &tlspsk.Config{Identity: "device-7", Key: benchKey, ServerName: "localhost", MinVersion: v, MaxVersion: v}
	server := &tlspsk.Config{Keys: func(string) []byte { return benchKey }}
	return secured{
		func(conn net.Conn) net.Conn { return tlspsk.Client(conn, client) },
		func(conn net.Conn) net.Conn { return tlspsk.Server(conn, server) },
	}
}

// withCertificates has X25519 as the PSK has, and no tickets: crypto/tls's own choice of a hybrid group would cost
// more.
func withCertificates(v uint16, mutual bool) (secured, error) {
	authority, err := ca.New()
	if err != nil {
		return secured{}, err
	}
	server, err := authority.ServerConfig()
	if err != nil {
		return secured{}, err
	}
	server.MinVersion, server.MaxVersion, server.NextProtos = v, v, []string{"mqtt"}
	server.SessionTicketsDisabled = true
	client := &tls.Config{RootCAs: authority.Pool(), ServerName: "localhost", NextProtos: server.NextProtos,
		CurvePreferences: []tls.CurveID{tls.X25519}, MinVersion: v, MaxVersion: v}
	if mutual {
		client.Certificates = server.Certificates
		server.ClientCAs, server.ClientAuth = authority.Pool(), tls.RequireAnyClientCert
		// The certificate is a server's; what verifying one costs is the same.
		server.VerifyConnection = func(state tls.ConnectionState) error {
			_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: server.ClientCAs})
			return err
		}
	}
	return secured{
		func(conn net.Conn) net.Conn { return tls.Client(conn, client) },
		func(conn net.Conn) net.Conn { return tls.Server(conn, server) },
	}, nil
}

func handshakePair(v tlspsk.Version, certs uint16, mutual bool) (Pair, error) {
	beside, err := withCertificates(certs, mutual)
	if err != nil {
		return Pair{}, err
	}
	once := func(s secured) func() error {
		return func() error {
			near, far := net.Pipe()
			defer near.Close()
			defer far.Close()
			_, _, err := s.run(near, far)
			return err
		}
	}
	return Pair{A: repeat(once(withPSK(v))), B: repeat(once(beside))}, nil
}

// handshakeBytes counts what both sides send.
func handshakeBytes(v tlspsk.Version, certs uint16, mutual bool) (psk, certificates float64, err error) {
	beside, err := withCertificates(certs, mutual)
	if err != nil {
		return 0, 0, err
	}
	count := func(s secured) (float64, error) {
		var sent [2]int
		near, far := net.Pipe()
		defer near.Close()
		defer far.Close()
		_, _, err := s.run(counted{near, &sent[0]}, counted{far, &sent[1]})
		return float64(sent[0] + sent[1]), err
	}
	if psk, err = count(withPSK(v)); err != nil {
		return 0, 0, err
	}
	certificates, err = count(beside)
	return psk, certificates, err
}

// counted counts what is written, by one goroutine at a time.
type counted struct {
	net.Conn
	n *int
}

func (c counted) Write(b []byte) (int, error) {
	*c.n += len(b)
	return c.Conn.Write(b)
}

// bulkPair moves a MiB one way over TCP.
func bulkPair() (Pair, error) {
	beside, err := withCertificates(tls.VersionTLS13, false)
	if err != nil {
		return Pair{}, err
	}
	a, closeA, err := bulk(withPSK(tlspsk.TLS13))
	if err != nil {
		return Pair{}, err
	}
	b, closeB, err := bulk(beside)
	if err != nil {
		closeA()
		return Pair{}, err
	}
	return Pair{A: repeat(a), B: repeat(b), Close: func() error { closeA(); closeB(); return nil }}, nil
}

func bulk(s secured) (move func() error, stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer listener.Close()
	near, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	far, err := listener.Accept()
	if err != nil {
		_ = near.Close()
		return nil, nil, err
	}
	stop = func() { _ = near.Close(); _ = far.Close() }
	client, server, err := s.run(near, far)
	if err != nil {
		stop()
		return nil, nil, err
	}
	const volume = 1 << 20
	block, got := make([]byte, volume), make([]byte, volume)
	return func() error {
		sent := make(chan error, 1)
		go func() {
			_, err := client.Write(block)
			sent <- err
		}()
		if _, err := io.ReadFull(server, got); err != nil {
			return err
		}
		return <-sent
	}, stop, nil
}
