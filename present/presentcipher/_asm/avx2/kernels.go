package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// counterBlocks sets x to the blocks iv to iv+15, with K1 added.
func counterBlocks(iv, k1 Register, x state) {
	v := GP64()
	MOVQ(iv, v)
	XORQ(k1, v)
	width(YMM).spreadBlock(v, x)
	for k := range x {
		VPXOR(constCounter.Offset(32*k), x[k], x[k])
	}
}

// xorBlocks turns the group x into blocks in memory order; dst = src XOR these, or
// these alone.
func xorBlocks(dst, src Register, disp int, x state) {
	ymm := width(YMM)
	ymm.turn(x)
	order := YMM()
	VBROADCASTI128(constStore, order)
	for k := range x {
		VPSHUFB(order, x[k], x[k]) // blocks k and k+4, in lane 1 k+8 and k+12
	}
	t := ymm.state()
	VPUNPCKLQDQ(x[1], x[0], t[0]) // 0 1   8 9
	VPUNPCKLQDQ(x[3], x[2], t[1]) // 2 3  10 11
	VPUNPCKHQDQ(x[1], x[0], t[2]) // 4 5  12 13
	VPUNPCKHQDQ(x[3], x[2], t[3]) // 6 7  14 15
	for i, halves := range []uint64{0x20, 0x31} {
		for j := range 2 {
			v := YMM()
			VPERM2I128(Imm(halves), t[2*j+1], t[2*j], v)
			if src != nil {
				VPXOR(Mem{Base: src, Disp: disp + 64*i + 32*j}, v, v)
			}
			VMOVDQU(v, Mem{Base: dst, Disp: disp + 64*i + 32*j})
		}
	}
}

// ctr is counter mode, 48 blocks at a time.
func ctr() {
	TEXT("ctrAVX2", 0, "func(rk *[32]uint64, dst, src *byte, n int, iv uint64)")
	Pragma("noescape")
	Doc("ctrAVX2 is dst = src XOR the key stream from block iv on, over n times 16",
		"blocks; iv's four lowest bits are clear.")
	all, tmp := threeGroups()
	rk := Load(Param("rk"), GP64())
	key := spreadKeys("ctrKeys", rk)
	k1 := GP64()
	MOVQ(Mem{Base: rk}, k1)
	dst := Load(Param("dst"), GP64())
	src := Load(Param("src"), GP64())
	n := Load(Param("n"), GP64())
	iv := Load(Param("iv"), GP64())
	groups := func(label string, g int) {
		xs := all[:g]
		for i := range xs {
			counterBlocks(iv, k1, xs[i])
			ADDQ(Imm(16), iv)
		}
		width(YMM).encrypt(label+"Rounds", key, tmp, xs...)
		for i, x := range xs {
			xorBlocks(dst, src, 128*i, x)
		}
	}

	Label("ctrMore")
	CMPQ(n, Imm(3))
	JLT(LabelRef("ctrRest"))
	groups("ctrThree", 3)
	ADDQ(I32(3*128), dst)
	ADDQ(I32(3*128), src)
	SUBQ(Imm(3), n)
	JMP(LabelRef("ctrMore"))

	Label("ctrRest")
	CMPQ(n, Imm(1))
	JLT(LabelRef("ctrDone"))
	JEQ(LabelRef("ctrLast"))
	groups("ctrTwo", 2)
	JMP(LabelRef("ctrDone"))
	Label("ctrLast")
	groups("ctrOne", 1)
	Label("ctrDone")
	wipe("ctrWipe", key)
	VZEROUPPER()
	RET()
}

// loadPieces sets x to the 16 pieces at p, whose numbers follow those in
// words 3 and 7 of the lanes of numbers.
func loadPieces(p Register, disp int, numbers VecVirtual, x state) {
	Comment("Pieces and their numbers, from bytes to bit slices")
	for j := range x {
		lane0, lane1 := x[j].AsX(), XMM()
		VMOVQ(Mem{Base: p, Disp: disp + 6*j}, lane0)
		VPINSRQ(Imm(1), Mem{Base: p, Disp: disp + 6*j + 24}, lane0, lane0)
		VMOVQ(Mem{Base: p, Disp: disp + 6*j + 48}, lane1)
		VPINSRQ(Imm(1), Mem{Base: p, Disp: disp + 6*j + 72}, lane1, lane1)
		VINSERTI128(Imm(1), lane1, x[j], x[j])
		VPBLENDW(Imm(0x88), numbers, x[j], x[j])
		VPADDW(constOne, numbers, numbers)
		VPSHUFB(constLoad, x[j], x[j])
	}
	width(YMM).turn(x)
}

// macPieces is the XOR of encrypted pieces, 48 at a time.
func macPieces() {
	TEXT("macAVX2", 0, "func(rk *[32]uint64, p *byte, last *[290]byte, n int, next uint64) uint64")
	Pragma("noescape")
	Doc("macAVX2 is the XOR of the n pieces at p, numbered from next, encrypted. The",
		"last 1 to 48 are read from last instead.")
	all, tmp := threeGroups()
	rk := Load(Param("rk"), GP64())
	key := spreadKeys("macKeys", rk)
	k1 := GP64()
	MOVQ(Mem{Base: rk}, k1)
	p := Load(Param("p"), GP64())
	n := Load(Param("n"), GP64())
	next := GP64()
	Load(Param("next"), next)
	ymm := width(YMM)
	sum, whitening := AllocLocal(4*32), AllocLocal(4*32)
	ymm.spreadBlock(k1, all[0])
	for k, x := range all[0] {
		VMOVDQU(x, whitening.Offset(32*k))
		VPXOR(x, x, x)
		VMOVDQU(x, sum.Offset(32*k))
	}
	// groups encrypts up to 16*g pieces, and more than 16*(g-1).
	groups := func(label string, g int) {
		xs := all[:g]
		for i := range xs {
			numbers, low := YMM(), XMM()
			VMOVD(next.As32(), low)
			VPBROADCASTW(low, numbers)
			VPADDW(constNumbers, numbers, numbers)
			loadPieces(p, 96*i, numbers, xs[i])
			for k := range xs[i] {
				VPXOR(whitening.Offset(32*k), xs[i][k], xs[i][k])
			}
			ADDQ(Imm(16), next)
		}
		ymm.encrypt(label, key, tmp, xs...)
		left := GP64()
		LEAQ(Mem{Base: n, Disp: -16 * (g - 1)}, left)
		choose(left, xs[g-1])
		for k := range 4 {
			for i := range g {
				VPXOR(sum.Offset(32*k), xs[i][k], xs[i][k])
				VMOVDQU(xs[i][k], sum.Offset(32*k))
			}
		}
	}

	CMPQ(n, Imm(48))
	JGT(LabelRef("macThree"))
	Label("macLast")
	Load(Param("last"), p)
	CMPQ(n, Imm(16))
	JLE(LabelRef("macOne"))
	CMPQ(n, Imm(32))
	JLE(LabelRef("macTwo"))
	Label("macThree")
	groups("macThreeRounds", 3)
	ADDQ(U32(3*96), p)
	SUBQ(Imm(48), n)
	CMPQ(n, Imm(48))
	JGT(LabelRef("macThree"))
	TESTQ(n, n)
	JG(LabelRef("macLast"))
	JMP(LabelRef("macEnd"))
	Label("macTwo")
	groups("macTwoRounds", 2)
	JMP(LabelRef("macEnd"))
	Label("macOne")
	groups("macOneRounds", 1)
	Label("macEnd")

	f := all[0]
	for k := range f {
		VMOVDQU(sum.Offset(32*k), f[k])
		VPXOR(tmp[0], tmp[0], tmp[0])
		VMOVDQU(tmp[0], sum.Offset(32*k))
		VMOVDQU(tmp[0], whitening.Offset(32*k))
	}
	c := loadNibbleTables()
	total := c.sum(f)
	VPSHUFB(nibbleTables.cross, total, total)
	out := GP64()
	VMOVQ(packed(total), out)
	BSWAPQ(out)
	Store(out, ReturnIndex(0))
	wipe("macWipe", key)
	VZEROUPPER()
	RET()
}
