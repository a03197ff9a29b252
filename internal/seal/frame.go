package seal

import (
	"encoding/binary"
	"math"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// The frame's offsets. Everything before the ciphertext is the header.
const (
	version   = 0xFC // byte 0; cannot begin UTF-8, JSON, CBOR or protobuf
	flagsAt   = 1
	idAt      = 2
	sessionAt = 6
	timeAt    = 18
	seqAt     = 22
	headerLen = 26
)

// Flags in byte 1; the suite's number stands between the last and the others.
const (
	flagRetain     = 1
	flagWill       = 2
	flagProperties = 4
	flagSigned     = 8
	flagOnce       = 0x80 // published at QoS 0
	suiteShift     = 4
	suiteMask      = 7
)

// adLabel opens the associated data: label, header, topic.
const adLabel = "mqttsec v1"

// maxPacket is the most that one MQTT packet carries behind its fixed header.
const maxPacket = 268435455

// Message is what a connection hands over to be sealed or opened.
type Message struct {
	// Topic is the full topic name, any alias resolved.
	Topic []byte
	// Retain is the RETAIN flag that the message is published with.
	Retain bool
	// Will tells that the message waits in CONNECT; it gets a session of its own.
	Will bool
	// Once tells that it is published at QoS 0, and so is not to be delivered again.
	Once bool
	// Queued tells that it may be long before it is sent: its number is of another session.
	Queued bool
	// Properties are the MQTT v5 properties to move inside, as encoded and
	// without their length; empty if there are none.
	Properties []byte
	// Payload is the plaintext when sealing and the frame when opening.
	Payload []byte
}

func (m *Message) flags() (f byte) {
	if m.Retain {
		f |= flagRetain
	}
	if m.Will {
		f |= flagWill
	}
	if m.Once {
		f |= flagOnce
	}
	return f
}

// putHeader writes the header of a new message.
func putHeader(h *[headerLen]byte, suite, flags byte, id *[4]byte, session *[12]byte, now, seq uint32) {
	h[0] = version
	h[flagsAt] = suite<<suiteShift | flags
	copy(h[idAt:], id[:])
	copy(h[sessionAt:], session[:])
	binary.BigEndian.PutUint32(h[timeAt:], now)
	binary.BigEndian.PutUint32(h[seqAt:], seq)
}

// stamp is what makes one sealed frame unlike all others: its header and its tag.
type stamp struct {
	header [headerLen]byte
	tag    [16]byte
}

// stamp returns the stamp of a frame that this Sealer sealed.
func (s *Sealer) stamp(frame []byte) (st stamp) {
	copy(st.header[:], frame)
	copy(st.tag[:], frame[len(frame)-s.suite.TagSize:])
	return st
}

// inspect refuses what cannot be a frame of this suite, before any cryptography.
func (s *Sealer) inspect(frame []byte) error {
	if len(frame) == 0 || frame[0] != version {
		return ErrNotSealed
	}
	if len(frame) < headerLen {
		return errShort
	}
	if frame[flagsAt]>>suiteShift&suiteMask != s.suite.ID {
		return errSuite
	}
	least := headerLen + s.suite.TagSize
	if frame[flagsAt]&flagSigned != 0 {
		least += signatureLen
	}
	if frame[flagsAt]&flagProperties != 0 {
		least++
	}
	if len(frame) < least {
		return errShort
	}
	if len(frame)-headerLen-s.suite.TagSize > s.suite.MaxPlaintext {
		return ErrTooLarge
	}
	seq := binary.BigEndian.Uint32(frame[seqAt:])
	if seq == 0 || frame[flagsAt]&flagWill != 0 && seq != 1 {
		return errSequence
	}
	return nil
}

// contentLen is the length of the plaintext for these properties and payload.
func (s *Sealer) contentLen(properties, payload int) int {
	n := payload
	if properties > 0 {
		n += wire.VarintSize(properties) + properties
	}
	if s.signer != nil {
		n += signatureLen
	}
	return n
}

// sealedSize is the exact length that seal adds for m.
func (s *Sealer) sealedSize(m *Message) int {
	return headerLen + s.contentLen(len(m.Properties), len(m.Payload)) + s.suite.TagSize
}

// split parts a plaintext, less any signature, into properties and payload.
func split(plain []byte, flags byte) (properties, payload []byte, err error) {
	if flags&flagProperties == 0 {
		return nil, plain, nil
	}
	v, size := wire.Varint(plain)
	n := int(v)
	if size <= 0 || n > len(plain)-size || n == 0 {
		return nil, nil, errContents
	}
	return plain[size : size+n : size+n], plain[size+n:], nil
}

// unixTime is the header's clock: seconds, or 0 when the year is before 2000 or
// beyond 32 bits, which is what a device without a clock shows.
func unixTime(seconds int64) uint32 {
	const year2000 = 946684800
	if seconds < year2000 || seconds > math.MaxUint32 {
		return 0
	}
	return uint32(seconds)
}
