package layer

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// Attacks on the machinery of a Conn by load and by peers that misbehave.
//
//   - both directions, answers and injections at once,
//     while deadlines pass and packets come in crumbs    TestEverythingAtOnce
//   - Close at any moment of that                        TestCloseAtAnyMoment
//   - a peer that reads nothing                          TestPeerThatDoesNotRead
//   - a local side that reads nothing                    TestLocalSideThatDoesNotRead
//   - a CONNECT that the broker sends before the client  TestBrokerThatSendsConnect
//
// Each over TCP, TLS, a pipe (which needs the pump) and two Conns on top of each other. Not covered: what a filter
// does; its tests are beside it.

// pairs returns the local Conn and the peer's end, in each way in which they can be connected.
func pairs(t *testing.T, f Filter) map[string]func() (*Conn, net.Conn) {
	return map[string]func() (*Conn, net.Conn){
		"TCP":    func() (*Conn, net.Conn) { a, b := tcpPair(t); return New(a, f), b },
		"TLS":    func() (*Conn, net.Conn) { a, b := tlsPair(t); return New(a, f), b },
		"pipe":   func() (*Conn, net.Conn) { a, b := net.Pipe(); return New(a, f), b },
		"stack":  func() (*Conn, net.Conn) { a, b := tcpPair(t); return New(New(a, script{}), f), b },
		"middle": func() (*Conn, net.Conn) { a, b := tcpPair(t); return New(New(a, f), script{}), b },
	}
}

// numbered is a PUBLISH of QoS 0, or an acknowledgement, with a number in it.
func numbered(t wire.Type, n int) wire.Packet {
	if t == wire.Publish {
		return binary.BigEndian.AppendUint16(wire.Packet{0x30, 8, 0, 1, 't', 0, 'n', '='}, uint16(n))
	}
	return binary.BigEndian.AppendUint16(wire.Packet{byte(t) << 4, 2}, uint16(n))
}

// answering answers each PUBLISH in either direction as a filter that withholds every second one does.
func answering() script {
	return script{
		out: func(c *Conn, p wire.Packet) (wire.Packet, error) {
			if p.Type() != wire.Publish || p[len(p)-1]&1 == 0 {
				return p, nil
			}
			return nil, c.Inject(numbered(wire.Puback, int(binary.BigEndian.Uint16(p[len(p)-2:]))))
		},
		in: func(c *Conn, p wire.Packet) (wire.Packet, error) {
			if p.Type() != wire.Publish || p[len(p)-1]&1 == 0 {
				return p, nil
			}
			return nil, c.Send(numbered(wire.Pubrec, int(binary.BigEndian.Uint16(p[len(p)-2:]))))
		},
	}
}

// arrivals counts what one end reads: PUBLISH packets and acknowledgements, each kind in order and none twice.
func arrivals(r io.Reader, publishes, acks int) error {
	var b []byte
	buf := make([]byte, 37)
	last := map[wire.Type]int{}
	for publishes+acks > 0 {
		n, err := r.Read(buf)
		b = append(b, buf[:n]...)
		if err != nil && !isTimeout(err) {
			return err
		}
		for {
			n, err := wire.Scan(b, 100)
			if err != nil {
				return err
			}
			if n == 0 || n > len(b) {
				break
			}
			p := wire.Packet(b[:n])
			b = b[n:]
			number := int(binary.BigEndian.Uint16(p[n-2:]))
			switch p.Type() {
			case wire.Publish:
				publishes--
			case wire.Puback, wire.Pubrec:
				acks--
			default:
				continue
			}
			if number <= last[p.Type()] {
				return wire.ErrMalformed
			}
			last[p.Type()] = number
		}
	}
	return nil
}

func TestEverythingAtOnce(t *testing.T) {
	const n = 2000
	for name, connect := range pairs(t, answering()) {
		t.Run(name, func(t *testing.T) {
			c, peer := connect()
			defer c.Close()
			go func() { _, _ = c.Write(connectV5) }()
			read(t, peer, len(connectV5))

			results := make(chan error, 4)
			stop := make(chan struct{})
			defer close(stop)
			go func() { // the application publishes, in pieces
				for i := 1; i <= n; i++ {
					p := numbered(wire.Publish, i)
					c.Lock()
					_, _ = c.Write(p[:i%8])
					_, err := c.Write(p[i%8:])
					c.Unlock()
					if err != nil {
						results <- err
						return
					}
				}
				results <- nil
			}()
			go func() { // the broker publishes, several packets and a part at a time
				var b []byte
				for i := 1; i <= n; i++ {
					b = append(b, numbered(wire.Publish, i)...)
				}
				for len(b) > 0 {
					k := min(len(b), 1+len(b)%61)
					if _, err := peer.Write(b[:k]); err != nil {
						results <- err
						return
					}
					b = b[k:]
				}
				results <- nil
			}()
			go func() { // the application's deadlines pass all the time
				for {
					select {
					case <-stop:
						return
					default:
						_ = c.SetReadDeadline(time.Now().Add(50 * time.Microsecond))
						runtime.Gosched()
					}
				}
			}()
			go func() { results <- arrivals(c, n/2, n/2) }()
			go func() { results <- arrivals(peer, n/2, n/2) }()
			for range cap(results) {
				require.NoError(t, <-results)
			}
		})
	}
}

func TestCloseAtAnyMoment(t *testing.T) {
	before := runtime.NumGoroutine()
	for name, connect := range pairs(t, answering()) {
		t.Run(name, func(t *testing.T) {
			for round := range 10 {
				c, peer := connect()
				go func() { _, _ = c.Write(connectV5) }()
				read(t, peer, len(connectV5))
				var ends sync.WaitGroup
				ends.Go(func() {
					for i := 1; ; i = i%1000 + 1 {
						if _, err := c.Write(numbered(wire.Publish, i)); err != nil {
							return
						}
					}
				})
				ends.Go(func() {
					for i := 1; ; i = i%1000 + 1 {
						if _, err := peer.Write(numbered(wire.Publish, i)); err != nil {
							return
						}
					}
				})
				ends.Go(func() { _, _ = io.Copy(io.Discard, c) })
				ends.Go(func() { _, _ = io.CopyN(io.Discard, peer, int64(100*round)); c.Close(); peer.Close() })
				ends.Wait()
			}
		})
	}
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+1 }, time.Minute, time.Millisecond, "goroutines left") // and this one
}

func TestPeerThatDoesNotRead(t *testing.T) {
	for name, connect := range pairs(t, answering()) {
		t.Run(name, func(t *testing.T) {
			c, peer := connect()
			go func() { _, _ = c.Write(connectV5) }()
			read(t, peer, len(connectV5))
			flood := bytes.Repeat(numbered(wire.Publish, 1), 1000)
			go func() {
				for {
					if _, err := peer.Write(flood); err != nil {
						return
					}
				}
			}()
			_, err := io.Copy(io.Discard, c)
			require.ErrorIs(t, err, ErrFlood)
			done := make(chan struct{})
			go func() { c.Close(); peer.Close(); close(done) }()
			<-done
			_, err = c.Write(pingreq)
			require.Error(t, err)
		})
	}
}

func TestLocalSideThatDoesNotRead(t *testing.T) {
	for name, connect := range pairs(t, answering()) {
		if name != "TCP" && name != "pipe" {
			continue // all that matters here is whether there is a pump
		}
		t.Run(name, func(t *testing.T) {
			c, peer := connect()
			defer c.Close()
			go func() { _, _ = io.Copy(io.Discard, peer) }()
			_, err := c.Write(connectV5)
			require.NoError(t, err)
			for err == nil {
				_, err = c.Write(numbered(wire.Publish, 1))
			}
			require.ErrorIs(t, err, ErrFlood)
		})
	}
}

// TestBrokerThatSendsConnect: whoever is first decides the roles, and the other one gets an error.
func TestBrokerThatSendsConnect(t *testing.T) {
	for name, connect := range pairs(t, script{}) {
		t.Run(name, func(t *testing.T) {
			c, peer := connect()
			defer c.Close()
			go func() { _, _ = peer.Write(connectV5) }()
			require.Equal(t, []byte(connectV5), read(t, c, len(connectV5)))
			_, err := c.Write(connectV5)
			require.ErrorIs(t, err, ErrProtocol)
		})
	}
}
