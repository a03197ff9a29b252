// Package schedule derives the secrets and keys of a connection: the key schedule of TLS 1.3 for an external PSK with
// (EC)DHE (RFC 8446 section 7), and the PRF of TLS 1.2 with the extended master secret (RFC 5246 sections 5, 6.3 and
// 8.1, RFC 7627).
//
// SHA-256 is the only hash. Functions that return secrets return memory of the caller's own; what they used on the way
// is overwritten.
package schedule

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
)

const size = sha256.Size

// The labels of RFC 8446 section 7.1 that have a meaning here.
const (
	ClientHandshake = "c hs traffic"
	ServerHandshake = "s hs traffic"
	ClientTraffic   = "c ap traffic"
	ServerTraffic   = "s ap traffic"
	exporterMaster  = "exp master"
)

// must is for lengths that are right by construction: hkdf fails on nothing else.
func must(b []byte, err error) []byte {
	if err != nil {
		panic("schedule: " + err.Error())
	}
	return b
}

// expandLabel is HKDF-Expand-Label of RFC 8446 section 7.1. Label and context are ours or hashes, of lengths that fit.
func expandLabel(secret []byte, label string, context []byte, n int) []byte {
	info := make([]byte, 0, 2+1+6+len(label)+1+len(context))
	info = binary.BigEndian.AppendUint16(info, uint16(n))
	info = append(info, byte(6+len(label)))
	info = append(info, "tls13 "...)
	info = append(info, label...)
	info = append(info, byte(len(context)))
	info = append(info, context...)
	return must(hkdf.Expand(sha256.New, secret, string(info), n))
}

var emptyHash = sha256.Sum256(nil)

// Secrets walks down the key schedule of one handshake. Its zero value is not usable; Early makes one.
type Secrets struct {
	current []byte // Early Secret, Handshake Secret, Master Secret
}

// Early starts with the PSK.
func Early(psk []byte) *Secrets {
	return &Secrets{current: must(hkdf.Extract(sha256.New, psk, nil))}
}

// Binder is the proof that the holder of the PSK made a ClientHello, of which transcript is the hash up to the binders.
// Only before Handshake.
func (s *Secrets) Binder(transcript []byte) []byte {
	key := expandLabel(s.current, "ext binder", emptyHash[:], size)
	defer clear(key)
	return Finished(key, transcript)
}

// next derives the secret of the next stage from the current one and from input.
func (s *Secrets) next(input []byte) {
	salt := expandLabel(s.current, "derived", emptyHash[:], size)
	clear(s.current)
	s.current = must(hkdf.Extract(sha256.New, input, salt))
	clear(salt)
}

// Handshake goes on with the (EC)DHE shared secret.
func (s *Secrets) Handshake(shared []byte) { s.next(shared) }

// Master goes on to the last stage.
func (s *Secrets) Master() {
	var zeros [size]byte
	s.next(zeros[:])
}

// Derive is Derive-Secret of RFC 8446 section 7.1 at the current stage.
func (s *Secrets) Derive(label string, transcript []byte) []byte {
	return expandLabel(s.current, label, transcript, size)
}

// Exporter derives what Export works with; only after Master.
func (s *Secrets) Exporter(transcript []byte) []byte { return s.Derive(exporterMaster, transcript) }

// Wipe overwrites the current secret.
func (s *Secrets) Wipe() { clear(s.current) }

// Finished is the verify_data of RFC 8446 section 4.4.4 under a traffic secret.
func Finished(secret, transcript []byte) []byte {
	key := expandLabel(secret, "finished", nil, size)
	defer clear(key)
	mac := hmac.New(sha256.New, key)
	mac.Write(transcript)
	return mac.Sum(nil)
}

// Update returns the traffic secret that follows (RFC 8446 section 7.2), and overwrites the one before it.
func Update(secret []byte) []byte {
	next := expandLabel(secret, "traffic upd", nil, size)
	clear(secret)
	return next
}

// Traffic returns the key and the IV of a traffic secret (RFC 8446 section 7.3).
func Traffic(secret []byte, keyLen int) (key, iv []byte) {
	return expandLabel(secret, "key", nil, keyLen), expandLabel(secret, "iv", nil, 12)
}

// maxExport is what HKDF can give.
const maxExport = 255 * size

// ErrExport is a length or a label that no exporter can serve.
var ErrExport = errors.New("keying material of that length or label cannot be exported")

// Export is the exporter of RFC 8446 section 7.5.
func Export(exporter []byte, label string, context []byte, n int) ([]byte, error) {
	if n < 1 || n > maxExport || len(label) > 249 {
		return nil, ErrExport
	}
	secret := expandLabel(exporter, label, emptyHash[:], size)
	defer clear(secret)
	hash := sha256.Sum256(context)
	return expandLabel(secret, "exporter", hash[:], n), nil
}
