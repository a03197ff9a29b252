// Command avx2 writes the AVX2 path of package presentcipher: 16 blocks in four
// registers, three such groups at a time.
//
// Long messages are computed in the layout below by what is in kernels.go, short ones
// by what is in small.go. The layout for a single block is in nibbles.go, the key
// set-up in keys.go.
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
	rounds   = 31
	keySize  = 128              // one round key, spread: 32 bytes for each r_k
	keysSize = rounds * keySize // K2 to K32; K1 is added to the input
)

func main() {
	ConstraintExpr("!purego")
	declareConstants()
	declareNibbleTables()
	ctr()
	macPieces()
	stream()
	tag()
	encryptBlock()
	deriveKeys()
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

// round is S-box, the addition of the next round key, and P. The key is there for
// each register when it is asked for, in the layout of P's input.
//
// The S-box is 16 gates in a depth of four, three gates more and half the depth of
// the smallest circuit known: what has to be waited for is the longest chain. None of
// the four key additions is on it. Outputs 2 and 3 are complemented, which the key
// undoes.
//
//	y0 = x1^x2 ^ g    y1 = (g & h) ^ (x1|x3)    g = x0^x3 ^ (x1&^x2)
//	y3 = (g &^ h) ^ x2&x3    y2 = (x1|x3)&^(x0&^(x2&x3)) ^ x1^x2    h = x0&x1 | x2&x3
//
// It works in tmp besides x, eight registers for a group at most, so that three
// groups have room.
func (w width) round(x, tmp state, key func(k int) Op) {
	g, h, both, s := tmp[0], tmp[1], tmp[2], tmp[3]
	VPAND(x[0], x[1], h)
	VPXOR(x[0], x[3], g)
	VPANDN(x[1], x[2], s)
	VPAND(x[2], x[3], both)
	VPXOR(s, g, g)
	VPOR(both, h, h)
	not, either, differ, y := x[0], x[1], x[2], x[3]
	VPANDN(x[0], both, not)
	VPXOR(x[1], x[2], differ)
	VPOR(x[1], x[3], either)

	VPXOR(key(0), differ, s)
	VPXOR(g, s, s)
	VPANDN(either, not, not)
	VPXOR(key(2), differ, differ)
	VPXOR(differ, not, not)
	VPXOR(key(1), either, either)
	VPAND(g, h, y)
	VPXOR(y, either, either)
	VPXOR(key(3), both, both)
	VPANDN(g, h, g)
	VPXOR(both, g, g)

	Comment("P")
	VPUNPCKLBW(not, s, h)
	VPUNPCKHBW(not, s, both)
	VPUNPCKLBW(g, either, s)
	VPUNPCKHBW(g, either, g)
	VPUNPCKLBW(s, h, x[0])
	VPUNPCKHBW(s, h, x[1])
	VPUNPCKLBW(g, both, x[2])
	VPUNPCKHBW(g, both, x[3])
}

// threeGroups are all 16 registers: three groups and what a round takes besides. A
// function asks for them first, as registers are given out in that order.
func threeGroups() (xs []state, tmp state) {
	w := width(YMM)
	return []state{w.state(), w.state(), w.state()}, w.state()
}

// encrypt does 31 rounds on the groups xs, whose first key addition is done, with
// the other keys spread in memory.
func (w width) encrypt(label string, keys Register, tmp state, xs ...state) {
	Comment("31 rounds")
	at, end := GP64(), GP64()
	MOVQ(keys, at)
	LEAQ(Mem{Base: keys, Disp: keysSize}, end)
	Label(label)
	for _, x := range xs {
		w.round(x, tmp, func(k int) Op { return Mem{Base: at, Disp: 32 * k} })
	}
	SUBQ(I8(-keySize), at)
	CMPQ(at, end)
	JNE(LabelRef(label))
}

// encryptOnce is encrypt with the round keys rk as they stand. It spreads each when
// it is due: one or two groups wait for their own results and leave room for that.
func (w width) encryptOnce(label string, rk Register, xs ...state) {
	spread := w.newSpread()
	Comment("31 rounds")
	i := GP64()
	MOVQ(I32(-rounds), i)
	word, tmp := YMM(), w.state()
	Label(label)
	VPBROADCASTQ(Mem{Base: rk, Index: i, Scale: 8, Disp: 8 * (rounds + 1)}, word)
	spread.set(word)
	for _, x := range xs {
		w.round(x, tmp, spread.key)
	}
	INCQ(i)
	JNE(LabelRef(label))
	spread.wipe()
}

// spread makes a round key into what a round wants of it, by way of the frame.
type spread struct {
	width
	at   Mem
	zero VecVirtual
}

func (w width) newSpread() *spread {
	s := &spread{w, AllocLocal(64), YMM()}
	VPXOR(s.zero, s.zero, s.zero)
	return s
}

// set takes a round key, once in every lane.
func (s *spread) set(word VecVirtual) {
	for i := range 2 {
		x := YMM()
		VPSHUFB(constKeyBytes.Offset(32*i), word, x)
		spreadBits(x, i == 1, s.zero)
		VMOVDQU(x, s.at.Offset(32*i))
	}
}

// spreadBits makes a byte 0xff if the bit that counts in it is set, or, complemented,
// if it is clear.
func spreadBits(x VecVirtual, complemented bool, zero VecVirtual) {
	VPAND(constKeyBit, x, x)
	if complemented {
		VPCMPEQB(zero, x, x)
	} else {
		VPCMPEQB(constKeyBit, x, x)
	}
}

// key is the round key for r_k.
func (s *spread) key(k int) Op {
	m, v := s.at.Offset(16*k), s.width()
	if v.Size() == 16 {
		return m
	}
	VBROADCASTI128(m, v)
	return v
}

func (s *spread) wipe() {
	for i := range 2 {
		VMOVDQU(s.zero, s.at.Offset(32*i))
	}
}

// spreadKeys writes K2 to K32, spread to a byte for each bit, to the frame and
// returns their address, aligned so that no load crosses a cache line.
func spreadKeys(label string, rk Register) Register {
	Comment("Spread the round keys")
	frame := AllocLocal(keysSize + 64)
	start := GP64()
	LEAQ(frame, start)
	ADDQ(Imm(63), start)
	ANDQ(I8(-64), start)
	to, i := GP64(), GP64()
	MOVQ(start, to)
	MOVQ(I32(-rounds), i)
	word, zero := YMM(), YMM()
	VPXOR(zero, zero, zero)
	Label(label)
	VPBROADCASTQ(Mem{Base: rk, Index: i, Scale: 8, Disp: 8 * (rounds + 1)}, word)
	for k := range 4 {
		x := YMM()
		VPSHUFB(constKeyByte.Offset(32*k), word, x)
		spreadBits(x, k > 1, zero)
		VMOVDQA(x, Mem{Base: to, Disp: 32 * k})
	}
	SUBQ(I8(-keySize), to)
	INCQ(i)
	JNE(LabelRef(label))
	return start
}

// wipe clears what spreadKeys has written.
func wipe(label string, keys Register) {
	Comment("Wipe the round keys")
	end, zero := GP64(), YMM()
	LEAQ(Mem{Base: keys, Disp: keysSize}, end)
	VPXOR(zero, zero, zero)
	Label(label)
	for k := range 4 {
		VMOVDQA(zero, Mem{Base: keys, Disp: 32 * k})
	}
	SUBQ(I8(-keySize), keys)
	CMPQ(keys, end)
	JNE(LabelRef(label))
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
