package layer

import "github.com/mqttsec/mqttsec/internal/wire"

// script is a filter made of functions; a nil one lets everything pass.
type script struct {
	out, in func(c *Conn, p wire.Packet) (wire.Packet, error)
	closed  func()
}

func (s script) Outgoing(c *Conn, p wire.Packet) (wire.Packet, error) {
	if s.out == nil {
		return p, nil
	}
	return s.out(c, p)
}

func (s script) Incoming(c *Conn, p wire.Packet) (wire.Packet, error) {
	if s.in == nil {
		return p, nil
	}
	return s.in(c, p)
}

func (s script) Closed() {
	if s.closed != nil {
		s.closed()
	}
}

var (
	connectV5  = wire.Packet{0x10, 0x0f, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 60, 0, 0, 2, 'c', '1'}
	askingV5   = wire.Packet{0x10, 0x13, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 60, 4, 0x15, 0, 1, 'x', 0, 2, 'c', '1'}
	connectV3  = wire.Packet{0x10, 0x0e, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, 2, 'c', '1'}
	connackV5  = wire.Packet{0x20, 3, 0, 0, 0}
	connackV3  = wire.Packet{0x20, 2, 0, 0}
	publish0V5 = wire.Packet{0x30, 6, 0, 1, 't', 0, 'h', 'i'}
	publish1V5 = wire.Packet{0x32, 8, 0, 1, 't', 0, 7, 0, 'h', 'i'}
	pingreq    = wire.Packet{0xC0, 0}
)
