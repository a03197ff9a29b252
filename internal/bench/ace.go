package bench

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/go-jose/go-jose/v4"
	gocose "github.com/veraison/go-cose"

	"github.com/mqttsec/mqttsec/ace/acebroker"
	"github.com/mqttsec/mqttsec/internal/cose"
	"github.com/mqttsec/mqttsec/internal/pop"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// aceGoals are about the broker's half of ACE: what it costs to let a client in, from the CONNECT in its hands to the
// CONNECT in the broker's, TLS apart.
func aceGoals() []Goal {
	const rounds = 51
	return []Goal{
		{
			ID: "T1", What: "ACE broker side, JWT and proof by EdDSA / two raw Ed25519 verifications", Limit: 1.3, Rounds: rounds,
			Setup: func(context.Context) (Pair, error) { return firstConnect((*door).jwt) },
		},
		{
			ID: "T1", What: "ACE broker side, CWT and proof by EdDSA / two raw Ed25519 verifications", Limit: 1.3, Rounds: rounds,
			Setup: func(context.Context) (Pair, error) { return firstConnect((*door).cwt) },
		},
		{
			ID: "T2", What: "ACE broker side, a token that is known / one that is new", Limit: 0.6, Rounds: rounds,
			Setup: func(context.Context) (Pair, error) {
				d, err := newDoor()
				if err != nil {
					return Pair{}, err
				}
				known, err := d.connect()
				if err != nil {
					return Pair{}, err
				}
				return Pair{A: repeat(func() error { return d.enter(known) }), B: d.fresh(), Close: d.listener.Close}, nil
			},
		},
	}
}

// firstConnect compares a client with a token that is new with what cannot be done without.
func firstConnect(token func(*door) ([]byte, error)) (Pair, error) {
	d, err := newDoor()
	if err != nil {
		return Pair{}, err
	}
	d.token = token
	return Pair{A: d.fresh(), B: repeat(d.verifyTwice), Close: d.listener.Close}, nil
}

// A door is a broker half without a network: its connections are in memory, and TLS is said to be below.
type door struct {
	listener *acebroker.Listener
	queue    *queue
	as       jose.Signer
	asCOSE   gocose.Signer
	key      []byte                      // the client's, as COSE has it
	token    func(*door) ([]byte, error) // makes a token that has not been seen
	client   ed25519.PrivateKey
	public   string // of the client, as JSON has it
	proof    []byte
}

func newDoor() (*door, error) {
	issuer, asKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	public, client, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	as, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: asKey, KeyID: "as"}}, nil)
	if err != nil {
		return nil, err
	}
	asCOSE, err := gocose.NewSigner(gocose.AlgorithmEdDSA, asKey)
	if err != nil {
		return nil, err
	}
	coseKey, err := cose.PublicKey(public)
	if err != nil {
		return nil, err
	}
	key, err := coseKey.MarshalCBOR()
	if err != nil {
		return nil, err
	}
	jwk, err := jose.JSONWebKey{Key: public}.MarshalJSON()
	if err != nil {
		return nil, err
	}
	d := &door{
		queue: &queue{conns: make(chan net.Conn), closed: make(chan struct{})}, as: as, asCOSE: asCOSE, key: key,
		token: (*door).jwt, client: client, public: string(jwk), proof: ed25519.Sign(client, exported),
	}
	d.listener, err = acebroker.NewListener(d.queue, acebroker.Config{
		Algorithms: []acebroker.Algorithm{acebroker.EdDSA}, Audience: []string{"broker"},
		Issuers: []acebroker.Issuer{{Name: "as", Keys: acebroker.StaticKeys{{ID: "as", Algorithm: acebroker.EdDSA, Key: issuer}}}},
	})
	return d, err
}

func (d *door) jwt() ([]byte, error) {
	claims := strings.NewReplacer("ID", rand.Text(), "KEY", d.public).Replace(
		`{"iss":"as","sub":"alice","aud":"broker","exp":32503680000,"jti":"ID","scope":"W1siYS8jIixbInB1YiIsInN1YiJdXV0","cnf":{"jwk":KEY}}`)
	jws, err := d.as.Sign([]byte(claims))
	if err != nil {
		return nil, err
	}
	token, err := jws.CompactSerialize()
	return []byte(token), err
}

func (d *door) cwt() ([]byte, error) {
	scope, err := cose.Encoding.Marshal([]any{[]any{"a/#", []string{"pub", "sub"}}})
	if err != nil {
		return nil, err
	}
	claims, err := cose.Encoding.Marshal(map[int64]any{
		1: "as", 2: "alice", 3: "broker", 4: int64(32503680000), 7: []byte(rand.Text()), 8: map[int64]cbor.RawMessage{1: d.key}, 9: scope,
	})
	if err != nil {
		return nil, err
	}
	return gocose.Sign1(rand.Reader, d.asCOSE, gocose.Headers{
		Protected:   gocose.ProtectedHeader{gocose.HeaderLabelAlgorithm: gocose.AlgorithmEdDSA},
		Unprotected: gocose.UnprotectedHeader{gocose.HeaderLabelKeyID: []byte("as")},
	}, claims, nil)
}

// connect is a CONNECT with a token that has not been seen.
func (d *door) connect() (wire.Packet, error) {
	token, err := d.token(d)
	if err != nil {
		return nil, err
	}
	data, err := pop.AuthData{Token: token, Proof: d.proof}.Append(nil)
	if err != nil {
		return nil, err
	}
	m := wire.ConnectPacket{Version: wire.V5, CleanStart: true}
	m.Properties = m.Properties.AppendBytes(wire.AuthenticationMethod, []byte(pop.Method)).AppendBytes(wire.AuthenticationData, data)
	return m.Append(nil)
}

// fresh is the Side that lets in clients with tokens that are new, and made off the clock.
func (d *door) fresh() Side {
	var connects []wire.Packet
	return Side{
		Prepare: func(n int) error {
			connects = connects[:0]
			for range n {
				p, err := d.connect()
				if err != nil {
					return err
				}
				connects = append(connects, p)
			}
			return nil
		},
		Run: func(n int) error {
			for _, p := range connects[:n] {
				if err := d.enter(p); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// enter lets one client in.
func (d *door) enter(connect wire.Packet) error {
	d.queue.conns <- &arriving{rest: bytes.NewReader(connect), gone: make(chan struct{})}
	conn, err := d.listener.Accept()
	if err != nil {
		return err
	}
	return conn.Close()
}

var errForged = errors.New("a signature does not verify")

func (d *door) verifyTwice() error {
	public := d.client.Public().(ed25519.PublicKey)
	for range 2 {
		if !ed25519.Verify(public, exported, d.proof) {
			return errForged
		}
	}
	return nil
}

// exported is what the TLS exporter is said to yield.
var exported = bytes.Repeat([]byte{0xA5}, pop.ExporterSize)

// queue is a net.Listener of connections in memory.
type queue struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

// Accept implements net.Listener.
func (q *queue) Accept() (net.Conn, error) {
	select {
	case conn := <-q.conns:
		return conn, nil
	case <-q.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (q *queue) Close() error {
	q.once.Do(func() { close(q.closed) })
	return nil
}

// Addr implements net.Listener.
func (q *queue) Addr() net.Addr { return &net.TCPAddr{} }

// arriving is a connection with a client that has said one thing and listens.
type arriving struct {
	rest *bytes.Reader
	once sync.Once
	gone chan struct{}
}

// ExportKeyingMaterial is what makes it a TLS connection.
func (c *arriving) ExportKeyingMaterial(string, []byte, int) ([]byte, error) { return exported, nil }

// ReadAfterTimeout says that a read may follow one that timed out.
func (c *arriving) ReadAfterTimeout() bool { return true }

// Read implements net.Conn.
func (c *arriving) Read(p []byte) (int, error) {
	if c.rest.Len() > 0 {
		return c.rest.Read(p)
	}
	<-c.gone
	return 0, net.ErrClosed
}

// Write implements net.Conn.
func (c *arriving) Write(p []byte) (int, error) { return len(p), nil }

// Close implements net.Conn.
func (c *arriving) Close() error {
	c.once.Do(func() { close(c.gone) })
	return nil
}

// LocalAddr implements net.Conn.
func (c *arriving) LocalAddr() net.Addr { return &net.TCPAddr{} }

// RemoteAddr implements net.Conn.
func (c *arriving) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// SetDeadline implements net.Conn; nothing here blocks for long.
func (c *arriving) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (c *arriving) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (c *arriving) SetWriteDeadline(time.Time) error { return nil }
