package presentcipher

import "encoding/binary"

const rounds = 31

// roundKeys are K1 to K32 of the CHES 2007 paper, most significant bit first.
type roundKeys [rounds + 1]uint64

// expand80 is the key schedule for 80-bit keys: k79..k16 are in hi, k15..k0 in lo.
func (rk *roundKeys) expand80(key *[10]byte) {
	hi := binary.BigEndian.Uint64(key[:8])
	lo := uint64(binary.BigEndian.Uint16(key[8:]))
	for i := range rk {
		rk[i] = hi
		hi, lo = hi<<61|lo<<45|hi>>19, hi>>3&0xffff
		hi = substituteTop(hi, 0xf0)
		n := uint64(i + 1)
		hi ^= n >> 1
		lo ^= n & 1 << 15
	}
}

// expand128 is the key schedule for 128-bit keys.
func (rk *roundKeys) expand128(key *[16]byte) {
	k := key128{binary.BigEndian.Uint64(key[:8]), binary.BigEndian.Uint64(key[8:])}
	for i := range rk {
		rk[i] = k.hi
		k.next(uint64(i + 1))
	}
}

// expandThree is expand128 for three keys, halves in d one after the other.
// A schedule is one long chain of dependent instructions; three of them take
// hardly longer side by side than one.
func expandThree(a, b, c *roundKeys, d *[6]uint64) {
	ka, kb, kc := key128{d[0], d[1]}, key128{d[2], d[3]}, key128{d[4], d[5]}
	for i := range a {
		a[i], b[i], c[i] = ka.hi, kb.hi, kc.hi
		n := uint64(i + 1)
		ka.next(n)
		kb.next(n)
		kc.next(n)
	}
}

// key128 is the key register: k127..k64 in hi, k63..k0 in lo.
type key128 struct{ hi, lo uint64 }

// next goes from the round key i to the one after it.
func (k *key128) next(i uint64) {
	hi := k.hi<<61 | k.lo>>3
	k.lo = k.lo<<61 | k.hi>>3 ^ i<<62
	k.hi = substituteTop(hi, 0xff) ^ i>>2
}

// substituteTop applies the S-box to the nibbles of w's top byte that mask
// selects. The bit-sliced S-box, not a table: the nibbles are key bits.
func substituteTop(w, mask uint64) uint64 {
	x := w >> 56
	y := sbox(group{x, x >> 1, x >> 2, x >> 3})
	s := y.r0&0x11 | y.r1&0x11<<1 | ^y.r2&0x11<<2 | ^y.r3&0x11<<3
	return w ^ (s^x)&mask<<56
}
