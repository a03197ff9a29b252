package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// validBlocks is the mask of the first n of a group's 32 blocks; n may be more.
func validBlocks(n Register) VecVirtual {
	limit, bits := GP64(), GP64()
	MOVQ(U32(32), limit)
	CMPQ(n, limit)
	CMOVQLT(n, limit)
	MOVQ(I32(-1), bits)
	BZHIQ(limit, bits, bits)
	mask := ZMM()
	VPBROADCASTD(bits.As32(), mask)
	VPSHUFB(constLanes, mask, mask)
	return mask
}

// macPieces is the XOR of any number of encrypted pieces, 128 at a time.
func macPieces() {
	TEXT("macAVX512", 0, "func(rk *[32]uint64, p *byte, n int, next uint64) uint64")
	Pragma("noescape")
	Doc("macAVX512 is the XOR of the n pieces at p, numbered from next, encrypted.")
	rk := Load(Param("rk"), GP64())
	key := spreadKeys("macKeys", rk)
	p := Load(Param("p"), GP64())
	n := Load(Param("n"), GP64())
	next := GP64()
	Load(Param("next"), next)
	k1 := GP64()
	MOVQ(Mem{Base: rk}, k1)

	zmm := width(ZMM)
	whitening, sum := AllocLocal(256), AllocLocal(256)
	first, zero := zmm.state(), ZMM()
	zmm.spreadBlock(k1, first)
	VPXORD(zero, zero, zero)
	for k := range first {
		VMOVDQU64(first[k], at(whitening, k))
		VMOVDQU64(zero, at(sum, k))
	}

	// groups is the code for up to that many groups at once, the last of which
	// may be short.
	groups := func(label string, count int) {
		x := make([]state, count)
		for i := range x {
			numbers, bytes := ZMM(), GP64()
			VPBROADCASTW(next.As32(), numbers)
			VPADDW(constNumbers, numbers, numbers)
			LEAQ(Mem{Base: n, Index: n, Scale: 2}, bytes)
			ADDQ(bytes, bytes)
			x[i] = zmm.state()
			loadPieces(p, bytes, numbers, x[i])
			for k := range x[i] {
				VPXORD(at(whitening, k), x[i][k], x[i][k])
			}
			ADDQ(Imm(32), next)
			ADDQ(I32(192), p)
			if i < count-1 {
				SUBQ(Imm(32), n)
			}
		}
		zmm.encrypt(label+"Rounds", key, x...)
		mask := validBlocks(n)
		for k := range 4 {
			s := ZMM()
			VMOVDQU64(at(sum, k), s)
			for i := range count - 1 {
				VPXORD(x[i][k], s, s)
			}
			ternary(0x78, 0, s, x[count-1][k], mask)
			VMOVDQU64(s, at(sum, k))
		}
		SUBQ(Imm(32), n)
		JLE(LabelRef("macDone"))
	}
	CMPQ(n, Imm(96))
	JLE(LabelRef("macFew"))
	Label("macFour")
	groups("macFour", 4)
	CMPQ(n, Imm(96))
	JG(LabelRef("macFour"))

	Label("macFew")
	CMPQ(n, Imm(32))
	JLE(LabelRef("macOne"))
	groups("macTwo", 2)
	JMP(LabelRef("macFew"))

	Label("macOne")
	groups("macOne", 1)

	Label("macDone")
	total := zmm.state()
	nothing := ZMM()
	VPXORD(nothing, nothing, nothing)
	for k := range total {
		VMOVDQU64(at(sum, k), total[k])
		VMOVDQU64(nothing, at(sum, k))
		VMOVDQU64(nothing, at(whitening, k))
	}
	all := foldLanes(total)
	Comment("The parity of a byte is the XOR of its eight blocks")
	ones := ZMM()
	VPTERNLOGD(U8(0xff), ones, ones, ones)
	VGF2P8AFFINEQB(Imm(0), ones, all, all)
	Store(stateBits(all), ReturnIndex(0))
	wipe("macWipe", key)
	VZEROUPPER()
	RET()
}

// foldLanes makes lane k of its result the XOR of all lanes of x[k].
func foldLanes(x state) VecVirtual {
	var half [2]VecVirtual
	for i := range half {
		lo, hi := ZMM(), ZMM()
		VSHUFI32X4(Imm(0x44), x[2*i+1], x[2*i], lo)
		VSHUFI32X4(Imm(0xee), x[2*i+1], x[2*i], hi)
		VPXORD(lo, hi, hi)
		half[i] = hi
	}
	even, odd := ZMM(), ZMM()
	VSHUFI32X4(Imm(0x88), half[1], half[0], even)
	VSHUFI32X4(Imm(0xdd), half[1], half[0], odd)
	VPXORD(even, odd, odd)
	return odd
}

// stateBits is the block whose bit slices, each bit a byte, are the lanes of all.
func stateBits(all VecVirtual) Register {
	m, slices, block := K(), GP64(), GP64()
	VPMOVB2M(all, m)
	KMOVQ(m, slices)
	VPBROADCASTQ(slices, all)
	VPSHUFBITQMB(constStateBits, all, m)
	KMOVQ(m, block)
	return block
}
