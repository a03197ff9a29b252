package presentcipher

import (
	"crypto/subtle"
	"encoding/binary"
)

// Counter mode as the AEAD uses it: block j of the key stream is the
// encryption of nonce ‖ u16(j), the nonce being the upper 48 bits of iv.

// ctrGeneric is dst = src XOR key stream, from block 0 on. A message has at
// most 2^15 blocks, so the 16-bit counter does not wrap.
func ctrGeneric(rk *roundKeys, lk *laneKeys, dst, src []byte, iv uint64) {
	for len(src) >= pairMin*BlockSize {
		n := min(len(src), 128*BlockSize)
		ctrPair(rk, dst[:n], src[:n], iv)
		dst, src, iv = dst[n:], src[n:], iv+128
	}
	for len(src) >= planesMin*BlockSize {
		n := min(len(src), 64*BlockSize)
		ctrPlanes(rk, dst[:n], src[:n], iv)
		dst, src, iv = dst[n:], src[n:], iv+64
	}
	for len(src) >= 8*BlockSize {
		x, y := lk.encrypt2(counters(iv), counters(iv+4))
		xorGroup(dst, src, x)
		xorGroup(dst[32:], src[32:], y)
		dst, src, iv = dst[64:], src[64:], iv+8
	}
	if len(src) == 0 {
		return
	}
	var ks [8 * BlockSize]byte
	xorGroup(ks[:], ks[:], lk.encrypt(counters(iv)))
	if len(src) > 4*BlockSize {
		xorGroup(ks[32:], ks[32:], lk.encrypt(counters(iv+4)))
	}
	subtle.XORBytes(dst, src, ks[:len(src)])
}

// ctrPlanes is the key stream of up to 64 blocks.
func ctrPlanes(rk *roundKeys, dst, src []byte, iv uint64) {
	var a, b planes
	a.counters(iv)
	a.encrypt(&b, rk)
	b.xor(dst, src, rk.lastKey())
}

// ctrPair is the key stream of 65 to 128 blocks.
func ctrPair(rk *roundKeys, dst, src []byte, iv uint64) {
	const half = 64 * BlockSize
	var a, b planePair
	a.counters(iv)
	a.encrypt(&b, rk)
	b[0].xor(dst[:half], src[:half], rk.lastKey())
	b[1].xor(dst[half:], src[half:], rk.lastKey())
}

// xor is dst = src XOR the blocks in a, of which it makes blocks again, each
// with k added.
func (a *planes) xor(dst, src []byte, k uint64) {
	a.transpose()
	n := len(src) / BlockSize
	for i, w := range a[:n] {
		d, s := (*[BlockSize]byte)(dst[i*BlockSize:]), (*[BlockSize]byte)(src[i*BlockSize:])
		binary.BigEndian.PutUint64(d[:], binary.BigEndian.Uint64(s[:])^w^k)
	}
	if dst, src = dst[n*BlockSize:], src[n*BlockSize:]; len(src) > 0 {
		var ks [BlockSize]byte
		binary.BigEndian.PutUint64(ks[:], a[n]^k)
		subtle.XORBytes(dst, src, ks[:len(src)])
	}
}

// counters is the group of iv to iv+3 in the turned layout; iv's two lowest
// bits are clear. Block number bit 0 and 1 are bits 0 and 1 of nibble 0.
func counters(iv uint64) group {
	x := spread(turn(iv))
	x.r0 ^= 0xa
	x.r1 ^= 0xc
	return x
}

func xorGroup(dst, src []byte, x group) {
	x = x.exchangeC()
	_, _ = dst[31], src[31]
	be := binary.BigEndian
	be.PutUint64(dst[0:], be.Uint64(src[0:])^x.r0)
	be.PutUint64(dst[8:], be.Uint64(src[8:])^x.r1)
	be.PutUint64(dst[16:], be.Uint64(src[16:])^x.r2)
	be.PutUint64(dst[24:], be.Uint64(src[24:])^x.r3)
}
