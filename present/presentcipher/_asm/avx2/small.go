package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Offsets of the three keys' schedules.
const (
	encKey = 0
	macKey = 256
	finKey = 512
)

// stream is the first 16 blocks of the key stream.
func stream() {
	TEXT("streamAVX2", NOSPLIT, "func(rk *[32]uint64, dst *[128]byte, iv uint64)")
	Pragma("noescape")
	Doc("streamAVX2 sets dst to 16 blocks of the key stream, from block iv on, whose four", "lowest bits are clear.")
	rk := Load(Param("rk"), GP64())
	iv := Load(Param("iv"), GP64())
	k1 := GP64()
	MOVQ(Mem{Base: rk}, k1)
	ymm := width(YMM)
	x := ymm.state()
	counterBlocks(iv, k1, x)
	ymm.encryptOnce("streamRounds", rk, x)
	dst := Load(Param("dst"), GP64())
	xorBlocks(dst, nil, 0, x)
	VZEROUPPER()
	RET()
}

// tag is LightMAC of up to 33 pieces. The buffer has room for 8 bytes where the last
// one begins, and for two more than 32 pieces.
func tag() {
	TEXT("tagAVX2", NOSPLIT, "func(keys *[96]uint64, buf *[208]byte, pieces int) uint64")
	Pragma("noescape")
	Doc("tagAVX2 is the tag of buf, its first byte lowest: pieces whole ones, 1 to 32, and",
		"then the last one, padded.")
	keys := Load(Param("keys"), GP64())
	buf := Load(Param("buf"), GP64())
	pieces := Load(Param("pieces"), GP64())
	rk := GP64()
	LEAQ(Mem{Base: keys, Disp: macKey}, rk)
	ymm := width(YMM)
	load := func(g int) (x state) {
		k1, numbers, x := GP64(), YMM(), ymm.state()
		VMOVDQU(constNumbersOne.Offset(32*g), numbers)
		loadPieces(buf, 96*g, numbers, x)
		MOVQ(Mem{Base: rk}, k1)
		k := ymm.state()
		ymm.spreadBlock(k1, k)
		for i := range x {
			VPXOR(k[i], x[i], x[i])
		}
		return x
	}
	x := load(0)
	CMPQ(pieces, Imm(16))
	JG(LabelRef("tagTwo"))
	ymm.encryptOnce("tagOneRounds", rk, x)
	choose(pieces, x)
	JMP(LabelRef("tagSum"))

	Label("tagTwo")
	y := load(1)
	ymm.encryptOnce("tagTwoRounds", rk, x, y)
	left := GP64()
	LEAQ(Mem{Base: pieces, Disp: -16}, left)
	choose(left, y)
	for k := range x {
		VPXOR(y[k], x[k], x[k])
	}

	Label("tagSum")
	c := loadNibbleTables()
	sum := c.sum(x)
	Comment("The last piece")
	ADDQ(I32(finKey-macKey), rk)
	LEAQ(Mem{Base: pieces, Index: pieces, Scale: 2}, pieces)
	VPXOR(c.spreadBytes(Mem{Base: buf, Index: pieces, Scale: 2}), sum, sum)
	VPXOR(c.spread(Mem{Base: rk}, across), sum, sum)
	c.encrypt("tagRounds", rk, sum)
	out := GP64()
	VMOVQ(packed(sum), out)
	Store(out, ReturnIndex(0))
	VZEROUPPER()
	RET()
}

// choose clears the blocks of the group x that are not among the first n of its 16.
func choose(n Register, x state) {
	limit, all, bits, low := GP64(), GP64(), YMM(), XMM()
	MOVQ(U32(16), limit) // the instruction below looks at the lowest byte
	CMPQ(n, limit)
	CMOVQLT(n, limit)
	MOVQ(I32(-1), all)
	BZHIQ(limit, all, all)
	VMOVD(all.As32(), low)
	VPBROADCASTD(low, bits)
	VPSHUFB(constValid, bits, bits)
	for k := range x {
		VPAND(bits, x[k], x[k])
	}
}

// sum is the XOR of all blocks of the group x, as nibbles across: bit k of a nibble is
// the parity of a byte of r_k, and the bytes have the right order.
func (c *nibbles) sum(x state) VecVirtual {
	Comment("The XOR of all blocks")
	for k, r := range x {
		other, low := XMM(), r.AsX().(VecVirtual)
		VEXTRACTI128(Imm(1), r, other)
		VPXOR(other, low, low)
		VPSRLW(Imm(4), low, other)
		VPXOR(other, low, low)
		VPAND(c.low, low, low)
		table := XMM()
		VMOVDQU(nibbleTables.parity[k], table)
		VPSHUFB(low, table, low)
	}
	VPXOR(x[1].AsX(), x[0].AsX(), x[0].AsX())
	VPXOR(x[3].AsX(), x[2].AsX(), x[2].AsX())
	sum := XMM()
	VPXOR(x[2].AsX(), x[0].AsX(), sum)
	return sum
}
