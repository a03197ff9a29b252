package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// schedule runs the key schedule on 128-bit keys, one in each pair of 64-bit
// elements of hi and lo.
type schedule struct {
	sbox, sboxHigh, top, others VecVirtual
	hi, lo                      VecVirtual
	before                      VecVirtual // hi without the S-box; its low bits are sooner known
}

func newSchedule(c *nibbles, hi, lo VecVirtual) *schedule {
	s := &schedule{sbox: c.sbox, sboxHigh: ZMM(), top: ZMM(), others: ZMM(), hi: hi, lo: lo, before: ZMM()}
	VPSLLW(Imm(4), c.sbox, s.sboxHigh)
	VPBROADCASTQ(constTopNibble, s.top)
	VPBROADCASTQ(constNotTop, s.others)
	VMOVDQA64(hi, s.before)
	return s
}

// next goes from K_i to K_(i+1). counter is i>>2 and, 8 bytes further, i<<62.
//
// Every round turns the key left by 61 and substitutes the two upper nibbles,
// which come from lo but for three bits that no S-box has touched since the
// round before. Taken from before, they do not wait for it.
func (s *schedule) next(counter Mem) {
	h := ZMM()
	VPSHLDQ(Imm(61), s.lo, s.before, h)
	VPSHLDQ(Imm(61), s.hi, s.lo, s.lo)
	VPXORQ_BCST(counter, h, h)
	VPXORQ_BCST(counter.Offset(8), s.lo, s.lo)
	// An index with its uppermost bit set looks up zero.
	low, high := ZMM(), ZMM()
	VPSRLQ(Imm(4), h, high)
	VMOVDQA64(h, low)
	ternary(0xea, 0, high, s.top, s.others)
	ternary(0xea, 0, low, s.top, s.others)
	VPSHUFB(low, s.sbox, low)
	VPSHUFB(high, s.sboxHigh, high)
	VMOVDQA64(h, s.before)
	VPSLLQ(Imm(8), h, s.hi)
	VPSRLQ(Imm(8), s.hi, s.hi)
	ternary(0xfe, 0, s.hi, low, high)
}

// deriveKeys is the whole key set-up.
func deriveKeys() {
	TEXT("deriveAVX512", NOSPLIT, "func(key *[16]byte, rk *[96]uint64)")
	Pragma("noescape")
	Doc("deriveAVX512 derives Ke, K1 and K2 from key and sets rk to their schedules.")
	key := Load(Param("key"), GP64())
	rk := Load(Param("rk"), GP64())
	c := loadNibbleTables()
	hi, lo := ZMM(), ZMM()
	for i, v := range []VecVirtual{hi, lo} {
		word := GP64()
		MOVQ(Mem{Base: key, Disp: 8 * i}, word)
		BSWAPQ(word)
		VPBROADCASTQ(word, v)
	}
	s := newSchedule(c, hi, lo)

	Comment("Encrypt 0 to 7 while the schedule runs")
	var x [2]VecVirtual
	spread := func() VecVirtual {
		k := ZMM()
		VMOVDQA64(s.hi, k)
		c.spreadEach(k)
		return k
	}
	k := spread()
	for g := range x {
		x[g] = ZMM()
		VPXORD(at(nibbleTables.counters, g), k, x[g])
	}
	counter, end := GP64(), GP64()
	LEAQ(constSchedule, counter)
	LEAQ(constSchedule.Offset(16*rounds), end)
	Label("deriveRounds")
	s.next(Mem{Base: counter})
	k = spread()
	for g := range x {
		c.round(x[g], k)
	}
	ADDQ(Imm(16), counter)
	CMPQ(counter, end)
	JNE(LabelRef("deriveRounds"))

	Comment("Three keys from blocks 1 to 6")
	for g := range x {
		order, weights := ZMM(), ZMM()
		VBROADCASTI32X4(nibbleTables.packLow, order)
		VBROADCASTI32X4(nibbleTables.weigh, weights)
		VPSHUFB(order, x[g], x[g])
		VPMADDUBSW(weights, x[g], x[g])
		VPMOVWB(x[g], x[g].AsY())
	}
	VMOVDQU64(constHighHalves, s.hi.AsY())
	VMOVDQU64(constLowHalves, s.lo.AsY())
	VPERMI2Q(x[1].AsY(), x[0].AsY(), s.hi.AsY())
	VPERMI2Q(x[1].AsY(), x[0].AsY(), s.lo.AsY())
	VMOVDQA64(s.hi, s.before)
	LEAQ(constSchedule, counter)
	store := func() {
		upper := XMM()
		VMOVQ(s.hi.AsX(), Mem{Base: rk, Disp: encKey})
		VPEXTRQ(Imm(1), s.hi.AsX(), Mem{Base: rk, Disp: macKey})
		VEXTRACTI128(Imm(1), s.hi.AsY(), upper)
		VMOVQ(upper, Mem{Base: rk, Disp: finKey})
	}
	Label("deriveSchedules")
	store()
	s.next(Mem{Base: counter})
	ADDQ(Imm(8), rk)
	ADDQ(Imm(16), counter)
	CMPQ(counter, end)
	JNE(LabelRef("deriveSchedules"))
	store()
	VZEROUPPER()
	RET()
}
