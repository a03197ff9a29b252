package plug

import (
	"bytes"
	"encoding/binary"
	"io"
	"sync"

	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// thawer is the connection as a session sees it. It collects what is written until a
// packet is whole, thaws it if it is a PUBLISH, and passes it on in one piece.
//
// A PUBLISH that does not thaw is skipped. To fail for it would cost the connection,
// and the next connection would meet the same message.
type thawer struct {
	conn    io.Writer
	lock    sync.Locker // the connection's own, so that nobody writes in between
	session *frozenSession

	// These are the lock holder's.
	packets layer.Assembler
	bad     bool // what is being written is no MQTT packet

	mu      sync.Mutex
	skipped []skipped
}

// skipped is a stored message that was not sent.
type skipped struct {
	id  uint16
	qos byte
}

func newThawer(conn io.Writer, s *frozenSession) *thawer {
	lock, ok := conn.(sync.Locker)
	if !ok {
		lock = new(sync.Mutex)
	}
	return &thawer{conn: conn, lock: lock, session: s}
}

// Lock begins a packet.
func (t *thawer) Lock() { t.lock.Lock() }

// Unlock ends a packet.
func (t *thawer) Unlock() {
	t.packets.Reset()
	t.bad = false
	t.lock.Unlock()
}

// Write takes a part of a packet. Its caller holds the lock for the whole of it.
func (t *thawer) Write(b []byte) (int, error) {
	if t.bad {
		return len(b), nil
	}
	var failed error
	err := t.packets.Push(b, func(p wire.Packet) error {
		failed = t.send(p)
		return failed
	})
	if failed != nil {
		return 0, failed
	}
	if err != nil {
		t.bad = true
		t.session.errs.Printf("plug: stored packet is not MQTT and is not sent: %s", err)
	}
	return len(b), nil
}

// send passes p on, thawed if it is a PUBLISH.
func (t *thawer) send(p wire.Packet) error {
	if p.Type() == wire.Publish {
		m := skipped{identifier(p), p.Flags() >> 1 & 3}
		thawed, err := t.thaw(p)
		if err != nil {
			t.session.errs.Printf("plug: stored message %d does not open and is given up: %s", m.id, err)
			t.mu.Lock()
			defer t.mu.Unlock()
			t.skipped = append(t.skipped, m)
			return nil
		}
		p = thawed
	}
	_, err := t.conn.Write(p)
	return err
}

// thaw leaves p alone, which is the session's memory.
func (t *thawer) thaw(p wire.Packet) (wire.Packet, error) {
	m, err := wire.ParsePublish(p, wire.V5)
	if err != nil {
		return nil, err
	}
	if len(m.Topic) == 0 {
		return nil, errUnnamed
	}
	return t.session.frost.thaw(bytes.Clone(p), true)
}

// takeSkipped returns what was skipped so far.
func (t *thawer) takeSkipped() []skipped {
	t.mu.Lock()
	defer t.mu.Unlock()
	ms := t.skipped
	t.skipped = nil
	return ms
}

// identifier finds the Packet Identifier of a PUBLISH of QoS 1 or 2 that may not be
// well-formed behind it, 0 if there is none.
func identifier(p wire.Packet) uint16 {
	body := p.Body()
	if len(body) < 2 {
		return 0
	}
	body = body[2:]
	n := int(binary.BigEndian.Uint16(p.Body()))
	if len(body) < n+2 {
		return 0
	}
	return binary.BigEndian.Uint16(body[n:])
}
