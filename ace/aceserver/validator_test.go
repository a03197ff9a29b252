package aceserver

import (
	"bufio"
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace/acebroker"
	"github.com/mqttsec/mqttsec/ace/internal/claims"
	"github.com/mqttsec/mqttsec/internal/brokers/ca"
	"github.com/mqttsec/mqttsec/internal/pop"
	"github.com/mqttsec/mqttsec/internal/strict"
)

// guarded starts the broker half for an audience of the fixture, and returns where it listens and its certificate's
// roots. Behind it is a broker that says yes to every CONNECT.
func (f *fixture) guarded(audience string) (address string, roots *x509.CertPool) {
	t := f.t
	t.Helper()
	authority, err := ca.New()
	require.NoError(t, err)
	server, err := authority.ServerConfig("broker.example")
	require.NoError(t, err)
	algorithm := acebroker.ES256
	if _, ok := f.signer.Public().(ed25519.PublicKey); ok {
		algorithm = acebroker.EdDSA
	}
	issuer := acebroker.Issuer{Name: issuer, Keys: acebroker.StaticKeys{
		{ID: "s1", Algorithm: algorithm, Key: f.signer.Public()},
		{ID: "k-broker", Algorithm: acebroker.A256GCM, Key: f.shared},
	}}
	if audience == "ref" {
		issuer.Introspection = &acebroker.Introspection{
			URL:          f.url + "/introspect",
			ClientID:     "rs",
			ClientSecret: f.secrets["rs"],
			TLS:          &tls.Config{RootCAs: f.http.Transport.(*http.Transport).TLSClientConfig.RootCAs},
		}
	}
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	listener, err := acebroker.NewListener(inner, acebroker.Config{
		TLS:        server,
		Algorithms: []acebroker.Algorithm{algorithm, acebroker.A256GCM},
		Issuers:    []acebroker.Issuer{issuer},
		Audience:   []string{audience},
	})
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				if _, err := conn.Read(make([]byte, 1<<16)); err == nil {
					_, _ = conn.Write([]byte{0x20, 3, 0, 0, 0})
					_, _ = io.Copy(io.Discard, conn)
				}
			}()
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close() // the connections have ended, and with them the test
		<-ended
	})
	return inner.Addr().String(), authority.Pool()
}

// knock sends a CONNECT with a token and a proof over the TLS exporter, and returns the reason code of CONNACK.
func knock(t *testing.T, address string, roots *x509.CertPool, token []byte, prover pop.Prover) byte {
	t.Helper()
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: "broker.example"}}
	conn, err := dialer.DialContext(t.Context(), "tcp", address)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	state := conn.(*tls.Conn).ConnectionState()
	input, err := pop.ExporterInput(&state)
	require.NoError(t, err)
	proof, err := prover.Prove(input)
	require.NoError(t, err)
	data, err := pop.AuthData{Token: token, Proof: proof}.Append(nil)
	require.NoError(t, err)

	field := func(b []byte) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...) }
	properties := bytes.Join([][]byte{{21}, field([]byte(pop.Method)), {22}, field(data)}, nil)
	body := bytes.Join([][]byte{
		field([]byte("MQTT")), {5, 2, 0, 60},
		binary.AppendUvarint(nil, uint64(len(properties))), properties, field([]byte("c")),
	}, nil)
	_, err = conn.Write(append(binary.AppendUvarint([]byte{0x10}, uint64(len(body))), body...))
	require.NoError(t, err)
	in := bufio.NewReader(conn)
	head, err := in.Peek(4)
	require.NoError(t, err)
	require.EqualValues(t, 0x20, head[0])
	return head[3]
}

// TestBrokerTakesWhatIsIssued: every format of token, kind of key and kind of signing key, at the broker half of this
// module; and that it takes none of them with another key, or at another audience.
func TestBrokerTakesWhatIsIssued(t *testing.T) {
	const success, notAuthorized = 0, 0x87
	for signing, signer := range clientKeys() {
		f := start(t, func(f *fixture, cfg *Config) {
			f.signer = signer
			cfg.Keys = []SigningKey{{ID: "s1", Key: signer}}
		})
		elsewhere, elsewhereRoots := f.guarded("elsewhere")
		for _, audience := range append(formats, "noclock") {
			address, roots := f.guarded(audience)
			keys := map[Algorithm]crypto.Signer{HS256: nil, EdDSA: newEd25519(), ES256: newP256()}
			for alg, key := range keys {
				t.Run(fmt.Sprintf("%s/%s/signed by %s", audience, alg, signing), func(t *testing.T) {
					f := *f
					f.t = t
					var token []byte
					var prover pop.Prover
					if key == nil {
						var o object
						token, o = f.ask(object{"audience": audience})
						prover = proverOf(t, o)
					} else {
						var err error
						f := f.with(certify(t, key, "alice.example", nil))
						token, _ = f.ask(object{"audience": audience, "req_cnf": jwkOf(t, key.Public(), "")})
						prover, err = pop.Signer(key)
						require.NoError(t, err)
					}
					require.EqualValues(t, success, knock(t, address, roots, token, prover))
					if audience == "cwt" {
						text := []byte(strict.EncodeText(token)) // RFC 9770, section 4
						require.EqualValues(t, success, knock(t, address, roots, text, prover))
					}
					other, err := pop.Signer(newEd25519())
					require.NoError(t, err)
					require.EqualValues(t, notAuthorized, knock(t, address, roots, token, other))
					require.EqualValues(t, notAuthorized, knock(t, elsewhere, elsewhereRoots, token, prover))
				})
			}
		}
	}
}

// proverOf is the symmetric key of a response.
func proverOf(t *testing.T, o object) pop.Prover {
	t.Helper()
	raw, err := json.Marshal(o["cnf"])
	require.NoError(t, err)
	c, err := claims.ParseConfirmationJSON(raw)
	require.NoError(t, err)
	prover, err := pop.Secret(pop.NewJWK(c.Key, "").Secret)
	require.NoError(t, err)
	return prover
}
