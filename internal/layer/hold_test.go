package layer

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// TestSendGoesBeforeLaterWrites: what the local side writes after a Send arrives after it.
func TestSendGoesBeforeLaterWrites(t *testing.T) {
	a, b := tcpPair(t)
	c := New(a, script{})
	write(t, c, connectV5)
	read(t, b, len(connectV5))
	for range 1000 {
		require.NoError(t, c.Send(pingreq))
		write(t, c, publish0V5)
		require.Equal(t, append(bytes.Clone(pingreq), publish0V5...), read(t, b, 2+len(publish0V5)))
	}
}

// TestHoldAndRelease holds from CONNECT on: Send and Inject pass, all else waits in its order; with Release the local
// side reads what it was given, then what came, and the peer reads what was written. A held message of 8 MiB is no more
// than another.
func TestHoldAndRelease(t *testing.T) {
	large := publishOf(t, 8<<20, wire.PublishPacket{Topic: []byte("t")})
	for name, pair := range map[string]func(*testing.T) (net.Conn, net.Conn){"tcp": tcpPair, "tls": tlsPair} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			var judged []wire.Type
			arrived := make(chan struct{}, 9)
			c := New(a, script{
				out: func(c *Conn, p wire.Packet) (wire.Packet, error) {
					if p.Type() == wire.Connect {
						c.Hold()
					}
					judged = append(judged, p.Type())
					return p, nil
				},
				in: func(c *Conn, p wire.Packet) (wire.Packet, error) {
					if p.Type() == wire.Connack {
						return nil, c.Send(pingreq)
					}
					arrived <- struct{}{}
					return p, nil
				},
			})
			write(t, c, connectV5, publish1V5, publish0V5[:3])
			read(t, b, len(connectV5))
			require.Len(t, judged, 1, "what is held is not judged yet")
			go write(t, b, connackV5, large, publish0V5)
			got := make(chan []byte)
			go func() {
				p := make([]byte, 2+len(connackV5)+len(large)+len(publish0V5))
				_, err := io.ReadFull(c, p)
				require.NoError(t, err)
				got <- p
			}()
			require.Equal(t, []byte(pingreq), read(t, b, 2))
			<-arrived
			<-arrived
			require.NoError(t, c.Inject(pingreq))
			require.NoError(t, c.Release(connackV5))
			require.Equal(t, bytes.Join([][]byte{pingreq, connackV5, large, publish0V5}, nil), <-got)
			require.Equal(t, []byte(publish1V5), read(t, b, len(publish1V5)))
			write(t, c, publish0V5[3:])
			require.Equal(t, []byte(publish0V5), read(t, b, len(publish0V5)))
			require.Equal(t, []wire.Type{wire.Connect, wire.Publish, wire.Publish}, judged)
		})
	}
}

// TestReleaseThenWrites: what is written after Release comes behind what was held, however the two meet.
func TestReleaseThenWrites(t *testing.T) {
	for range 200 {
		a, b := tcpPair(t)
		c := New(a, script{})
		write(t, c, connectV5)
		c.Hold()
		write(t, c, publish1V5, publish1V5)
		go func() { _ = c.Release() }()
		write(t, c, publish0V5)
		want := bytes.Join([][]byte{connectV5, publish1V5, publish1V5, publish0V5}, nil)
		require.Equal(t, want, read(t, b, len(want)))
		c.Close()
	}
}

// TestHeldIsBounded in both directions.
func TestHeldIsBounded(t *testing.T) {
	c := New(&fakeConn{write: func(b []byte) (int, error) { return len(b), nil }, read: func(b []byte) (int, error) {
		return copy(b, bytes.Repeat(publish0V5, 1+len(b)/len(publish0V5))[:len(b)/8*8]), nil
	}}, script{})
	require.Equal(t, maxHeld, c.queues.largest)
	c.queues.largest = 1 << 20
	write(t, c, connectV5)
	c.Hold()
	big := bytes.Repeat(publish0V5, 1<<17/len(publish0V5))
	var err error
	for range 20 {
		if _, err = c.Write(big); err != nil {
			break
		}
	}
	require.ErrorIs(t, err, ErrFlood)
	_, err = c.Read(make([]byte, 1))
	require.ErrorIs(t, err, ErrFlood)
	require.LessOrEqual(t, len(c.queues.heldIn)+len(c.queues.heldOut), 2<<20)
}

// TestInjectedBeforePassed: what Incoming injects is read before the packet that it lets pass.
func TestInjectedBeforePassed(t *testing.T) {
	a, b := tcpPair(t)
	c := New(a, script{in: func(c *Conn, p wire.Packet) (wire.Packet, error) { return p, c.Inject(pingreq) }})
	write(t, c, connectV5)
	write(t, b, connackV5, publish0V5)
	want := bytes.Join([][]byte{pingreq, connackV5, pingreq, publish0V5}, nil)
	require.Equal(t, want, read(t, c, len(want)))
}

// TestInjectedConnackIsTamed, and so is a released one: paho.golang panics on a method that it did not ask for.
func TestInjectedConnackIsTamed(t *testing.T) {
	withMethod, err := (&wire.ConnackPacket{Properties: wire.Properties(nil).AppendBytes(wire.AuthenticationMethod, []byte("x"))}).Append(nil, wire.V5)
	require.NoError(t, err)
	for _, tc := range []struct{ connect, connack, want wire.Packet }{
		{connectV5, withMethod, connackV5},
		{askingV5, withMethod, withMethod},
		{connectV3, wire.Packet{0x20, 2, 0, 0x87}, wire.Packet{0x20, 2, 0, 5}},
	} {
		for _, give := range []func(*Conn) error{func(c *Conn) error { return c.Inject(tc.connack) }, func(c *Conn) error { return c.Release(tc.connack) }} {
			a, _ := tcpPair(t)
			c := New(a, script{})
			write(t, c, tc.connect)
			require.NoError(t, give(c))
			require.Equal(t, []byte(tc.want), read(t, c, len(tc.want)))
		}
	}
}

// TestAwait drives an exchange before anybody reads, and gives up when its context ends, which does the connection no
// harm.
func TestAwait(t *testing.T) {
	connPairs(t, func(t *testing.T, client, server *Conn) {
		cause := errors.New("cause")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Millisecond, func() { cancel(cause) })
		require.ErrorIs(t, client.Await(ctx), cause)
		go server.Write(publish0V5)
		require.NoError(t, client.Await(t.Context()))
		require.NoError(t, client.Await(t.Context()), "it is still there")
		require.Equal(t, []byte(publish0V5), read(t, client, len(publish0V5)))
		go server.Close()
		require.Error(t, client.Await(t.Context()))
	})
}

// wrapper hides a connection as a websocket hides TLS.
type wrapper struct{ net.Conn }

func (w wrapper) NetConn() net.Conn { return w.Conn }

// exporting is a connection with keys of its own, such as TLS-PSK's or MQTT-Auth's.
type exporting struct{ net.Conn }

func (exporting) ExportKeyingMaterial(string, []byte, int) ([]byte, error) { return []byte("own"), nil }

func TestExporterAndHandshakeThroughWrappers(t *testing.T) {
	serving, trusting := tlsConfigs()
	trusting = trusting.Clone()
	trusting.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	for i := range 2 {
		a, b := tcpPair(t)
		done := make(chan []byte, 1)
		go func() {
			s := New(wrapper{tls.Server(b, serving)}, script{})
			require.NoError(t, Handshake(t.Context(), s))
			k, _ := Exporter(s)
			e, err := k.ExportKeyingMaterial("EXPORTER-x", []byte{}, 32)
			require.NoError(t, err)
			done <- e
			_, _ = s.NetConn().Write(pingreq) // with it comes the session ticket
		}()
		c := New(wrapper{wrapper{tls.Client(a, trusting)}}, script{})
		k, _ := Exporter(c)
		require.Nil(t, k, "not before the handshake")
		require.NoError(t, Handshake(t.Context(), c))
		k, resumed := Exporter(c)
		require.Equal(t, i == 1, resumed)
		e, err := k.ExportKeyingMaterial("EXPORTER-x", []byte{}, 32)
		require.NoError(t, err)
		require.Equal(t, <-done, e)
		read(t, c.NetConn(), 2)
		k, resumed = Exporter(New(exporting{c}, script{}))
		require.False(t, resumed)
		e, err = k.ExportKeyingMaterial("", nil, 0)
		require.NoError(t, err)
		require.Equal(t, "own", string(e), "the nearest counts")
	}
	a, _ := tcpPair(t)
	k, _ := Exporter(a)
	require.Nil(t, k)
	require.NoError(t, Handshake(t.Context(), a))
	x, y := net.Pipe()
	defer y.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, Handshake(ctx, wrapper{tls.Client(x, trusting)}), context.Canceled)
}

// patient is a connection that says of itself that it survives a timeout.
type patient struct {
	net.Conn
	yes bool
}

func (p patient) ReadAfterTimeout() bool { return p.yes }

func TestSurvivesTimeout(t *testing.T) {
	a, b := tcpPair(t)
	p, _ := net.Pipe()
	require.True(t, SurvivesTimeout(a))
	require.True(t, SurvivesTimeout(New(p, script{})))
	require.True(t, SurvivesTimeout(tls.Client(b, nil)))
	require.True(t, SurvivesTimeout(tls.Client(patient{p, true}, nil)))
	require.False(t, SurvivesTimeout(p))
	require.False(t, SurvivesTimeout(patient{a, false}))
	require.False(t, SurvivesTimeout(wrapper{a}))
	require.IsType(t, patient{}, New(patient{a, true}, script{}).inner, "no pump")
}

func TestSystemClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var clock Clock = SystemClock{}
		start := clock.Now()
		fired := make(chan time.Time, 1)
		clock.AfterFunc(time.Minute, func() { fired <- clock.Now() })
		require.Equal(t, start.Add(time.Minute), <-fired)
		require.True(t, clock.AfterFunc(time.Minute, func() {})())
	})
}

// TestExchanges: identifiers count down and are not used twice, an answer of another type ends the connection, those of
// the client's own exchanges are not taken.
func TestExchanges(t *testing.T) {
	a, b := tcpPair(t)
	c := New(a, script{})
	write(t, c, connectV3)
	read(t, b, len(connectV3))
	var x Exchanges
	var told [][]byte
	done := func(reasons []byte) error { told = append(told, reasons); return nil }
	require.NoError(t, x.Subscribe(c, done, wire.Subscription{Filter: []byte("f"), Options: 1}))
	require.Equal(t, []byte{0x82, 6, 0xFF, 0xFF, 0, 1, 'f', 1}, read(t, b, 8))
	require.NoError(t, x.Publish(c, done, wire.PublishPacket{Topic: []byte("t"), QoS: 2, Payload: []byte("x")}))
	require.Equal(t, []byte{0x32, 6, 0, 1, 't', 0xFF, 0xFE, 'x'}, read(t, b, 8))
	require.NoError(t, x.Unsubscribe(c, done, []byte("f")))
	require.Equal(t, []byte{0xA2, 5, 0xFF, 0xFD, 0, 1, 'f'}, read(t, b, 7))
	require.Equal(t, 3, x.Open())
	for _, tc := range []struct {
		p    wire.Packet
		ours bool
	}{
		{wire.Packet{0x40, 2, 0, 1}, false}, {publish0V5, false}, {wire.Packet{0x90, 3, 0xFF, 0xFF, 1}, true}, {wire.Packet{0x90, 3, 0xFF, 0xFF, 1}, false},
		{wire.Packet{0x40, 2, 0xFF, 0xFE}, true}, {wire.Packet{0xB0, 2, 0xFF, 0xFD}, true}, {wire.Packet{0x40, 2, 0xFF, 0xFD}, false},
	} {
		ours, err := x.Incoming(c, tc.p)
		require.NoError(t, err)
		require.Equal(t, tc.ours, ours, "% x", tc.p)
	}
	require.Zero(t, x.Open())
	require.Len(t, told, 3)
	require.Equal(t, []byte{1}, told[0])
	require.NoError(t, x.Subscribe(c, done, wire.Subscription{Filter: []byte("f")}))
	_, err := x.Incoming(c, wire.Packet{0x40, 2, 0xFF, 0xFC})
	require.ErrorIs(t, err, ErrProtocol)
	require.Error(t, x.Subscribe(c, done, wire.Subscription{}), "no filter")
	require.Equal(t, 1, x.Open())
	for err == nil || errors.Is(err, ErrProtocol) {
		err = x.Subscribe(c, done, wire.Subscription{Filter: []byte("f")})
	}
	require.ErrorIs(t, err, ErrExchanges)
	require.Equal(t, maxExchanges, x.Open())
}
