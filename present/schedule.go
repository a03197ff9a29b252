package present

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

// expand128 is the key schedule for 128-bit keys: k127..k64 are in hi, k63..k0 in lo.
func (rk *roundKeys) expand128(key *[16]byte) {
	hi := binary.BigEndian.Uint64(key[:8])
	lo := binary.BigEndian.Uint64(key[8:])
	for i := range rk {
		rk[i] = hi
		hi, lo = hi<<61|lo>>3, lo<<61|hi>>3
		hi = substituteTop(hi, 0xff)
		n := uint64(i + 1)
		hi ^= n >> 2
		lo ^= n << 62
	}
}

// substituteTop applies the S-box to the nibbles of w's top byte that mask
// selects. The bit-sliced S-box, not a table: the nibbles are key bits.
func substituteTop(w, mask uint64) uint64 {
	x := w >> 56
	y := sbox(group{x, x >> 1, x >> 2, x >> 3})
	s := y.r0&0x11 | y.r1&0x11<<1 | ^y.r2&0x11<<2 | ^y.r3&0x11<<3
	return w ^ (s^x)&mask<<56
}
