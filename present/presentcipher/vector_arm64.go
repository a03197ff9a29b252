//go:build !purego

package presentcipher

import (
	"encoding/binary"

	"golang.org/x/sys/cpu"
)

var fastest = detect()

// detect finds NEON on every processor that Go runs on, unless GODEBUG=cpu.asimd=off
// hides it.
func detect() path {
	switch {
	case cpu.ARM64.HasASIMD:
		return neon
	default:
		return portable
	}
}

func (b *block) encrypt(dst, src *[BlockSize]byte) {
	if b.path != neon {
		b.encryptGeneric(dst, src)
		return
	}
	w := binary.BigEndian.Uint64(src[:])
	binary.BigEndian.PutUint64(dst[:], encryptNEON((*[32]uint64)(&b.rk), w))
}

// derive is setKey if the path has a function for it.
func (a *aead) derive(key *[KeySize]byte) bool {
	if a.path != neon {
		return false
	}
	var rk roundKeys
	rk.expand128(key)
	var b [8 * BlockSize]byte
	ctrNEON((*[32]uint64)(&rk), &b[0], &b[0], 1, 0)
	var d [6]uint64
	for i := range d {
		d[i] = binary.BigEndian.Uint64(b[(i+1)*BlockSize:])
	}
	expandThree(a.enc(), a.mac(), a.fin(), &d)
	return true
}

// ctr is dst = src XOR the key stream from block 0 on.
func (a *aead) ctr(dst, src []byte, iv uint64) {
	if a.path != neon {
		ctrGeneric(a.enc(), &a.lanes.enc, dst, src, iv)
		return
	}
	const group = 8 * BlockSize
	if n := len(src) / group; n > 0 {
		ctrNEON((*[32]uint64)(a.enc()), &dst[0], &src[0], n, iv)
		dst, src, iv = dst[n*group:], src[n*group:], iv+uint64(n*8)
	}
	if len(src) > 0 {
		var last [group]byte
		copy(last[:], src)
		ctrNEON((*[32]uint64)(a.enc()), &last[0], &last[0], 1, iv)
		copy(dst, last[:len(src)])
	}
}

// macPieces is the XOR of the pieces of p, numbered from next, encrypted.
func (a *aead) macPieces(p []byte, next uint64) (sum uint64) {
	if a.path != neon {
		return macGeneric(a.mac(), &a.lanes.mac, p, next)
	}
	const group = 8 * macPiece
	if n := len(p) / group; n > 0 {
		sum = macNEON((*[32]uint64)(a.mac()), &p[0], n*8, next)
		p, next = p[n*group:], next+uint64(n*8)
	}
	if len(p) > 0 {
		var last [group]byte
		n := copy(last[:], p) / macPiece
		sum ^= macNEON((*[32]uint64)(a.mac()), &last[0], n, next)
	}
	return sum
}

// macFinal is the tag for the XOR v of all pieces.
func (a *aead) macFinal(v uint64) uint64 {
	if a.path != neon {
		return a.lanes.fin.encryptBlock(v)
	}
	return encryptNEON((*[32]uint64)(a.fin()), v)
}

func (a *aead) sealSmall(_, _, _ []byte, _ uint64) bool { return false }

func (a *aead) openSmall(_, _, _ []byte, _ uint64) (ok, done bool) { return false, false }
