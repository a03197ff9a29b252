// Command avx2 writes the AVX2 path of package presentcipher: 16 blocks in four
// registers, two such groups at a time.
//
// # Layout
//
// A bit of a PRESENT state has the index i5..i0, where i1 i0 is its place in
// its nibble and n = n3..n0 = i5..i2 the nibble. Register r_k holds the bits
// with i1 i0 = k. A register is two lanes of 16 bytes; each lane has eight
// blocks j = j2 j1 j0, one in each bit of a byte; the byte's number in the lane
// is n1 n0 n3 n2. With the two bits that choose the register in front and the
// block behind, the address of a bit is
//
//	[k1 k0][n1 n0 n3 n2][j2 j1 j0]
//
// Interleaving the bytes of two registers (VPUNPCKLBW, VPUNPCKHBW) rotates the
// first two parts of the address by one: the bit that chose the register comes
// last, the first bit of the byte number chooses the register. Two such levels
// over four registers rotate by two, which is what the permutation P does to
// i5..i0. So P is eight interleaves, the same ones in every round.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

const (
	rounds  = 31
	keySize = 64          // one round key, spread: 16 bytes for each r_k
	keys    = rounds * 64 // K2 to K32; K1 is added to the input
)

func main() {
	ConstraintExpr("!purego")
	declareConstants()
	ctr()
	macPieces()
	encryptBlock()
	Generate()
}

// A state is the four registers r_0 to r_3 of one group of blocks.
type state [4]VecVirtual

// A width is XMM or YMM: 8 or 16 blocks in a state.
type width func() VecVirtual

func (w width) state() (s state) {
	for k := range s {
		s[k] = w()
	}
	return s
}

// round is S-box, the addition of the next round key, which lies at key in the
// layout of P's input, and P.
//
// The S-box is 13 gates after Courtois, Hulme and Mourouzis. It leaves outputs
// 2 and 3 complemented, which the key undoes.
func (w width) round(x state, key Mem) {
	a, b, c, d, k := w(), w(), w(), w(), w()
	VPXOR(x[1], x[2], a)
	VPAND(x[2], a, b)
	VPXOR(x[3], b, b)
	y0 := x[3]
	VPXOR(x[0], b, y0)
	VPAND(a, b, c)
	VPXOR(x[2], c, c)
	VPXOR(y0, a, a)
	VPOR(x[0], c, d)
	VPXOR(x[0], c, c)
	y1 := x[1]
	VPXOR(a, d, y1)
	y2 := x[2]
	VPANDN(c, a, y2)
	VPXOR(b, y2, y2)
	y3 := x[0]
	VPXOR(y1, c, y3)
	y := state{y0, y1, y2, y3}
	for i := range y {
		w.broadcast(key.Offset(16*i), k)
		VPXOR(k, y[i], y[i])
	}
	t := state{a, b, c, d}
	VPUNPCKLBW(y[2], y[0], t[0])
	VPUNPCKHBW(y[2], y[0], t[1])
	VPUNPCKLBW(y[3], y[1], t[2])
	VPUNPCKHBW(y[3], y[1], t[3])
	VPUNPCKLBW(t[2], t[0], x[0])
	VPUNPCKHBW(t[2], t[0], x[1])
	VPUNPCKLBW(t[3], t[1], x[2])
	VPUNPCKHBW(t[3], t[1], x[3])
}

// encrypt does 31 rounds on the groups xs, whose first key addition is done.
func (w width) encrypt(label string, key Register, xs ...state) {
	Comment("31 rounds")
	at, end := GP64(), GP64()
	MOVQ(key, at)
	LEAQ(Mem{Base: key, Disp: keys}, end)
	Label(label)
	for _, x := range xs {
		w.round(x, Mem{Base: at})
	}
	ADDQ(Imm(keySize), at)
	CMPQ(at, end)
	JNE(LabelRef(label))
}

// broadcast loads 16 bytes into every lane.
func (w width) broadcast(m Mem, v VecVirtual) {
	if v.Size() == 16 {
		VMOVDQU(m, v)
		return
	}
	VBROADCASTI128(m, v)
}

// spreadKeys writes K2 to K32, spread to a byte for each bit, to the frame and
// returns their address, aligned so that no load crosses a cache line.
func spreadKeys(label string, rk Register) Register {
	Comment("Spread the round keys")
	frame := AllocLocal(keys + 64)
	start := GP64()
	LEAQ(frame, start)
	ADDQ(Imm(63), start)
	ANDQ(I8(-64), start)
	from, to, end := GP64(), GP64(), GP64()
	LEAQ(Mem{Base: rk, Disp: 8}, from)
	MOVQ(start, to)
	LEAQ(Mem{Base: rk, Disp: 8 * (rounds + 1)}, end)
	var bytes, bits [2]VecVirtual
	for i := range bytes {
		bytes[i], bits[i] = YMM(), YMM()
		VMOVDQU(constKeyBytes.Offset(32*i), bytes[i])
		VMOVDQU(constKeyBits.Offset(32*i), bits[i])
	}
	zero := YMM()
	VPXOR(zero, zero, zero)
	Label(label)
	k := YMM()
	VPBROADCASTQ(Mem{Base: from}, k)
	// Set bits for r_0 and r_1, clear ones for r_2 and r_3.
	for i, is := range []VecVirtual{bits[0], zero} {
		s := YMM()
		VPSHUFB(bytes[i], k, s)
		VPAND(bits[i], s, s)
		VPCMPEQB(is, s, s)
		VMOVDQA(s, Mem{Base: to, Disp: 32 * i})
	}
	ADDQ(Imm(8), from)
	ADDQ(Imm(keySize), to)
	CMPQ(from, end)
	JNE(LabelRef(label))
	return start
}

// spreadBlock sets every block of the group x to the 64-bit value v.
func (w width) spreadBlock(v Register, x state) {
	all, low := YMM(), XMM()
	VMOVQ(v, low)
	VPBROADCASTQ(low, all)
	for i := range 2 {
		s := YMM()
		VPSHUFB(constBlockBytes.Offset(32*i), all, s)
		VPAND(constBlockBits.Offset(32*i), s, s)
		VPCMPEQB(constBlockBits.Offset(32*i), s, s)
		if x[0].Size() == 16 {
			VMOVDQA(s.AsX(), x[2*i])
			VEXTRACTI128(Imm(1), s, x[2*i+1])
			continue
		}
		VPERM2I128(Imm(0x00), s, s, x[2*i])
		VPERM2I128(Imm(0x11), s, s, x[2*i+1])
	}
}

// exchange swaps the bits of a whose position has the bit n set with those of
// b whose position has it clear; m selects the latter.
func (w width) exchange(a, b VecVirtual, n uint64, m VecVirtual) {
	t := w()
	VPSRLQ(Imm(n), a, t)
	VPXOR(b, t, t)
	VPAND(m, t, t)
	VPXOR(t, b, b)
	VPSLLQ(Imm(n), t, t)
	VPXOR(t, a, a)
}

// turn exchanges k1 k0, the number of the register, with j1 j0, and n0 with
// j2. Between the two [k1 k0][n1 n0 n3 n2][j2 j1 j0] and
// [j1 j0][n1 j2 n3 n2][n0 k1 k0], where a byte is a byte of a block, it goes
// both ways.
func (w width) turn(x state) {
	m := w()
	VPBROADCASTB(constTurn.Offset(0), m)
	w.exchange(x[0], x[1], 1, m)
	w.exchange(x[2], x[3], 1, m)
	m = w()
	VPBROADCASTB(constTurn.Offset(1), m)
	w.exchange(x[0], x[2], 2, m)
	w.exchange(x[1], x[3], 2, m)
	// n0 is bit 2 of the byte number, bit 5 of the bit number in 64 bits; j2
	// is bit 2 of that. Positions with j2 set and n0 clear lie 28 below those
	// with n0 set and j2 clear.
	m = w()
	VPBROADCASTQ(constTurnBytes, m)
	for k := range x {
		t, u := w(), w()
		VPSRLQ(Imm(28), x[k], t)
		VPXOR(x[k], t, t)
		VPAND(m, t, t)
		VPSLLQ(Imm(28), t, u)
		VPXOR(t, x[k], x[k])
		VPXOR(u, x[k], x[k])
	}
}
