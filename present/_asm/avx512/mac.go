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

// accumulate adds to sum those blocks of x that mask selects.
func accumulate(sum, x state, mask VecVirtual) {
	for k := range sum {
		ternary(0x78, 0, sum[k], x[k], mask)
	}
}

// macPieces is the XOR of any number of encrypted pieces, 64 at a time.
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
	whitening, sum := zmm.state(), zmm.state()
	zmm.spreadBlock(k1, whitening)
	for k := range sum {
		VPXORD(sum[k], sum[k], sum[k])
	}
	numbers, step := ZMM(), ZMM()
	VPBROADCASTW(next.As32(), numbers)
	VPADDW(constNumbers, numbers, numbers)
	by := GP32()
	MOVL(U32(32), by)
	VPBROADCASTW(by, step)

	load := func() state {
		bytes := GP64()
		LEAQ(Mem{Base: n, Index: n, Scale: 2}, bytes)
		ADDQ(bytes, bytes)
		x := zmm.state()
		loadPieces(p, bytes, numbers, x)
		for k := range x {
			VPXORD(whitening[k], x[k], x[k])
		}
		VPADDW(step, numbers, numbers)
		ADDQ(I32(192), p)
		return x
	}

	CMPQ(n, Imm(32))
	JLE(LabelRef("macOne"))
	Label("macTwo")
	x := load()
	SUBQ(Imm(32), n)
	y := load()
	zmm.encrypt("macTwoRounds", key, x, y)
	for k := range sum {
		VPXORD(x[k], sum[k], sum[k])
	}
	accumulate(sum, y, validBlocks(n))
	SUBQ(Imm(32), n)
	JLE(LabelRef("macDone"))
	CMPQ(n, Imm(32))
	JG(LabelRef("macTwo"))

	Label("macOne")
	z := load()
	zmm.encrypt("macOneRounds", key, z)
	accumulate(sum, z, validBlocks(n))

	Label("macDone")
	all := foldLanes(sum)
	Comment("The parity of a byte is the XOR of its eight blocks")
	ones := ZMM()
	VPTERNLOGD(U8(0xff), ones, ones, ones)
	VGF2P8AFFINEQB(Imm(0), ones, all, all)
	Store(stateBits(all), ReturnIndex(0))
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
