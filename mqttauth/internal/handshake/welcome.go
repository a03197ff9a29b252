package handshake

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/mqttsec/mqttsec/mqttauth/internal/codec"
)

// Welcome is what the authority tells the client under the new keys:
//
//	u32 lifetime | u64 server time | flags | return code | u16 tokens | u32 claim lifetime
type Welcome struct {
	// Lifetime of the session, in whole seconds up to 2^32-1; 0 if it does not end by itself.
	Lifetime time.Duration
	// Time at the authority, in whole seconds.
	Time time.Time
	// SessionPresent and ReturnCode are those of the CONNACK that belongs to this welcome: the true ones where the
	// CONNACK itself came before the handshake, so that nobody in between can change them.
	SessionPresent bool
	ReturnCode     byte
	// MaxTokens is how many tokens a session may present.
	MaxTokens uint16
	// MaxClaim is how long a claim can last, in whole seconds.
	MaxClaim time.Duration
}

const (
	flagSessionPresent = 1

	welcomeSize = 4 + 8 + 1 + 1 + 2 + 4
)

func seconds(d time.Duration) (uint32, error) {
	if d < 0 || d/time.Second > math.MaxUint32 {
		return 0, codec.Malformed("a lifetime of %v", d)
	}
	return uint32(d / time.Second), nil
}

func (w *Welcome) encode() ([]byte, error) {
	lifetime, err := seconds(w.Lifetime)
	if err != nil {
		return nil, err
	}
	claim, err := seconds(w.MaxClaim)
	if err != nil {
		return nil, err
	}
	var flags byte
	if w.SessionPresent {
		flags = flagSessionPresent
	}
	b := make([]byte, 0, welcomeSize)
	b = binary.BigEndian.AppendUint32(b, lifetime)
	b = binary.BigEndian.AppendUint64(b, uint64(w.Time.Unix()))
	b = append(b, flags, w.ReturnCode)
	b = binary.BigEndian.AppendUint16(b, w.MaxTokens)
	return binary.BigEndian.AppendUint32(b, claim), nil
}

func decodeWelcome(b []byte) (Welcome, error) {
	r := codec.NewReader(b)
	w := Welcome{Lifetime: time.Duration(r.Uint32()) * time.Second}
	at := r.Uint64()
	flags := r.Uint8()
	w.ReturnCode, w.MaxTokens = r.Uint8(), r.Uint16()
	w.MaxClaim = time.Duration(r.Uint32()) * time.Second
	if flags&^flagSessionPresent != 0 || at > math.MaxInt64/2 {
		r.Fail(codec.Malformed("flags or time of a welcome"))
	}
	if err := r.End(); err != nil {
		return Welcome{}, err
	}
	w.Time, w.SessionPresent = time.Unix(int64(at), 0), flags&flagSessionPresent != 0
	return w, nil
}
