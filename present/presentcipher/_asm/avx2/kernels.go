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

// xorBlocks turns the group x into blocks in memory order; dst = src XOR these.
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
			VPXOR(Mem{Base: src, Disp: disp + 64*i + 32*j}, v, v)
			VMOVDQU(v, Mem{Base: dst, Disp: disp + 64*i + 32*j})
		}
	}
}

// ctr is counter mode, 32 blocks at a time.
func ctr() {
	TEXT("ctrAVX2", 0, "func(rk *[32]uint64, dst, src *byte, n int, iv uint64)")
	Pragma("noescape")
	Doc("ctrAVX2 is dst = src XOR the key stream from block iv on, over n times 16",
		"blocks; iv's four lowest bits are clear.")
	rk := Load(Param("rk"), GP64())
	key := spreadKeys("ctrKeys", rk)
	k1 := GP64()
	MOVQ(Mem{Base: rk}, k1)
	dst := Load(Param("dst"), GP64())
	src := Load(Param("src"), GP64())
	n := Load(Param("n"), GP64())
	iv := Load(Param("iv"), GP64())

	CMPQ(n, Imm(2))
	JLT(LabelRef("ctrOne"))
	Label("ctrTwo")
	x, y := width(YMM).state(), width(YMM).state()
	counterBlocks(iv, k1, x)
	ADDQ(Imm(16), iv)
	counterBlocks(iv, k1, y)
	width(YMM).encrypt("ctrTwoRounds", key, x, y)
	xorBlocks(dst, src, 0, x)
	xorBlocks(dst, src, 128, y)
	ADDQ(I32(256), dst)
	ADDQ(I32(256), src)
	ADDQ(Imm(16), iv)
	SUBQ(Imm(2), n)
	CMPQ(n, Imm(2))
	JGE(LabelRef("ctrTwo"))

	Label("ctrOne")
	TESTQ(n, n)
	JEQ(LabelRef("ctrDone"))
	z := width(YMM).state()
	counterBlocks(iv, k1, z)
	width(YMM).encrypt("ctrOneRounds", key, z)
	xorBlocks(dst, src, 0, z)

	Label("ctrDone")
	VZEROUPPER()
	RET()
}

// loadPieces sets x to the 16 pieces at p, whose numbers follow those in
// words 3 and 7 of the lanes of numbers.
func loadPieces(p Register, disp int, numbers VecVirtual, x state) {
	Comment("Pieces and their numbers, from bytes to bit slices")
	one, order := YMM(), YMM()
	VPBROADCASTW(constOne, one)
	VBROADCASTI128(constLoad, order)
	for j := range x {
		lane0, lane1 := XMM(), XMM()
		VMOVQ(Mem{Base: p, Disp: disp + 6*j}, lane0)
		VPINSRQ(Imm(1), Mem{Base: p, Disp: disp + 6*j + 24}, lane0, lane0)
		VMOVQ(Mem{Base: p, Disp: disp + 6*j + 48}, lane1)
		VPINSRQ(Imm(1), Mem{Base: p, Disp: disp + 6*j + 72}, lane1, lane1)
		VINSERTI128(Imm(1), lane1, lane0.AsY(), x[j])
		VPBLENDW(Imm(0x88), numbers, x[j], x[j])
		VPADDW(one, numbers, numbers)
		VPSHUFB(order, x[j], x[j])
	}
	width(YMM).turn(x)
}

// accumulate adds the blocks of x under mask to sum.
func accumulate(sum Mem, x state, mask VecVirtual) {
	for k := range x {
		VPAND(mask, x[k], x[k])
		VPXOR(sum.Offset(32*k), x[k], x[k])
		VMOVDQU(x[k], sum.Offset(32*k))
	}
}

// macPieces is the XOR of encrypted pieces, 32 at a time.
func macPieces() {
	TEXT("macAVX2", 0, "func(rk *[32]uint64, p *byte, n int, next uint64) uint64")
	Pragma("noescape")
	Doc("macAVX2 is the XOR of the n pieces at p, numbered from next, encrypted. It",
		"reads p as if n were rounded up to a multiple of 32, and 2 bytes more.")
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
	first := ymm.state()
	ymm.spreadBlock(k1, first)
	zero := YMM()
	VPXOR(zero, zero, zero)
	for k := range first {
		VMOVDQU(first[k], whitening.Offset(32*k))
		VMOVDQU(zero, sum.Offset(32*k))
	}

	Label("macTwo")
	load := func(disp int) state {
		numbers, low := YMM(), XMM()
		VMOVD(next.As32(), low)
		VPBROADCASTW(low, numbers)
		VPADDW(constNumbers, numbers, numbers)
		x := ymm.state()
		loadPieces(p, disp, numbers, x)
		for k := range x {
			VPXOR(whitening.Offset(32*k), x[k], x[k])
		}
		ADDQ(Imm(16), next)
		return x
	}
	x := load(0)
	y := load(96)
	ymm.encrypt("macRounds", key, x, y)

	limit, bits := GP64(), GP64()
	MOVQ(U32(32), limit)
	CMPQ(n, limit)
	CMOVQLT(n, limit)
	MOVQ(I32(-1), bits)
	BZHIQ(limit, bits, bits)
	valid, low := YMM(), XMM()
	VMOVD(bits.As32(), low)
	VPBROADCASTD(low, valid)
	for i, s := range []state{x, y} {
		mask := YMM()
		VPSHUFB(constValid.Offset(32*i), valid, mask)
		accumulate(sum, s, mask)
	}
	ADDQ(U32(192), p)
	SUBQ(Imm(32), n)
	JG(LabelRef("macTwo"))

	Comment("The XOR of all blocks")
	xmm := width(XMM)
	f := xmm.state()
	for k := range f {
		VMOVDQU(sum.Offset(32*k), f[k])
		VPXOR(sum.Offset(32*k+16), f[k], f[k])
	}
	xmm.turn(f)
	VPXOR(f[1], f[0], f[0])
	VPXOR(f[3], f[2], f[2])
	VPXOR(f[2], f[0], f[0])
	VPSHUFB(constStore, f[0], f[0])
	out, other := GP64(), GP64()
	VMOVQ(f[0], out)
	VPEXTRQ(Imm(1), f[0], other)
	XORQ(other, out)
	BSWAPQ(out)
	Store(out, ReturnIndex(0))
	VZEROUPPER()
	RET()
}

// encryptBlock encrypts one block, in eight copies.
func encryptBlock() {
	TEXT("encryptAVX2", 0, "func(rk *[32]uint64, v uint64) uint64")
	Pragma("noescape")
	Doc("encryptAVX2 encrypts one block.")
	rk := Load(Param("rk"), GP64())
	key := spreadKeys("oneKeys", rk)
	v := Load(Param("v"), GP64())
	XORQ(Mem{Base: rk}, v)
	xmm := width(XMM)
	x := xmm.state()
	xmm.spreadBlock(v, x)
	xmm.encrypt("oneRounds", key, x)
	xmm.turn(x)
	VPSHUFB(constStore, x[0], x[0])
	out := GP64()
	VMOVQ(x[0], out)
	BSWAPQ(out)
	Store(out, ReturnIndex(0))
	VZEROUPPER()
	RET()
}
