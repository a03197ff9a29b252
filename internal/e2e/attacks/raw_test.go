package attacks

import (
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace"
	"github.com/mqttsec/mqttsec/internal/pop"
	"github.com/mqttsec/mqttsec/internal/site"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// raw is a client without manners: it sends what a test tells it to.
type raw struct {
	t       testing.TB
	conn    net.Conn
	version wire.Version
	aliases uint32 // that the broker takes, according to its CONNACK
}

var versions = []wire.Version{wire.V5, wire.V311}

func versionName(v wire.Version) string {
	if v == wire.V5 {
		return "v5"
	}
	return "v3.1.1"
}

// dial opens a TLS connection to the listener for tokens.
func (p place) dial(t testing.TB, v wire.Version, edit ...func(*tls.Config)) *raw {
	t.Helper()
	cfg := p.world.trust()
	for _, f := range edit {
		f(cfg)
	}
	conn, err := (&tls.Dialer{Config: cfg}).DialContext(patient(t), "tcp", p.addresses[site.Tokens])
	require.NoError(t, err)
	return newRaw(t, conn, v)
}

func newRaw(t testing.TB, conn net.Conn, v wire.Version) *raw {
	t.Helper()
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	return &raw{t: t, conn: conn, version: v}
}

// send sends bytes. A connection that has been closed meanwhile is for receive to tell.
func (r *raw) send(b []byte) { _, _ = r.conn.Write(b) }

// write sends a packet.
func (r *raw) write(m interface {
	Append(dst []byte, v wire.Version) ([]byte, error)
}) {
	r.t.Helper()
	b, err := m.Append(nil, r.version)
	require.NoError(r.t, err)
	r.send(b)
}

// receive returns the next packet, nil if there is none any more.
func (r *raw) receive() wire.Packet {
	r.t.Helper()
	p, err := wire.Read(r.conn, wire.MaxPacket)
	var network net.Error
	if errors.As(err, &network) && network.Timeout() {
		require.NoError(r.t, err, "neither an answer nor the end")
	}
	if err != nil {
		return nil
	}
	return p
}

// proof is over this TLS connection.
func (r *raw) proof(key ace.ProofKey) []byte {
	r.t.Helper()
	state := r.conn.(*tls.Conn).ConnectionState()
	input, err := pop.ExporterInput(&state)
	require.NoError(r.t, err)
	proof, err := key.Prove(input)
	require.NoError(r.t, err)
	return proof
}

// connectPacket is a CONNECT with a token and a proof of this form; a nil proof is a request for a challenge.
func connectPacket(t testing.TB, v wire.Version, id string, token, proof []byte, edit ...func(*wire.ConnectPacket)) []byte {
	t.Helper()
	m := wire.ConnectPacket{Version: v, CleanStart: true, KeepAlive: 60, ClientID: []byte(id)}
	if v == wire.V5 {
		data, err := pop.AuthData{Token: token, Proof: proof}.Append(nil)
		require.NoError(t, err)
		m.Properties = m.Properties.AppendBytes(wire.AuthenticationMethod, []byte(pop.Method)).AppendBytes(wire.AuthenticationData, data)
	} else {
		name, err := pop.Username(token)
		require.NoError(t, err)
		m.HasUsername, m.Username, m.HasPassword, m.Password = true, []byte(name), true, proof
	}
	for _, f := range edit {
		f(&m)
	}
	b, err := m.Append(nil)
	require.NoError(t, err)
	return b
}

// connect authenticates as the token's owner, and returns the code of CONNACK.
func (r *raw) connect(id string, token ace.Token, edit ...func(*wire.ConnectPacket)) byte {
	r.t.Helper()
	r.send(connectPacket(r.t, r.version, id, token.Raw, r.proof(token.Key), edit...))
	return r.connack()
}

// connack is the code of the CONNACK that comes next.
func (r *raw) connack() byte {
	r.t.Helper()
	p := r.receive()
	require.NotNil(r.t, p, "the end instead of CONNACK")
	m, err := wire.ParseConnack(p, r.version)
	require.NoError(r.t, err, "%x", []byte(p))
	r.aliases, _ = m.Properties.Uint(wire.TopicAliasMaximum)
	return m.Code
}

// refused is the code of CONNACK for a client that is not let in because of its token.
func (r *raw) refused() byte {
	if r.version == wire.V5 {
		return wire.NotAuthorized
	}
	return wire.V3NotAuthorized
}

// ends demands that the connection ends, on v5 with a DISCONNECT of this reason before it, and returns what other
// packets came until then.
func (r *raw) ends(reason byte) (packets []wire.Packet) {
	r.t.Helper()
	told := false
	for {
		p := r.receive()
		if p == nil {
			require.Equal(r.t, r.version == wire.V5, told, "DISCONNECT")
			return packets
		}
		if p.Type() != wire.Disconnect {
			packets = append(packets, p)
			continue
		}
		m, err := wire.ParseReason(p, r.version)
		require.NoError(r.t, err)
		require.Equal(r.t, reason, m.Reason, "0x%02X", m.Reason)
		told = true
	}
}
