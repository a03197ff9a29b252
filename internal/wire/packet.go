// Package wire reads and writes MQTT control packets for code that sits between
// a client and a server: it finds the packets in a byte stream, takes apart those
// that a layer looks at, and puts edited ones together again. It speaks MQTT 3.1,
// 3.1.1 and 5.0 and is not a client library; it keeps no state, and [Read] alone does I/O.
//
// A stream is cut with [Scan]. Each packet type that is edited has a struct, a
// Parse function and an Append method. Parsing checks the structure completely:
// lengths, reserved bits, the bounds of every number, trailing bytes, and for
// v5 that each property exists, has its type, is allowed in that packet and is
// not repeated. What is parsed aliases the packet and never writes behind itself
// when appended to. Append writes the shortest encoding that the standard allows
// and refuses whatever Parse would refuse.
//
// Not checked: that text is UTF-8, that topics obey the wildcard rules (package
// topic does that), that reason codes and property values are meaningful, and
// everything that depends on the state of a session.
//
// Sources: "MQTT V3.1 Protocol Specification" (IBM, 2010), OASIS "MQTT Version
// 3.1.1" and OASIS "MQTT Version 5.0", whose sections the comments cite.
package wire

import (
	"errors"
	"fmt"
)

// MaxPacket is the size in bytes of the largest packet that MQTT can express: the
// largest Remaining Length and the five bytes of fixed header before it.
const MaxPacket = maxRemaining + 5

// maxRemaining is the largest Variable Byte Integer (MQTT5 1.5.5).
const maxRemaining = 268435455

// maxField is the largest length of a string or of binary data (MQTT5 1.5.4).
const maxField = 65535

var (
	// ErrMalformed is wrapped by every error about bytes, or about field values,
	// that are not a packet of the standard.
	ErrMalformed = errors.New("wire: malformed packet")

	// ErrTooLarge is wrapped by the errors about a packet beyond a limit: the
	// caller's in [Scan], the encoding's in the Append methods.
	ErrTooLarge = errors.New("wire: packet too large")

	// ErrVersion says that a CONNECT asks for a protocol that is none of the three
	// known, or that a function was given an unknown [Version]. It wraps
	// [ErrMalformed]; a server answers it with "unsupported protocol version".
	ErrVersion = fmt.Errorf("%w: unsupported protocol version", ErrMalformed)
)

var (
	errHeader    = malformed("bad fixed header")
	errType      = malformed("packet of another type")
	errLength    = malformed("length does not fit")
	errFlags     = malformed("reserved bits set")
	errQoS       = malformed("QoS 3")
	errPacketID  = malformed("packet identifier 0")
	errTopic     = malformed("empty topic or U+0000 in a topic")
	errEmptyList = malformed("empty list")
	errPassword  = malformed("password without user name")
	errField     = fmt.Errorf("%w: string or binary data beyond 65535 bytes", ErrTooLarge)
	errRemaining = fmt.Errorf("%w: beyond 268435455 bytes", ErrTooLarge)
)

func malformed(what string) error { return fmt.Errorf("%w: %s", ErrMalformed, what) }

// Version is the protocol level that a CONNECT names (MQTT5 3.1.2.2).
type Version byte

// The protocol levels.
const (
	V31  Version = 3 // MQTT 3.1, protocol name MQIsdp
	V311 Version = 4 // MQTT 3.1.1
	V5   Version = 5 // MQTT 5.0
)

// known reports whether v is one of the three.
func (v Version) known() bool { return v >= V31 && v <= V5 }

// Type is the type of a control packet (MQTT5 2.1.2).
type Type byte

// The control packet types. Auth exists in v5 only.
const (
	Connect Type = iota + 1
	Connack
	Publish
	Puback
	Pubrec
	Pubrel
	Pubcomp
	Subscribe
	Suback
	Unsubscribe
	Unsuback
	Pingreq
	Pingresp
	Disconnect
	Auth
)

var typeNames = [16]string{
	"RESERVED", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
	"SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
}

// String returns the standard's name of t, such as "CONNECT".
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return fmt.Sprintf("Type(%d)", byte(t))
}

// flags returns the fixed-header flags that the standard demands of t, which is
// any type but PUBLISH (MQTT5 2.1.3).
func (t Type) flags() byte {
	switch t {
	case Pubrel, Subscribe, Unsubscribe:
		return 2
	}
	return 0
}

// flagsAgain returns the flags of t when MQTT 3.1 sends it again: with DUP.
func (t Type) flagsAgain() byte {
	switch t {
	case Pubrel, Subscribe, Unsubscribe:
		return t.flags() | flagDup
	}
	return t.flags()
}

// Packet is one whole control packet, fixed header included.
type Packet []byte

// Type returns the packet's type, 0 (reserved) for an empty packet.
func (p Packet) Type() Type {
	if len(p) == 0 {
		return 0
	}
	return Type(p[0] >> 4)
}

// Flags returns the low four bits of the fixed header, 0 for an empty packet.
func (p Packet) Flags() byte {
	if len(p) == 0 {
		return 0
	}
	return p[0] & 0x0F
}

// Body returns what follows the fixed header: variable header and payload. It is
// nil if p has no whole fixed header.
func (p Packet) Body() []byte {
	if len(p) < 2 {
		return nil
	}
	_, n := remainingLength(p[1:])
	if n <= 0 {
		return nil
	}
	return p[1+n : len(p) : len(p)]
}

// remainingLength decodes the Remaining Length at the start of b as Varint does, but in
// more bytes than it needs too: before v5 it need not be shortest (MQTT 3.1.1, 2.2.3).
func remainingLength(b []byte) (v uint32, size int) {
	for i, c := range b {
		if i == 4 {
			return 0, -1
		}
		v |= uint32(c&0x7F) << (7 * i)
		if c < 0x80 {
			return v, i + 1
		}
	}
	if len(b) >= 4 {
		return 0, -1
	}
	return 0, 0
}

// Scan finds the packet at the start of b.
//
// If n > 0, that packet has n bytes in all, and it is whole when n <= len(b); so a
// reader knows how much to wait for, and should let its buffer grow with what
// arrives rather than by n. If n is 0 and err nil, b ends inside the fixed header,
// and more bytes are needed to tell.
//
// Scan returns [ErrTooLarge] for a packet of more than limit bytes, and
// [ErrMalformed] as soon as it sees the reserved type 0, flags that the type does
// not have in any version (a PUBLISH has all but QoS 3), or a Remaining Length of more
// than four bytes. It looks at the fixed header alone, and lets pass what only some
// versions allow; [Packet.CheckHeader] knows them.
func Scan(b []byte, limit int) (n int, err error) {
	if len(b) == 0 {
		return 0, nil
	}
	t := Type(b[0] >> 4)
	switch {
	case t == Publish:
		if b[0]&6 == 6 {
			return 0, errQoS
		}
	case t == 0:
		return 0, errHeader
	case b[0]&0x0F != t.flags() && b[0]&0x0F != t.flagsAgain():
		return 0, errFlags
	}
	remaining, size := remainingLength(b[1:])
	if size < 0 {
		return 0, errHeader
	}
	if size == 0 {
		return 0, nil
	}
	n = 1 + size + int(remaining)
	if n > limit {
		return 0, ErrTooLarge
	}
	return n, nil
}

// CheckHeader tells whether version v allows the fixed header of p, a packet that Scan
// has found. MQTT 3.1 alone has DUP on a PUBREL, SUBSCRIBE or UNSUBSCRIBE that is sent
// again (its section 2.1), and v5 alone demands the shortest Remaining Length
// (MQTT5 1.5.5).
func (p Packet) CheckHeader(v Version) error {
	t := p.Type()
	if t != Publish && v != V31 && p.Flags() != t.flags() {
		return errFlags
	}
	if v == V5 {
		if _, n := Varint(p[1:]); n <= 0 {
			return errHeader
		}
	}
	return nil
}

// body checks that p is exactly one packet of type t, as version v has it, and returns
// its body.
func (p Packet) body(t Type, v Version) ([]byte, error) {
	n, err := Scan(p, MaxPacket)
	if err != nil {
		return nil, err
	}
	if n == 0 || n != len(p) {
		return nil, errLength
	}
	if p.Type() != t {
		return nil, errType
	}
	if err := p.CheckHeader(v); err != nil {
		return nil, err
	}
	return p.Body(), nil
}
