package layer

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// TestOneWriteForEachPacket counts the writes that reach the connection below.
func TestOneWriteForEachPacket(t *testing.T) {
	var writes [][]byte
	c := New(&fakeConn{write: func(b []byte) (int, error) { writes = append(writes, bytes.Clone(b)); return len(b), nil }}, script{})
	for _, piece := range [][]byte{connectV5[:1], connectV5[1:4], connectV5[4:], append(bytes.Clone(publish0V5), publish1V5[:1]...), publish1V5[1:]} {
		write(t, c, piece)
	}
	require.Equal(t, [][]byte{connectV5, publish0V5, publish1V5}, writes)
}

func TestFilterEditsAndWithholds(t *testing.T) {
	edited := wire.Packet{0x30, 7, 0, 1, 't', 0, 'h', 'i', '!'}
	edit := func(c *Conn, p wire.Packet) (wire.Packet, error) {
		switch {
		case p.Type() != wire.Publish:
			return p, nil
		case p.Flags()&6 != 0:
			return nil, nil
		}
		require.Equal(t, wire.V5, c.Version())
		return edited, nil
	}
	a, b := tcpPair(t)
	client := New(a, script{out: edit, in: edit})
	original := bytes.Clone(publish0V5)
	write(t, client, connectV5, publish1V5, publish0V5)
	require.Equal(t, append(bytes.Clone(connectV5), edited...), read(t, b, len(connectV5)+len(edited)))
	require.Equal(t, wire.Packet(original), publish0V5, "the caller's memory")
	require.True(t, client.IsClient())
	write(t, b, connackV5, publish1V5, publish0V5)
	require.Equal(t, append(bytes.Clone(connackV5), edited...), read(t, client, len(connackV5)+len(edited)))
}

func TestFilterErrorEndsTheConnection(t *testing.T) {
	broken := errors.New("broken")
	fail := func(c *Conn, p wire.Packet) (wire.Packet, error) {
		if p.Type() == wire.Publish {
			return nil, broken
		}
		return p, nil
	}
	a, b := tcpPair(t)
	client := New(a, script{out: fail, in: fail})
	write(t, client, connectV5)
	for range 2 {
		_, err := client.Write(publish0V5)
		require.ErrorIs(t, err, broken)
	}
	_, err := client.Write(pingreq)
	require.ErrorIs(t, err, broken, "a failed write is sticky")
	write(t, b, connackV5, publish0V5, connackV5)
	read(t, client, len(connackV5))
	for range 2 {
		_, err = client.Read(make([]byte, 8))
		require.ErrorIs(t, err, broken)
	}
}

// TestInjectWakesABlockedRead injects a packet from Outgoing while the local side waits in Read, below which is TCP,
// TLS, a pump, or another layer.
func TestInjectWakesABlockedRead(t *testing.T) {
	below := map[string]func(t *testing.T) (net.Conn, net.Conn){
		"tcp":   tcpPair,
		"tls":   tlsPair,
		"pump":  func(*testing.T) (net.Conn, net.Conn) { return net.Pipe() },
		"layer": func(t *testing.T) (net.Conn, net.Conn) { a, b := tcpPair(t); return New(a, script{}), b },
	}
	puback := wire.Packet{0x40, 3, 0, 7, 0x95}
	for name, pair := range below {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			defer b.Close()
			client := New(a, script{out: func(c *Conn, p wire.Packet) (wire.Packet, error) {
				if p.Type() == wire.Publish {
					return nil, c.Inject(puback)
				}
				return p, nil
			}})
			defer client.Close()
			go func() { io.ReadFull(b, make([]byte, len(connectV5))); b.Write(connackV5) }()
			write(t, client, connectV5)
			require.Equal(t, []byte(connackV5), read(t, client, len(connackV5)))
			for range 3 {
				got := make(chan []byte)
				go func() {
					b := make([]byte, len(puback))
					io.ReadFull(client, b)
					got <- b
				}()
				runtime.Gosched()
				write(t, client, publish1V5)
				require.Equal(t, []byte(puback), <-got)
			}
			go b.Write(publish0V5)
			require.Equal(t, []byte(publish0V5), read(t, client, len(publish0V5)), "the connection lives on")

			require.NoError(t, client.SetReadDeadline(time.Now().Add(-time.Second)))
			_, err := client.Read(make([]byte, 1))
			require.ErrorIs(t, err, os.ErrDeadlineExceeded, "the local side's own deadline")
			require.NoError(t, client.SetReadDeadline(time.Time{}))
			go b.Write(publish0V5)
			require.Equal(t, []byte(publish0V5), read(t, client, len(publish0V5)), "after the local side's own timeout")
		})
	}
}

// TestInjectBetweenPackets sees that an injected packet never lands inside another.
func TestInjectBetweenPackets(t *testing.T) {
	a, b := tcpPair(t)
	client := New(a, script{})
	write(t, client, connectV5)
	write(t, b, connackV5, publish0V5)
	require.Equal(t, []byte(connackV5[:2]), read(t, client, 2))
	require.NoError(t, client.Inject(pingreq))
	require.Equal(t, []byte(connackV5[2:]), read(t, client, 3))
	require.Equal(t, []byte(pingreq), read(t, client, 2))
	require.Equal(t, []byte(publish0V5), read(t, client, len(publish0V5)))
}

// TestSendWhilePacketIsSplit sees that an answer never lands inside a packet that the local side writes in pieces.
func TestSendWhilePacketIsSplit(t *testing.T) {
	a, b := tcpPair(t)
	client := New(a, script{})
	write(t, client, connectV5, publish0V5[:3])
	require.NoError(t, client.Send(pingreq))
	require.Equal(t, append(bytes.Clone(connectV5), pingreq...), read(t, b, len(connectV5)+2))
	write(t, client, publish0V5[3:])
	require.Equal(t, []byte(publish0V5), read(t, b, len(publish0V5)))
}

// TestFlood sees that answers nobody reads are bounded, in both directions.
func TestFlood(t *testing.T) {
	stuck := make(chan struct{})
	c := New(&fakeConn{write: func(b []byte) (int, error) { <-stuck; return 0, io.ErrClosedPipe }}, script{})
	var err error
	for range 2 * maxAnswers / len(pingreq) {
		if err = c.Send(pingreq); err != nil {
			break
		}
	}
	require.ErrorIs(t, err, ErrFlood)
	close(stuck)
	for range 2 * maxInject / len(pingreq) {
		if err = c.Inject(pingreq); err != nil {
			break
		}
	}
	require.ErrorIs(t, err, ErrFlood)
}

func TestPacketsOutOfPlace(t *testing.T) {
	cases := map[string]struct{ out, in []wire.Packet }{
		"publish first":          {out: []wire.Packet{publish0V5}},
		"publish first received": {in: []wire.Packet{publish0V5}},
		"second connect":         {out: []wire.Packet{connectV5, connectV5}},
		"connect both ways":      {out: []wire.Packet{connectV5}, in: []wire.Packet{connectV5}},
		"connack from client":    {out: []wire.Packet{connectV5, connackV5}},
		"connack to server":      {in: []wire.Packet{connectV5, connackV5}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			a, b := tcpPair(t)
			c := New(a, script{})
			var err error
			for _, p := range tc.out {
				_, err = c.Write(p)
			}
			if tc.in != nil {
				require.NoError(t, err)
				write(t, b, tc.in...)
				b.Close()
				_, err = io.ReadAll(c)
			}
			require.ErrorIs(t, err, ErrProtocol)
		})
	}
}

func TestMalformedIsAnError(t *testing.T) {
	for _, p := range []wire.Packet{{0x00, 0}, {0x36, 0}, {0x30, 0xff, 0xff, 0xff, 0xff, 1}, {0x10, 2, 0, 0}} {
		a, b := tcpPair(t)
		c := New(a, script{})
		_, err := c.Write(p)
		require.ErrorIs(t, err, wire.ErrMalformed)
		write(t, b, p)
		_, err = c.Read(make([]byte, 1))
		require.ErrorIs(t, err, wire.ErrMalformed)
	}
}

// TestTruncation tells an end between packets from one inside.
func TestTruncation(t *testing.T) {
	for cut := range len(publish0V5) {
		a, b := tcpPair(t)
		c := New(a, script{})
		write(t, b, connectV5, publish0V5[:cut])
		b.Close()
		_, err := io.ReadAll(c)
		if cut == 0 {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		}
	}
}

// TestClaimedLengthReservesNothing receives the header of a packet of 256 MB, and a megabyte of it, and looks at the
// heap.
func TestClaimedLengthReservesNothing(t *testing.T) {
	a, b := tcpPair(t)
	c := New(a, script{})
	write(t, b, connectV5)
	read(t, c, len(connectV5))
	const sent = 1 << 20
	go func() {
		b.Write([]byte{0x30, 0xff, 0xff, 0xff, 0x7f})
		b.Write(make([]byte, sent))
		b.Close()
	}()
	_, err := io.ReadAll(c)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.LessOrEqual(t, len(c.in.data), 2*sent+keep)
}

// TestBuffersShrink sends a large packet both ways and looks at what is kept: of connections that are idle again,
// little.
func TestBuffersShrink(t *testing.T) {
	big, err := (&wire.PublishPacket{Topic: []byte("t"), Payload: make([]byte, 1<<20)}).Append(nil, wire.V5)
	require.NoError(t, err)
	a, b := tcpPair(t)
	client, server := New(a, script{}), New(b, script{})
	go func() {
		client.Write(connectV5)
		client.Write(big[:1000])
		client.Write(big[1000:])
		client.Write(pingreq)
	}()
	read(t, server, len(connectV5)+len(big)+2)
	go client.Write(pingreq)
	read(t, server, 2)
	require.LessOrEqual(t, len(server.in.data), keep)
	client.local.Lock()
	defer client.local.Unlock()
	require.Zero(t, cap(client.pieces.partial))
}

func TestConnackIsTamed(t *testing.T) {
	withMethod, err := (&wire.ConnackPacket{Properties: wire.Properties(nil).AppendBytes(wire.AuthenticationMethod, []byte("x")).
		AppendUint(wire.ServerKeepAlive, 9).AppendBytes(wire.AuthenticationData, []byte("y"))}).Append(nil, wire.V5)
	require.NoError(t, err)
	without, err := (&wire.ConnackPacket{Properties: wire.Properties(nil).AppendUint(wire.ServerKeepAlive, 9)}).Append(nil, wire.V5)
	require.NoError(t, err)
	cases := map[string]struct{ connect, connack, want wire.Packet }{
		"method nobody asked for": {connectV5, withMethod, without},
		"method asked for":        {askingV5, withMethod, withMethod},
		"reserved code":           {connectV3, wire.Packet{0x20, 2, 0, 0x87}, wire.Packet{0x20, 2, 0, 5}},
		"no success, no refusal":  {connectV5, wire.Packet{0x20, 3, 0, 0x01, 0}, wire.Packet{0x20, 3, 0, 0x80, 0}},
		"nor with a method":       {askingV5, wire.Packet{0x20, 3, 0, 0x7F, 0}, wire.Packet{0x20, 3, 0, 0x80, 0}},
		"refusal":                 {connectV5, wire.Packet{0x20, 3, 0, 0x80, 0}, wire.Packet{0x20, 3, 0, 0x80, 0}},
		"known code":              {connectV3, wire.Packet{0x20, 2, 0, 4}, wire.Packet{0x20, 2, 0, 4}},
		"success":                 {connectV3, connackV3, connackV3},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			a, b := tcpPair(t)
			c := New(a, script{})
			write(t, c, tc.connect)
			write(t, b, tc.connack)
			require.Equal(t, []byte(tc.want), read(t, c, len(tc.want)))
		})
	}
}

// TestLockerKeepsSplitPacketsApart writes packets in pieces from many goroutines as paho.golang does.
func TestLockerKeepsSplitPacketsApart(t *testing.T) {
	const writers, each = 8, 200
	a, b := tcpPair(t)
	c := New(a, script{})
	write(t, c, connectV5)
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				c.Lock()
				for i := range publish0V5 {
					c.Write(publish0V5[i : i+1])
				}
				c.Unlock()
			}
		})
	}
	got := read(t, b, len(connectV5)+writers*each*len(publish0V5))
	wg.Wait()
	require.Equal(t, bytes.Repeat(publish0V5, writers*each), got[len(connectV5):])
}

func TestCloseEndsReadsAndTellsTheFilterOnce(t *testing.T) {
	for name, pair := range map[string]func(*testing.T) (net.Conn, net.Conn){"tcp": tcpPair, "pump": func(*testing.T) (net.Conn, net.Conn) { return net.Pipe() }} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			defer b.Close()
			closed := make(chan struct{}) // closing it twice panics
			c := New(a, script{closed: func() { close(closed) }})
			done := make(chan error)
			go func() {
				_, err := c.Read(make([]byte, 1))
				done <- err
			}()
			c.Close()
			require.Error(t, <-done)
			c.Close()
			<-closed
			require.Same(t, a, c.NetConn())
		})
	}
}
