package sidechannel

import (
	"encoding/binary"

	"github.com/mqttsec/mqttsec/mqttauth/internal/token"
)

// NDEFType is the media type of the record that carries a token.
const NDEFType = "application/x-mqttauth-token"

// The first octet of an NDEF record (NFC Forum, NFC Data Exchange Format 1.0, section 3.2).
const (
	ndefBegin    = 0x80 // MB: the message's first record
	ndefEnd      = 0x40 // ME: its last
	ndefChunk    = 0x20 // CF
	ndefShort    = 0x10 // SR: a length of one octet
	ndefHasID    = 0x08 // IL
	ndefFormat   = 0x07 // TNF
	ndefMedia    = 0x02 // of it: the type is a media type
	maxNDEF      = 8192 // octets of a message, more than any tag of the common kinds has
	shortPayload = 255
)

// NDEF returns an NDEF message of one record with the token, to be written to an NFC tag or to be sent peer to peer. An
// NTAG213 has room for a token whose filters have some 20 octets together, an NTAG216 for all.
func NDEF(t Token) ([]byte, error) {
	payload, err := t.Checked()
	if err != nil {
		return nil, err
	}
	header := byte(ndefBegin | ndefEnd | ndefMedia)
	if len(payload) <= shortPayload {
		b := append([]byte{header | ndefShort, byte(len(NDEFType)), byte(len(payload))}, NDEFType...)
		return append(b, payload...), nil
	}
	b := binary.BigEndian.AppendUint32([]byte{header, byte(len(NDEFType))}, uint32(len(payload)))
	b = append(b, NDEFType...)
	return append(b, payload...), nil
}

// record is a record of an NDEF message.
type record struct {
	flags       byte
	typ, id     string
	payload     []byte
	first, last bool
}

// ReadNDEF returns the token in an NDEF message, which may have other records beside it.
func ReadNDEF(message []byte) (Token, error) {
	if len(message) > maxNDEF {
		return Token{}, ErrMalformed
	}
	var found []byte
	for rest, first := message, true; len(rest) > 0 || first; first = false {
		r, n := nextRecord(rest)
		if n == 0 || r.first != first || r.last != (n == len(rest)) {
			return Token{}, ErrMalformed
		}
		rest = rest[n:]
		if r.flags&ndefFormat != ndefMedia || r.typ != NDEFType {
			continue
		}
		if found != nil || r.id != "" {
			return Token{}, ErrMalformed // which of them?
		}
		found = r.payload
	}
	t, err := token.FromChecked(found)
	if err != nil {
		return Token{}, ErrMalformed
	}
	return t, nil
}

// nextRecord reads the record at the start of b and returns its length, 0 if there is none. Chunks are for senders
// that do not know yet how much they have; a token is never in one.
func nextRecord(b []byte) (r record, n int) {
	if len(b) < 3 || b[0]&ndefChunk != 0 {
		return record{}, 0
	}
	r.flags = b[0]
	r.first, r.last = b[0]&ndefBegin != 0, b[0]&ndefEnd != 0
	typeLen, idLen, payloadLen := int(b[1]), 0, int(b[2])
	n = 3
	if b[0]&ndefShort == 0 {
		if len(b) < 6 {
			return record{}, 0
		}
		size := binary.BigEndian.Uint32(b[2:])
		if size > maxNDEF {
			return record{}, 0
		}
		payloadLen, n = int(size), 6
	}
	if b[0]&ndefHasID != 0 {
		if len(b) <= n {
			return record{}, 0
		}
		idLen = int(b[n])
		n++
	}
	if len(b)-n < typeLen+idLen+payloadLen {
		return record{}, 0
	}
	b = b[n:]
	r.typ, r.id = string(b[:typeLen]), string(b[typeLen:typeLen+idLen])
	r.payload = b[typeLen+idLen : typeLen+idLen+payloadLen]
	return r, n + typeLen + idLen + payloadLen
}
