package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// schedule runs the key schedule on four 128-bit keys, one in each 64-bit element.
//
// A round turns the key by 61 to the left, so that its halves change places and all
// but three bits of either come from the other. Without the lower half, with S for the
// substitution of the uppermost byte,
//
//	K_(i+1) = S(K_i<<61 ^ K_(i-1)>>6 ^ K_(i-2)<<55 & 7<<58 ^ c_i)
//
// with the counter in c_i. The substituted bytes are in the second term alone: what is
// waited for is two rounds old.
type schedule struct {
	key, last, lastButOne   VecVirtual // K_i, K_(i-1), K_(i-2)
	before                  VecVirtual // K_i without its S-box
	substitute, substitute4 VecVirtual
}

// newSchedule is for the key whose halves are hi and lo; lo is used up.
//
// The S-box is looked up as the difference it makes, itself changed so that a zero byte
// makes none: all bytes but the uppermost are zero then.
func newSchedule(hi, lo VecVirtual) *schedule {
	s := &schedule{hi, lo, YMM(), YMM(), YMM(), YMM()}
	VBROADCASTI128(constSubstitute, s.substitute)
	VPSLLW(Imm(4), s.substitute, s.substitute4)
	s.start()
	return s
}

// start makes of the halves of K_1 what the rounds before it would have left.
func (s *schedule) start() {
	VMOVDQA(s.key, s.before)
	VPSRLQ(Imm(58), s.last, s.lastButOne)
	VPSLLQ(Imm(3), s.last, s.last)
}

// next goes from K_i to K_(i+1). c is where c_i is.
func (s *schedule) next(c Mem) {
	n, t, low, high := YMM(), YMM(), YMM(), YMM()
	VPBROADCASTQ(c, n)
	VPSLLQ(Imm(55), s.lastButOne, t)
	VPAND(constThree, t, t)
	VPXOR(t, n, n)
	VPSLLQ(Imm(61), s.before, t)
	VPXOR(t, n, n)
	VPSRLQ(Imm(6), s.last, t)
	VPXOR(t, n, n)

	VPSRLQ(Imm(4), n, high)
	VPAND(constTopNibble, n, low)
	VPAND(constTopNibble, high, high)
	VPSHUFB(low, s.substitute, low)
	VPSHUFB(high, s.substitute4, high)
	VMOVDQA(n, s.before)
	VMOVDQA(s.last, s.lastButOne)
	VMOVDQA(s.key, s.last)
	VPXOR(constSubstituteZero, n, n)
	VPXOR(low, n, n)
	VPXOR(high, n, s.key)
}

// deriveKeys is the whole key set-up.
func deriveKeys() {
	TEXT("deriveAVX2", NOSPLIT, "func(key *[16]byte, rk *[96]uint64)")
	Pragma("noescape")
	Doc("deriveAVX2 derives Ke, K1 and K2 from key and sets rk to their schedules.")
	key := Load(Param("key"), GP64())
	rk := Load(Param("rk"), GP64())
	hi, lo, k1 := YMM(), YMM(), GP64()
	for i, v := range []VecVirtual{lo, hi} {
		word := k1
		MOVQ(Mem{Base: key, Disp: 8 - 8*i}, word)
		BSWAPQ(word)
		VMOVQ(word, v.AsX())
		VPBROADCASTQ(v.AsX(), v)
	}

	Comment("Encrypt 0 to 7 while the schedule runs")
	xmm := width(XMM)
	x := xmm.state()
	xmm.spreadBlock(k1, x)
	for k := range 3 {
		VPXOR(constCounter.Offset(32*k), x[k], x[k])
	}
	s := newSchedule(hi, lo)
	keys, tmp := xmm.newSpread(), xmm.state()
	constants, end := GP64(), GP64()
	LEAQ(constSchedule, constants)
	LEAQ(constSchedule.Offset(8*rounds), end)
	Label("deriveRounds")
	s.next(Mem{Base: constants})
	keys.set(s.key)
	xmm.round(x, tmp, keys.key)
	ADDQ(Imm(8), constants)
	CMPQ(constants, end)
	JNE(LabelRef("deriveRounds"))
	keys.wipe()

	Comment("Three keys from blocks 1 to 6")
	xmm.turn(x)
	order := XMM()
	VMOVDQU(constValues, order)
	for k := range x {
		VPSHUFB(order, x[k], x[k]) // blocks k and k+4
	}
	upper := XMM()
	VPUNPCKLQDQ(x[3], x[1], s.key.AsX()) // 1 3
	VPUNPCKHQDQ(x[1], x[1], upper)       // 5
	VINSERTI128(Imm(1), upper, s.key, s.key)
	VPBLENDD(Imm(0b1100), x[0], x[2], s.last.AsX()) // 2 4
	VPUNPCKHQDQ(x[2], x[2], upper)                  // 6
	VINSERTI128(Imm(1), upper, s.last, s.last)
	s.start()
	LEAQ(constSchedule, constants)
	store := func() {
		VMOVQ(s.key.AsX(), Mem{Base: rk, Disp: encKey})
		VMOVHPS(s.key.AsX(), Mem{Base: rk, Disp: macKey})
		VEXTRACTI128(Imm(1), s.key, upper)
		VMOVQ(upper, Mem{Base: rk, Disp: finKey})
	}
	Label("deriveSchedules")
	store()
	s.next(Mem{Base: constants})
	ADDQ(Imm(8), rk)
	ADDQ(Imm(8), constants)
	CMPQ(constants, end)
	JNE(LabelRef("deriveSchedules"))
	store()
	VZEROUPPER()
	RET()
}
