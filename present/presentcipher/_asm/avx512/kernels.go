package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// at is const + 64i bytes.
func at(m Mem, i int) Mem { return m.Offset(64 * i) }

// counterBlocks sets x to the blocks iv to iv+31, with K1 added.
func counterBlocks(iv, k1 Register, x state) {
	v := GP64()
	MOVQ(iv, v)
	XORQ(k1, v)
	width(ZMM).spreadBlock(v, x)
	for k := range x {
		VPXORD(at(constCounter, k), x[k], x[k])
	}
}

// ctr is counter mode for any number of bytes, 128 blocks at a time. Groups
// are encrypted side by side because one alone leaves most units waiting.
func ctr() {
	TEXT("ctrAVX512", 0, "func(rk *[32]uint64, dst, src *byte, n int, iv uint64)")
	Pragma("noescape")
	Doc("ctrAVX512 is dst = src XOR the key stream from block iv on, over n bytes;", "iv's five lowest bits are clear.")
	rk := Load(Param("rk"), GP64())
	key := spreadKeys("ctrKeys", rk)
	k1 := GP64()
	MOVQ(Mem{Base: rk}, k1)
	dst := Load(Param("dst"), GP64())
	src := Load(Param("src"), GP64())
	n := Load(Param("n"), GP64())
	iv := Load(Param("iv"), GP64())

	advance := func() {
		ADDQ(I32(256), dst)
		ADDQ(I32(256), src)
		SUBQ(I32(256), n)
	}
	// groups is the code for up to that many groups at once, the last of which
	// may be short.
	groups := func(label string, count int) {
		x := make([]state, count)
		for i := range x {
			x[i] = width(ZMM).state()
			counterBlocks(iv, k1, x[i])
			ADDQ(Imm(32), iv)
		}
		width(ZMM).encrypt(label+"Rounds", key, x...)
		for i := range x {
			unslice(x[i])
			if i < count-1 {
				xorFull(dst, src, x[i])
				advance()
			}
		}
		xorPart(label, "ctrDone", dst, src, n, x[count-1])
		advance()
	}
	CMPQ(n, I32(768))
	JLE(LabelRef("ctrFew"))
	Label("ctrFour")
	groups("ctrFour", 4)
	TESTQ(n, n)
	JEQ(LabelRef("ctrDone"))
	CMPQ(n, I32(768))
	JG(LabelRef("ctrFour"))

	Label("ctrFew")
	CMPQ(n, I32(256))
	JLE(LabelRef("ctrOne"))
	groups("ctrTwo", 2)
	TESTQ(n, n)
	JEQ(LabelRef("ctrDone"))
	JMP(LabelRef("ctrFew"))

	Label("ctrOne")
	groups("ctrOne", 1)

	Label("ctrDone")
	wipe("ctrWipe", key)
	VZEROUPPER()
	RET()
}

// xorFull is dst = src XOR x over 256 bytes.
func xorFull(dst, src Register, x state) {
	for k := range x {
		VPXORD(Mem{Base: src, Disp: 64 * k}, x[k], x[k])
		VMOVDQU64(x[k], Mem{Base: dst, Disp: 64 * k})
	}
}

// xorPart is dst = src XOR x over the first n bytes, up to 256; it jumps to
// done after the last of them.
func xorPart(label, done string, dst, src, n Register, x state) {
	left, ones, m, data := GP64(), GP64(), K(), ZMM()
	MOVQ(n, left)
	MOVQ(I32(-1), ones)
	for k := range x {
		full := fmt.Sprint(label, "Full", k)
		CMPQ(left, Imm(64))
		JGE(LabelRef(full))
		some := GP64()
		BZHIQ(left, ones, some)
		KMOVQ(some, m)
		VMOVDQU8_Z(Mem{Base: src, Disp: 64 * k}, m, data)
		VPXORD(data, x[k], x[k])
		VMOVDQU8(x[k], m, Mem{Base: dst, Disp: 64 * k})
		JMP(LabelRef(done))
		Label(full)
		VPXORD(Mem{Base: src, Disp: 64 * k}, x[k], x[k])
		VMOVDQU64(x[k], Mem{Base: dst, Disp: 64 * k})
		SUBQ(Imm(64), left)
		if k < 3 {
			JEQ(LabelRef(done))
		}
	}
}

// loadPieces sets x to 32 numbered pieces, the first at p, bit-sliced. bytes is
// how many may be read; it may be less than nothing. What would come from behind
// them is zero, and its load is masked, so that it faults nowhere.
func loadPieces(p, bytes Register, numbers VecVirtual, x state) {
	Comment("Pieces and their numbers, from bytes to bit slices")
	left, zero, ones, full := GP64(), GP64(), GP64(), GP64()
	MOVQ(bytes, left)
	XORL(zero.As32(), zero.As32())
	MOVQ(I32(-1), ones)
	MOVQ(U32(48), full)
	for lane := range x {
		some, m, data := GP64(), K(), ZMM()
		MOVQ(left, some)
		CMPQ(some, full)
		CMOVQGT(full, some)
		CMPQ(some, Imm(0))
		CMOVQLT(zero, some)
		BZHIQ(some, ones, some)
		KMOVQ(some, m)
		VMOVDQU8_Z(Mem{Base: p, Disp: 48 * lane}, m, data)
		VMOVDQU64(at(constPieces, lane), x[lane])
		VPERMI2B(numbers, data, x[lane])
		SUBQ(Imm(48), left)
	}
	transposeLanes(x)
	unit, swap := ZMM(), ZMM()
	VPBROADCASTQ(constUnit, unit)
	VBROADCASTI32X4(constSlice, swap)
	for k := range x {
		VGF2P8AFFINEQB(Imm(0), x[k], unit, x[k]) // [n3 n2][n1 n0 k1 k0]
	}
	for k := range x {
		VPSHUFB(swap, x[k], x[k]) // [n3 n2][k1 k0 n1 n0]
	}
	width(ZMM).interleave(x, x) // [k1 k0][n1 n0 n3 n2]
}
