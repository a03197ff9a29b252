// Package frame is what MQTT-Auth puts on the wire: six kinds of messages between a client and an authority, read
// strictly and bounded.
//
//	version 1 | type | session id 16 | body
//
//	 1 hello      C→A  v8 groups, v16 client id, v16 user, v16 X for each group in order
//	 2 challenge  A→C  group, v16 server name, v16 stretching, v16 Y
//	 3 proof      C→A  V_U 32
//	 4 welcome    A→C  V_S 32, v16 sealed welcome
//	16 request    C→A  u64 counter, v16 sealed operation
//	17 response   A→C  u64 counter, v16 sealed result
//
// The package knows the frames' fields and no cryptography.
package frame

import (
	"encoding/binary"
	"fmt"

	"github.com/mqttsec/mqttsec/mqttauth/internal/codec"
)

const (
	// Version is the first octet of every frame.
	Version = 1
	// MaxSize is the length of the largest frame.
	MaxSize = 4096
	// HeaderSize is the length of version, type and session id.
	HeaderSize = 2 + len(ID{})
	// MaxSealed is the length of the largest sealed operation or result.
	MaxSealed = MaxSize - HeaderSize - 8 - 2

	// ProofSize is the length of V_U and V_S.
	ProofSize = 32
	// StretchSize is the length of a challenge's stretching: algorithm, costs, salt.
	StretchSize = 26
	// MaxClientID is the length of the longest Client Identifier.
	MaxClientID = 64
	// MaxName is the length of the longest name of a user or a server.
	MaxName = 255
	// MaxGroups is how many groups a hello can offer.
	MaxGroups = 8

	maxElement = 133 // P-521's; larger than any of pake's groups
	minSealed  = 16  // the tag of AES-GCM
)

// Type is the kind of a frame.
type Type byte

// The kinds of frames.
const (
	Hello     Type = 1
	Challenge Type = 2
	Proof     Type = 3
	Welcome   Type = 4
	Request   Type = 16
	Response  Type = 17
)

var names = map[Type]string{
	Hello: "hello", Challenge: "challenge", Proof: "proof", Welcome: "welcome", Request: "request", Response: "response",
}

// String returns the type's name.
func (t Type) String() string {
	if name, ok := names[t]; ok {
		return name
	}
	return fmt.Sprintf("Type(%d)", byte(t))
}

// FromClient tells a client's frame from an authority's.
func (t Type) FromClient() bool { return t == Hello || t == Proof || t == Request }

// ID is a session id: 16 random octets that the client draws for one run and all that follows from it.
type ID [16]byte

// Frame is a frame whose body was not looked at.
type Frame struct {
	Type    Type
	Session ID
	Body    []byte
}

// Parse takes a frame of one of the six types apart. Its Body aliases b.
func Parse(b []byte) (Frame, error) {
	if len(b) > MaxSize {
		return Frame{}, codec.Malformed("a frame of %d octets", len(b))
	}
	r := codec.NewReader(b)
	version := r.Uint8()
	f := Frame{Type: Type(r.Uint8())}
	r.Fill(f.Session[:])
	f.Body = r.Rest()
	if err := r.Err(); err != nil {
		return Frame{}, err
	}
	if version != Version {
		return Frame{}, codec.Malformed("a frame of version %d", version)
	}
	if _, ok := names[f.Type]; !ok {
		return Frame{}, codec.Malformed("a frame of type %d", byte(f.Type))
	}
	return f, nil
}

// Header appends what a frame begins with, which is also the associated data of what is sealed in it.
func Header(dst []byte, t Type, session ID) []byte {
	return append(append(dst, Version, byte(t)), session[:]...)
}

// open parses a frame of the type t.
func open(b []byte, t Type) (ID, *codec.Reader, error) {
	f, err := Parse(b)
	if err != nil {
		return ID{}, nil, err
	}
	if f.Type != t {
		return ID{}, nil, codec.Malformed("a %v where a %v should be", f.Type, t)
	}
	return f.Session, codec.NewReader(f.Body), nil
}

// SealedFrame is a request or a response.
type SealedFrame struct {
	Type    Type
	Session ID
	Counter uint64 // never 0
	Sealed  []byte // at most MaxSealed
}

// Append appends the frame to dst.
func (f *SealedFrame) Append(dst []byte) ([]byte, error) {
	if f.Type != Request && f.Type != Response || f.Counter == 0 || len(f.Sealed) < minSealed || len(f.Sealed) > MaxSealed {
		return dst, codec.Malformed("a %v of %d octets under counter %d", f.Type, len(f.Sealed), f.Counter)
	}
	dst = Header(dst, f.Type, f.Session)
	dst = binary.BigEndian.AppendUint64(dst, f.Counter)
	return codec.AppendV16(dst, f.Sealed), nil
}

// ParseSealed takes a request or a response apart; t is which of them.
func ParseSealed(b []byte, t Type) (SealedFrame, error) {
	session, r, err := open(b, t)
	if err != nil {
		return SealedFrame{}, err
	}
	f := SealedFrame{Type: t, Session: session, Counter: r.Uint64(), Sealed: r.V16()}
	if err := r.End(); err != nil {
		return SealedFrame{}, err
	}
	if t != Request && t != Response || f.Counter == 0 || len(f.Sealed) < minSealed {
		return SealedFrame{}, codec.Malformed("a %v of %d octets under counter %d", t, len(f.Sealed), f.Counter)
	}
	return f, nil
}
