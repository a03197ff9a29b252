package seal

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"

	"github.com/mqttsec/mqttsec/internal/key"
	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// ErrNoSession: there is no connection below that derives keys for this one, as MQTT-Auth's does.
var ErrNoSession = errors.New("mqttsec: no session below that derives keys")

// Hop seals what passes between a client and the broker half of a scheme, under keys that belong to one connection:
// those that the handshake below left both sides with. Every PUBLISH is covered, whatever its topic, in both
// directions, each of which has its own key, so that nothing can be sent back. The Will is not: it leaves in CONNECT,
// before there are keys.
//
// What is resealed at the broker half for each subscriber is a new message there; what a peer sends again after a
// reconnect is one too, and MQTT's own packet identifiers tell that it is not.
type Hop struct {
	suite    Suite
	rejected func(Rejection)
}

// The keys of a Hop's Sealer, by number.
const (
	sealsHop = 0 // and never opens
	opensHop = 1
)

// NewHop returns a Hop with this suite. rejected hears of each message that is withheld; nil for nobody.
func NewHop(suite Suite, rejected func(Rejection)) *Hop { return &Hop{suite, rejected} }

// Format writes the type's name.
func (h *Hop) Format(f fmt.State, _ rune) { io.WriteString(f, "mqttsec.Session") }

// Conn is the client's side. The keys are those of the nearest connection below that exports keying material, which
// is asked for them when the server's CONNACK comes: until then nothing but CONNECT may pass, and no PUBLISH does.
// TLS is no such connection, for it does not end where the broker half is.
func (h *Hop) Conn(ctx context.Context, conn net.Conn) (net.Conn, error) {
	if err := layer.Handshake(ctx, conn); err != nil {
		return nil, fmt.Errorf("mqttsec: %w", err)
	}
	keys, _ := layer.Exporter(conn)
	if _, isTLS := keys.(*tls.ConnectionState); isTLS || keys == nil {
		return nil, ErrNoSession
	}
	return h.with(conn, keys, true)
}

// Accept is the broker half's side: conn is what its listener accepted, whose first packet is CONNECT, and keys are
// those of the session that the client proved.
func (h *Hop) Accept(conn net.Conn, keys layer.KeyExporter) (net.Conn, error) {
	return h.with(conn, keys, false)
}

func (h *Hop) with(conn net.Conn, keys layer.KeyExporter, client bool) (net.Conn, error) {
	s, err := h.sealer()
	if err != nil {
		return nil, err
	}
	return layer.New(conn, &hopFilter{hop: h, keys: keys, client: client, inner: newFilter(s)}), nil
}

// A connection has a Sealer of its own, with less room than one of many topics and publishers.
const (
	hopSessions  = 64
	hopRows      = 8
	hopSignature = "mqttsec v1 hop"
)

// sealer returns a Sealer with keys that nobody has, until there are others.
func (h *Hop) sealer() (*Sealer, error) {
	var random [2 * key.SecretSize]byte
	rand.Read(random[:]) // never fails
	keys, err := hopKeys(random[:], true)
	if err != nil {
		return nil, err
	}
	s, err := New(h.suite, Config{Keys: keys, MaxSessions: hopSessions, Rejected: h.rejected})
	if err != nil {
		return nil, err
	}
	s.hop = true
	s.topics.known, s.topics.foreign = newCache[leaves](hopRows), newCache[string](1)
	s.boxes = newCache[box](hopRows)
	return s, nil
}

// hopKeys makes keys of what was exported: first the client's, which seals what it publishes, then the broker half's.
func hopKeys(exported []byte, client bool) ([]Key, error) {
	ours, theirs := exported[:key.SecretSize], exported[key.SecretSize:]
	if !client {
		ours, theirs = theirs, ours
	}
	sealing, err := key.New("#", ours)
	if err != nil {
		return nil, err
	}
	opening, err := key.New("#", theirs)
	return []Key{sealsHop: sealing, opensHop: opening}, err
}

// hopFilter is the filter of a Sealer whose keys come with CONNACK.
type hopFilter struct {
	hop    *Hop
	keys   layer.KeyExporter
	client bool
	inner  *filter
	ready  atomic.Bool // behind it, inner's Sealer has its keys
}

// begin derives the keys of the connection.
func (f *hopFilter) begin() error {
	if f.ready.Load() {
		return nil
	}
	label := fmt.Sprintf("%s %d", hopSignature, f.hop.suite.ID)
	exported, err := f.keys.ExportKeyingMaterial(label, nil, 2*key.SecretSize)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoSession, err)
	}
	defer clear(exported)
	keys, err := hopKeys(exported, f.client)
	if err != nil {
		return err
	}
	if err := f.inner.sealer.setKeys(keys); err != nil {
		return err
	}
	f.ready.Store(true)
	return nil
}

// Outgoing lets CONNECT and CONNACK pass, and seals what is published.
func (f *hopFilter) Outgoing(c *layer.Conn, p wire.Packet) (wire.Packet, error) {
	switch p.Type() {
	case wire.Connect:
		return f.connect(c, p, f.inner.Outgoing)
	case wire.Connack:
		if err := f.acknowledge(c, p); err != nil {
			return nil, err
		}
	case wire.Publish:
		if !f.ready.Load() {
			return nil, layer.ErrProtocol
		}
	}
	return f.inner.Outgoing(c, p)
}

// Incoming lets CONNECT and CONNACK pass, and opens what is published.
func (f *hopFilter) Incoming(c *layer.Conn, p wire.Packet) (wire.Packet, error) {
	switch p.Type() {
	case wire.Connect:
		if err := f.begin(); err != nil { // a client may publish before it has read CONNACK
			return nil, err
		}
		return f.connect(c, p, f.inner.Incoming)
	case wire.Connack:
		if err := f.acknowledge(c, p); err != nil {
			return nil, err
		}
	case wire.Publish:
		if !f.ready.Load() {
			return nil, layer.ErrProtocol
		}
	}
	return f.inner.Incoming(c, p)
}

// Skipped tells of a message that is larger than the local side takes.
func (f *hopFilter) Skipped(c *layer.Conn, m *wire.PublishPacket) error { return f.inner.Skipped(c, m) }

// Closed ends the connection's part.
func (f *hopFilter) Closed() { f.inner.Closed() }

// acknowledge derives the keys if the connection is a success.
func (f *hopFilter) acknowledge(c *layer.Conn, p wire.Packet) error {
	m, err := wire.ParseConnack(p, c.Version())
	if err != nil || m.Code != wire.Success {
		return err
	}
	return f.begin()
}

// connect shows CONNECT without its Will.
func (f *hopFilter) connect(c *layer.Conn, p wire.Packet, show func(*layer.Conn, wire.Packet) (wire.Packet, error)) (wire.Packet, error) {
	m, err := wire.ParseConnect(p)
	if err != nil {
		return nil, err
	}
	if m.Will == nil {
		return show(c, p)
	}
	will := m.Will
	m.Will = nil
	bare, err := m.Append(nil)
	if err != nil {
		return nil, err
	}
	shown, err := show(c, bare)
	if err != nil || shown == nil {
		return shown, err
	}
	if m, err = wire.ParseConnect(shown); err != nil {
		return nil, err
	}
	m.Will = will
	return m.Append(nil)
}
