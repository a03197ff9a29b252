package attacks

import (
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/site"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// from dials from an address of this machine that is not the honest clients'.
func from(t testing.TB, source, address string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
	conn, err := d.DialContext(patient(t), "tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// TestHalfOpen floods the listeners from several addresses with more connections than may be pending: that say
// nothing, half a ClientHello, TLS and no CONNECT, half a CONNECT. Meanwhile honest clients get in.
func TestHalfOpen(t *testing.T) {
	forEachPlace(t, func(t *testing.T, p place) {
		const sources, each = 5, 110 // more from each than one may have, more in all than there may be
		hello := clientHello(t)
		halves := []func(net.Conn){
			func(net.Conn) {},
			func(c net.Conn) { _, _ = c.Write(hello[:len(hello)/2]) },
			func(c net.Conn) { _, _ = c.Write(hello) },
			func(c net.Conn) {
				c = tls.Client(c, p.world.trust())
				_, _ = c.Write([]byte{0x10, 0x80, 0x80, 1, 0, 4, 'M', 'Q', 'T', 'T'})
			},
		}
		for s := range sources {
			for i := range each {
				conn := from(t, fmt.Sprintf("127.0.1.%d", s+1), p.addresses[site.Tokens])
				half := halves[0]
				if i%10 == 0 { // a few of the costlier ones
					half = halves[1+(i/10)%(len(halves)-1)]
				}
				_ = conn.SetDeadline(time.Now().Add(patience))
				go half(conn)
			}
		}
		for _, l := range libraries {
			id := newClientID()
			c := l.must(t, p, bearing(t, p.world.token(t, id, site.Broker)), options{id: id, url: p.url(site.Tokens)})
			require.NoError(t, c.publish("site/"+id+"/x", 2, false, "got in"))
		}
	})
}

// clientHello is the beginning of a TLS connection.
func clientHello(t testing.TB) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer func() { _, _ = client.Close(), server.Close() }()
	go func() { _ = tls.Client(client, &tls.Config{ServerName: "localhost"}).Handshake() }() // ends with the pipe
	hello := make([]byte, 4096)
	n, err := server.Read(hello)
	require.NoError(t, err)
	return hello[:n]
}

// TestTokenSpam publishes junk to "authz-info", connected without a token, until the broker has enough of it: honest
// clients do not notice.
func TestTokenSpam(t *testing.T) {
	forEachPlace(t, func(t *testing.T, p place) {
		const junk = 500
		id := newClientID()
		honest := libraries[1].must(t, p, bearing(t, p.world.token(t, id, site.Broker)), options{id: id, url: p.url(site.Tokens)})
		r := p.dial(t, wire.V5)
		r.send(connectPacket(t, wire.V5, newName("spammer"), nil, nil, func(m *wire.ConnectPacket) { m.Properties = nil }))
		require.Zero(t, r.connack())
		refused := 0
		for i := range junk {
			r.write(&wire.PublishPacket{QoS: 1, ID: uint16(i + 1), Topic: []byte("authz-info"), Payload: random(512)})
			answer := r.receive()
			if answer == nil || answer.Type() != wire.Puback {
				break
			}
			ack, err := wire.ParseAck(answer, wire.V5)
			require.NoError(t, err)
			require.GreaterOrEqual(t, ack.Reason, byte(0x80))
			refused++
		}
		require.NotZero(t, refused)
		require.NoError(t, honest.publish("site/"+id+"/x", 1, false, "not disturbed"))
	})
}

// TestMalformed sends what is no MQTT to every listener, before and after authentication, whole and byte by byte: each
// connection ends, honest clients do not notice, and the gateway is afterwards as large as before.
func TestMalformed(t *testing.T) {
	forEachPlace(t, func(t *testing.T, p place) {
		behindGateway := p.addresses[site.Tokens] == p.world.site.URL(site.Tokens).Host
		id := newClientID()
		token := p.world.token(t, id, site.Broker)
		for i, junk := range malformed() {
			for _, listener := range []string{site.Tokens, site.TLS, site.Plain} {
				conn := from(t, "127.0.2.1", p.addresses[listener])
				if listener != site.Plain {
					conn = tls.Client(conn, p.world.trust())
				}
				r := newRaw(t, conn, wire.V5)
				trickle(r, junk, i%2 == 0)
				for packet := r.receive(); packet != nil; packet = r.receive() {
					require.Contains(t, []wire.Type{wire.Connack, wire.Disconnect}, packet.Type(), "%s: %x", listener, junk[:min(len(junk), 40)])
				}
			}
			for _, v := range versions {
				if i > 0 && junk[0]>>4 == byte(wire.Connect) {
					continue // the same as before
				}
				r := p.dial(t, v)
				require.Zero(t, r.connect(fmt.Sprint(id, "-", i), token))
				trickle(r, junk, i%2 == 1)
				for packet := r.receive(); packet != nil; packet = r.receive() {
					require.Equal(t, wire.Disconnect, packet.Type(), "%x", junk[:min(len(junk), 40)])
				}
			}
		}
		c := libraries[0].must(t, p, bearing(t, token), options{id: id, url: p.url(site.Tokens)})
		require.NoError(t, c.publish("site/"+id+"/x", 1, false, "as ever"))
		if behindGateway {
			after, err := p.world.site.Metrics(patient(t))
			require.NoError(t, err)
			require.Less(t, after["process_resident_memory_bytes"], float64(512<<20))
			require.Positive(t, after["go_goroutines"])
		}
	})
}

// malformed are things to say instead of a packet.
func malformed() [][]byte {
	random := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 4096)
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	noise[0] = 0 // no packet begins like this
	return [][]byte{
		noise,
		{0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F}, // a length of five bytes
		{0x10, 0xFF, 0xFF, 0xFF, 0x7F, 0, 4, 'M', 'Q'},   // 256 MiB are announced
		{0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 9, 2, 0, 0}, // a version that there is not, and cut short
		{0x30, 0xFF, 0xFF, 0xFF, 0xFF, 1},                // the same for PUBLISH
		{0x36, 4, 0, 1, 'a', 0},                          // QoS 3
		{0x32, 5, 0, 9, 'a', 0, 1},                       // a topic beyond its packet
		{0x82, 2, 0, 1},                                  // SUBSCRIBE to nothing
		{0x82, 8, 0, 1, 0, 3, 'a', '#', 'b', 9},          // no filter, and no QoS
		{0xF0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF},             // AUTH
		{0x20, 2, 0, 0},                                  // what only brokers say
		{0x00, 0x00},                                     // reserved
	}
}

// trickle sends bytes together or one by one, and says that there will be no more.
func trickle(r *raw, b []byte, slowly bool) {
	if slowly {
		for i := range b[:min(len(b), 64)] {
			r.send(b[i : i+1])
		}
		b = b[min(len(b), 64):]
	}
	r.send(b)
	if c, ok := r.conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite() // it may be closed already
	}
}

// TestHugeLength announces packets of 256 MiB on many connections to the gateway: it does not reserve what is only
// announced.
func TestHugeLength(t *testing.T) {
	forEachPlace(t, func(t *testing.T, p place) {
		if p.addresses[site.Tokens] != p.world.site.URL(site.Tokens).Host {
			return // the memory of this process is everybody's; package layer asserts it there
		}
		id := newClientID()
		token := p.world.token(t, id, site.Broker)
		const many, allowed = 32, 256 << 20
		for i := range many {
			r := p.dial(t, wire.V311)
			require.Zero(t, r.connect(fmt.Sprint(id, "-", i), token))
			r.send([]byte{0x30, 0xFF, 0xFF, 0xFF, 0x7F, 0, 1})
			_, _ = io.WriteString(r.conn, "s")
		}
		after, err := p.world.site.Metrics(patient(t))
		require.NoError(t, err)
		require.Less(t, after["process_resident_memory_bytes"], float64(allowed), "8 GiB were announced")
	})
}
