package seal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// fixedKeys exports the same keys whenever it is asked, other ones for another label.
type fixedKeys byte

func (k fixedKeys) ExportKeyingMaterial(label string, _ []byte, length int) (out []byte, err error) {
	for i := 0; len(out) < length; i++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "%d %s %d", k, label, i))
		out = append(out, sum[:]...)
	}
	return out[:length], nil
}

// exporting is a connection that exports keys.
type exporting struct {
	net.Conn
	layer.KeyExporter
}

// hops is a client and a broker half, with the wire between them in a test's hands.
type hops struct {
	t              *testing.T
	v              wire.Version
	client, broker net.Conn
	fromClient     net.Conn // what the client wrote, to be passed on or not
	toBroker       net.Conn
	rejected       chan Rejection
}

func newHops(t *testing.T, v wire.Version, suite Suite, clientKeys, brokerKeys layer.KeyExporter) *hops {
	h := &hops{t: t, v: v, rejected: make(chan Rejection, 8)}
	hop := NewHop(suite, func(r Rejection) { h.rejected <- r })
	near, far := net.Pipe()
	var err error
	h.client, err = hop.Conn(context.Background(), exporting{near, clientKeys})
	require.NoError(t, err)
	h.fromClient = far
	near, far = net.Pipe()
	h.broker, err = hop.Accept(far, brokerKeys)
	require.NoError(t, err)
	h.toBroker = near
	t.Cleanup(func() {
		for _, c := range []net.Conn{h.client, h.broker, h.fromClient, h.toBroker} {
			c.Close()
		}
	})
	connect := wire.ConnectPacket{Version: v, ClientID: []byte("c"), CleanStart: true, Will: &wire.Will{Topic: []byte("w"), Payload: []byte("gone")}}
	p, err := connect.Append(nil)
	require.NoError(t, err)
	require.Equal(t, wire.Packet(p), h.up(p))
	connack, err := (&wire.ConnackPacket{}).Append(nil, v)
	require.NoError(t, err)
	require.Equal(t, wire.Packet(connack), h.down(connack))
	return h
}

// pass writes p at one end and returns what arrives at the other.
func pass(t *testing.T, from, to net.Conn, p wire.Packet) wire.Packet {
	t.Helper()
	go from.Write(p)
	got, err := wire.Read(to, 1<<20)
	require.NoError(t, err)
	return got
}

// up sends a packet of the client's to the broker, and returns what the broker reads.
func (h *hops) up(p wire.Packet) wire.Packet {
	return pass(h.t, h.toBroker, h.broker, pass(h.t, h.client, h.fromClient, p))
}

// down is up in the other direction.
func (h *hops) down(p wire.Packet) wire.Packet {
	return pass(h.t, h.fromClient, h.client, pass(h.t, h.broker, h.toBroker, p))
}

func (h *hops) message(topic, payload string, retain bool) wire.Packet {
	m := wire.PublishPacket{Topic: []byte(topic), Payload: []byte(payload), Retain: retain}
	if h.v == wire.V5 {
		m.Properties = m.Properties.AppendPair("unit", "°C")
	}
	p, err := m.Append(nil, h.v)
	require.NoError(h.t, err)
	return p
}

func onHops(t *testing.T, f func(t *testing.T, v wire.Version)) {
	for _, v := range []wire.Version{wire.V311, wire.V5} {
		t.Run(fmt.Sprint(v), func(t *testing.T) { f(t, v) })
	}
}

// TestHopCoversEveryPublish: whatever the topic, also the empty payload of a cleared retained message, with its
// properties.
func TestHopCoversEveryPublish(t *testing.T) {
	onHops(t, func(t *testing.T, v wire.Version) {
		h := newHops(t, v, XAES(), fixedKeys(1), fixedKeys(1))
		for _, topic := range []string{"site/7", "$SYS/x", "$other", "/", "a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t/u/v/w/x/y/z/1/2/3/4/5/6/7/8/9"} {
			for _, retain := range []bool{false, true} {
				p := h.message(topic, "the payload", retain)
				onWire := pass(t, h.client, h.fromClient, p)
				require.NotContains(t, string(onWire), "the payload")
				require.NotContains(t, string(onWire), "°C")
				require.Equal(t, p, pass(t, h.toBroker, h.broker, onWire), topic)
				require.Equal(t, p, h.down(p), topic)
			}
		}
		empty := h.message("site/7", "", true)
		onWire := pass(t, h.client, h.fromClient, empty)
		m, err := wire.ParsePublish(onWire, v)
		require.NoError(t, err)
		require.NotEmpty(t, m.Payload, "clearing is authentic")
		require.Equal(t, empty, pass(t, h.toBroker, h.broker, onWire))
	})
}

// TestHopRefuses what somebody in between makes of it: a message sent back, repeated, changed, in the clear, moved to
// another topic, or of another connection.
func TestHopRefuses(t *testing.T) {
	onHops(t, func(t *testing.T, v wire.Version) {
		h := newHops(t, v, XAES(), fixedKeys(1), fixedKeys(1))
		other := newHops(t, v, XAES(), fixedKeys(2), fixedKeys(2))
		marker := h.message("marker", "", false)
		refused := func(p wire.Packet, to, read net.Conn, from, wrote net.Conn, want error) {
			t.Helper()
			next := bytes.Clone(pass(t, from, wrote, marker))
			go func() {
				to.Write(p)
				to.Write(next)
			}()
			got, err := wire.Read(read, 1<<20)
			require.NoError(t, err)
			require.Equal(t, marker, got, "nothing of it was delivered")
			require.ErrorIs(t, (<-h.rejected).Err, want)
		}
		up := func(p wire.Packet, want error) {
			t.Helper()
			refused(p, h.toBroker, h.broker, h.client, h.fromClient, want)
		}
		p := h.message("site/7", "21.5", false)
		sealed := bytes.Clone(pass(t, h.client, h.fromClient, p))
		refused(sealed, h.fromClient, h.client, h.broker, h.toBroker, ErrUnknownKey) // reflected
		require.Equal(t, p, pass(t, h.toBroker, h.broker, bytes.Clone(sealed)))
		up(bytes.Clone(sealed), ErrReplay)
		changed := bytes.Clone(pass(t, h.client, h.fromClient, p))
		changed[len(changed)-1] ^= 1
		up(changed, ErrAuthentication)
		up(h.message("site/7", "21.5", false), ErrNotSealed)
		up(h.message("site/7", "", true), ErrNotSealed)
		moved := bytes.Replace(pass(t, h.client, h.fromClient, p), []byte("site/7"), []byte("site/8"), 1)
		up(moved, ErrAuthentication)
		up(bytes.Clone(pass(t, other.client, other.fromClient, p)), ErrUnknownKey)
	})
}

// TestHopWithAnotherSuite: neither side takes what the other sealed.
func TestHopWithAnotherSuite(t *testing.T) {
	h := newHops(t, wire.V311, XAES(), fixedKeys(1), fixedKeys(1))
	other := newHops(t, wire.V311, smallSuite(), fixedKeys(1), fixedKeys(1))
	p := bytes.Clone(pass(t, other.client, other.fromClient, h.message("site/7", "21.5", false)))
	next := bytes.Clone(pass(t, h.client, h.fromClient, h.message("marker", "", false)))
	go func() {
		h.toBroker.Write(p)
		h.toBroker.Write(next)
	}()
	_, err := wire.Read(h.broker, 1<<20)
	require.NoError(t, err)
	require.ErrorIs(t, (<-h.rejected).Err, ErrMalformed)
}

// TestHopNeedsKeysOfASession: a plain connection has none, and those of TLS do not end where the broker half is.
func TestHopNeedsKeysOfASession(t *testing.T) {
	hop := NewHop(XAES(), nil)
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	_, err := hop.Conn(context.Background(), near)
	require.ErrorIs(t, err, ErrNoSession)
	_, err = hop.Conn(context.Background(), tlsLike{near})
	require.ErrorIs(t, err, ErrNoSession)
}

// tlsLike says that it is TLS whose handshake is complete.
type tlsLike struct{ net.Conn }

func (tlsLike) ConnectionState() tls.ConnectionState {
	return tls.ConnectionState{HandshakeComplete: true}
}

// TestHopBeforeKeys: a server that publishes before CONNACK is out of order.
func TestHopBeforeKeys(t *testing.T) {
	hop := NewHop(XAES(), nil)
	near, far := net.Pipe()
	defer far.Close()
	client, err := hop.Conn(context.Background(), exporting{near, fixedKeys(1)})
	require.NoError(t, err)
	defer client.Close()
	connect, err := (&wire.ConnectPacket{Version: wire.V311, ClientID: []byte("c")}).Append(nil)
	require.NoError(t, err)
	pass(t, client, far, connect)
	early, err := (&wire.PublishPacket{Topic: []byte("a")}).Append(nil, wire.V311)
	require.NoError(t, err)
	go far.Write(early)
	_, err = client.Read(make([]byte, 1))
	require.ErrorIs(t, err, layer.ErrProtocol)
}

// noKeys exports none.
type noKeys struct{}

func (noKeys) ExportKeyingMaterial(string, []byte, int) ([]byte, error) { return nil, io.EOF }

// TestHopWithoutSession: a refusal passes, of which there need be no keys; success without keys does not.
func TestHopWithoutSession(t *testing.T) {
	for _, code := range []byte{wire.V3NotAuthorized, wire.Success} {
		near, far := net.Pipe()
		defer far.Close()
		client, err := NewHop(XAES(), nil).Conn(context.Background(), exporting{near, noKeys{}})
		require.NoError(t, err)
		defer client.Close()
		connect, err := (&wire.ConnectPacket{Version: wire.V311, ClientID: []byte("c")}).Append(nil)
		require.NoError(t, err)
		pass(t, client, far, connect)
		connack := wire.Packet{0x20, 2, 0, code}
		if code != wire.Success {
			require.Equal(t, connack, pass(t, far, client, connack))
			continue
		}
		go far.Write(connack)
		_, err = client.Read(make([]byte, 1))
		require.ErrorIs(t, err, ErrNoSession)
	}
}
