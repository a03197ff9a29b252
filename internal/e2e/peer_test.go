package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// peer is one end of an MQTT connection in the hands of a test: it sends and receives packets, well-behaved or not.
type peer struct {
	conn    net.Conn
	version wire.Version
	n       int // how many connections came before this one
}

// read returns the next packet.
func (p *peer) read() (wire.Packet, error) { return wire.Read(p.conn, wire.MaxPacket) }

// appender is a packet of package wire that depends on the version.
type appender interface {
	Append(dst []byte, v wire.Version) ([]byte, error)
}

// write sends a packet.
func (p *peer) write(m appender) error {
	b, err := m.Append(nil, p.version)
	if err != nil {
		return err
	}
	return p.send(b)
}

// send sends bytes.
func (p *peer) send(b []byte) error {
	_, err := p.conn.Write(b)
	return err
}

// ack sends an acknowledgement without a reason.
func (p *peer) ack(t wire.Type, id uint16) error { return p.write(&wire.AckPacket{Type: t, ID: id}) }

// greet is the broker's part of CONNECT.
func (p *peer) greet(sessionPresent bool, ps wire.Properties) (wire.ConnectPacket, error) {
	packet, err := p.read()
	if err != nil {
		return wire.ConnectPacket{}, err
	}
	connect, err := wire.ParseConnect(packet)
	if err != nil {
		return wire.ConnectPacket{}, err
	}
	p.version = connect.Version
	return connect, p.write(&wire.ConnackPacket{SessionPresent: sessionPresent, Properties: ps})
}

// grant answers the SUBSCRIBE that comes next.
func (p *peer) grant() error {
	packet, err := p.readPast()
	if err != nil {
		return err
	}
	m, err := wire.ParseSubscribe(packet, p.version)
	if err != nil {
		return fmt.Errorf("waiting for SUBSCRIBE: %w", err)
	}
	codes := make([]byte, len(m.Subscriptions))
	for i, s := range m.Subscriptions {
		codes[i] = s.Options & 3
	}
	return p.write(&wire.SubackPacket{Type: wire.Suback, ID: m.ID, Codes: codes})
}

// readPast returns the next packet that is no ping, which it answers. A DISCONNECT is the end of the file.
func (p *peer) readPast() (wire.Packet, error) {
	for {
		packet, err := p.read()
		switch {
		case err != nil:
			return nil, err
		case packet.Type() == wire.Disconnect:
			return nil, io.EOF
		case packet.Type() != wire.Pingreq:
			return packet, nil
		}
		if err := p.send([]byte{byte(wire.Pingresp) << 4, 0}); err != nil {
			return nil, err
		}
	}
}

// readStart returns when the first byte of a packet has come that is no ping. paho.golang sends a ping as soon as it is
// connected: who takes that for the application's first packet ends the connection before there is one.
func (p *peer) readStart() error {
	var start [1]byte
	for {
		if _, err := io.ReadFull(p.conn, start[:]); err != nil {
			return err
		}
		if wire.Type(start[0]>>4) != wire.Pingreq {
			return nil
		}
		if _, err := io.ReadFull(p.conn, start[:]); err != nil { // its length, 0
			return err
		}
		if err := p.send([]byte{byte(wire.Pingresp) << 4, 0}); err != nil {
			return err
		}
	}
}

// readAck returns when the acknowledgement comes; others before it are none of its business.
func (p *peer) readAck(t wire.Type, id uint16) error {
	for {
		packet, err := p.readPast()
		if err != nil {
			return err
		}
		m, err := wire.ParseAck(packet, p.version)
		if err != nil {
			return fmt.Errorf("waiting for %v: %w", t, err)
		}
		if m.Type == t && m.ID == id {
			return nil
		}
	}
}

// deliver sends a PUBLISH and completes the exchange.
func (p *peer) deliver(m wire.PublishPacket) error {
	if err := p.write(&m); err != nil {
		return err
	}
	return p.complete(m.QoS, m.ID)
}

// complete is what follows a PUBLISH that was sent.
func (p *peer) complete(qos byte, id uint16) error {
	switch qos {
	case 1:
		return p.readAck(wire.Puback, id)
	case 2:
		if err := p.readAck(wire.Pubrec, id); err != nil {
			return err
		}
		if err := p.ack(wire.Pubrel, id); err != nil {
			return err
		}
		return p.readAck(wire.Pubcomp, id)
	}
	return nil
}

// offer is deliver to a receiver that may refuse: in MQTT v5 a PUBREC with an error ends the exchange.
func (p *peer) offer(m wire.PublishPacket) error {
	if err := p.write(&m); err != nil || m.QoS == 0 {
		return err
	}
	for {
		packet, err := p.readPast()
		if err != nil {
			return err
		}
		ack, err := wire.ParseAck(packet, p.version)
		if err != nil {
			return err
		}
		switch {
		case ack.ID != m.ID:
		case ack.Type == wire.Puback, ack.Type == wire.Pubrec && ack.Reason >= wire.UnspecifiedError:
			return nil
		case ack.Type == wire.Pubrec:
			if err := p.ack(wire.Pubrel, m.ID); err != nil {
				return err
			}
			return p.readAck(wire.Pubcomp, m.ID)
		}
	}
}

// rogue is a broker that follows a script, once for each connection, one connection at a time.
type rogue struct {
	url     *url.URL
	mu      sync.Mutex
	conns   map[net.Conn]struct{}
	count   int
	running sync.WaitGroup
	script  sync.Locker
}

// errCut ends a script that has cut the connection on purpose.
var errCut = errors.New("e2e: cut")

// newRogue starts one. The script is over when the client goes away; any other error than that fails the test.
func newRogue(t testing.TB, script func(*peer) error) *rogue {
	t.Helper()
	return startRogue(t, new(sync.Mutex), script)
}

// newRogueParallel starts one that runs the scripts of several connections at once.
func newRogueParallel(t testing.TB, script func(*peer) error) *rogue {
	t.Helper()
	return startRogue(t, new(sync.RWMutex).RLocker(), script)
}

func startRogue(t testing.TB, turns sync.Locker, script func(*peer) error) *rogue {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &rogue{
		url:    &url.URL{Scheme: brokers.TCP, Host: listener.Addr().String()},
		conns:  make(map[net.Conn]struct{}),
		script: turns,
	}
	r.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			r.running.Go(func() { r.serve(t, conn, script) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		r.mu.Lock()
		for conn := range r.conns {
			_ = conn.Close()
		}
		r.conns = nil
		r.mu.Unlock()
		r.running.Wait()
	})
	return r
}

func (r *rogue) serve(t testing.TB, conn net.Conn, script func(*peer) error) {
	defer func() { _ = conn.Close() }()
	r.mu.Lock()
	if r.conns == nil {
		r.mu.Unlock()
		return
	}
	r.conns[conn] = struct{}{}
	p := &peer{conn: conn, n: r.count}
	r.count++
	r.mu.Unlock()

	r.script.Lock()
	defer r.script.Unlock()
	err := script(p)
	var network net.Error
	if !errors.Is(err, errCut) && !errors.Is(err, io.EOF) && !errors.As(err, &network) {
		assert.NoError(t, err)
	}
}

// idle reads until the client goes away, and answers pings.
func (p *peer) idle() error {
	for {
		if _, err := p.readPast(); err != nil {
			return err
		}
	}
}
