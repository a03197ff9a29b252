package main

import (
	"fmt"

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

func offset(keys Register, by int) Register {
	r := GP64()
	LEAQ(Mem{Base: keys, Disp: by}, r)
	return r
}

// counterNibbles is the first blocks of the key stream before encryption,
// four in each of n registers, with K1 added.
func (c *nibbles) counterNibbles(rk, iv Register, n int) []VecVirtual {
	v := GP64()
	MOVQ(iv, v)
	XORQ(Mem{Base: rk}, v)
	base := c.spreadBlock(v)
	x := make([]VecVirtual, n)
	for g := range x {
		x[g] = ZMM()
		VPXORD(at(nibbleTables.counters, g), base, x[g])
	}
	return x
}

// pieceNibbles is the first pieces at buf, four in each of n registers,
// numbered from 1, with K1 added. It reads 32 bytes from every 24.
func (c *nibbles) pieceNibbles(rk, buf Register, n int) []VecVirtual {
	Comment("Pieces, from bytes to nibbles")
	base := c.spread(Mem{Base: rk})
	order, some, m := ZMM(), GP64(), K()
	VMOVDQU64(nibbleTables.pieces, order)
	MOVQ(U64(0x3f3f3f3f3f3f3f3f), some)
	KMOVQ(some, m)
	x := make([]VecVirtual, n)
	for g := range x {
		x[g] = ZMM()
		bytes := YMM()
		VMOVDQU64(Mem{Base: buf, Disp: 24 * g}, bytes)
		VPERMB_Z(bytes.AsZ(), order, m, x[g])
		c.spreadEach(x[g])
		ternaryMem(xor3, x[g], base, at(nibbleTables.numbers, g))
	}
	return x
}

// ternaryMem is ternary with a symmetric function and a memory operand.
func ternaryMem(f uint8, x, y VecVirtual, z Mem) { VPTERNLOGD(U8(f), z, y, x) }

// sumPieces is the XOR of the first pieces of x, in one lane. It does not
// matter to the time how many there are.
func sumPieces(pieces Register, x []VecVirtual) VecVirtual {
	Comment("The XOR of the pieces there are")
	bits, twice := GP64(), GP64()
	MOVQ(I32(-1), bits)
	LEAQ(Mem{Base: pieces, Index: pieces, Scale: 1}, twice)
	BZHIQ(twice, bits, bits)
	m := K()
	KMOVQ(bits, m)
	even, odd := ZMM(), ZMM()
	for g := range x {
		sum := even
		if g%2 == 1 {
			sum = odd
		}
		if g < 2 {
			VMOVDQA64_Z(x[g], m, sum)
		} else {
			VPXORQ(x[g], sum, m, sum)
		}
		if g < len(x)-1 {
			next := K()
			KSHIFTRQ(Imm(8), m, next)
			m = next
		}
	}
	VPXORD(odd, even, even)
	high := ZMM()
	VEXTRACTI64X4(Imm(1), even, high.AsY())
	VPXORD(high.AsY(), even.AsY(), even.AsY())
	VEXTRACTI128(Imm(1), even.AsY(), high.AsX())
	VPXORD(high.AsX(), even.AsX(), even.AsX())
	return even
}

// tagOf encrypts the sum and the last piece, padded, at buf+6*pieces.
func (c *nibbles) tagOf(label string, keys, buf, pieces Register, sum VecVirtual) VecVirtual {
	Comment("The tag")
	rk := offset(keys, finKey)
	six, last := GP64(), GP64()
	LEAQ(Mem{Base: pieces, Index: pieces, Scale: 2}, six)
	MOVQ(Mem{Base: buf, Index: six, Scale: 2}, last)
	BSWAPQ(last)
	XORQ(Mem{Base: rk}, last)
	p := c.spreadBlock(last)
	x := XMM()
	VPXORD(p.AsX(), sum.AsX(), x)
	c.encrypt(label, pass{rk, []VecVirtual{x}})
	return packX(x)
}

func packX(x VecVirtual) VecVirtual {
	VPSHUFB(nibbleTables.pack, x, x)
	VPMADDUBSW(nibbleTables.weigh, x, x)
	VPMOVWB(x, x)
	return x
}

// xorNibbles is dst = src XOR x over the first n bytes, and the same to mirror
// if that is not nil. n is used up.
func xorNibbles(dst, src, mirror, n Register, x []VecVirtual) {
	Comment("Add the key stream")
	ones, zero := GP64(), GP64()
	MOVQ(I32(-1), ones)
	XORL(zero.As32(), zero.As32())
	for g := range x {
		some := GP64()
		BZHIQ(n, ones, some)
		m := K()
		KMOVD(some.As32(), m)
		y := packed(x[g])
		if src != nil {
			data := YMM()
			VMOVDQU8_Z(Mem{Base: src, Disp: 32 * g}, m, data)
			VPXORD(data, y, y)
		}
		VMOVDQU8(y, m, Mem{Base: dst, Disp: 32 * g})
		if mirror != nil {
			VMOVDQU8(y, m, Mem{Base: mirror, Disp: 32 * g})
		}
		if g < len(x)-1 {
			SUBQ(Imm(32), n)
			CMOVQLT(zero, n)
		}
	}
}

// bySize calls f for the least n of 2, 4 and 8 registers of four blocks that
// hold the given number of blocks, at most 32, and joins the ways at the end.
func bySize(label string, blocks Register, sizes []int, f func(label string, n int)) {
	for i, n := range sizes {
		here := fmt.Sprint(label, n)
		over := fmt.Sprint(label, "Over", n)
		if i < len(sizes)-1 {
			CMPQ(blocks, Imm(uint64(4*n)))
			JG(LabelRef(over))
		}
		f(here, n)
		if i < len(sizes)-1 {
			JMP(LabelRef(label + "End"))
			Label(over)
		}
	}
	Label(label + "End")
}

func blocksIn(n Register) Register {
	b := GP64()
	LEAQ(Mem{Base: n, Disp: 7}, b)
	SHRQ(Imm(3), b)
	return b
}

// sealSmall seals a message of one or two hundred bytes in one call.
func sealSmall() {
	TEXT("sealAVX512", NOSPLIT, "func(keys *[96]uint64, dst, src *byte, n int, iv uint64, buf *byte, head, pieces int)")
	Pragma("noescape")
	Doc("sealAVX512 encrypts n bytes, at most 256, from src to dst, copies them to",
		"buf[head:], and puts the tag of buf behind dst[:n]. buf holds everything",
		"else that is authenticated, and the padding: pieces whole ones, at most 32,",
		"and then the last one. 32 bytes are readable behind the last whole piece.")
	keys := Load(Param("keys"), GP64())
	iv := Load(Param("iv"), GP64())
	n := Load(Param("n"), GP64())
	c := loadNibbleTables()
	bySize("sealCTR", blocksIn(n), []int{2, 4, 8}, func(label string, g int) {
		rk := offset(keys, encKey)
		x := c.counterNibbles(rk, iv, g)
		c.encrypt(label, pass{rk, x})
		dst := Load(Param("dst"), GP64())
		src := Load(Param("src"), GP64())
		buf := Load(Param("buf"), GP64())
		head := Load(Param("head"), GP64())
		left := GP64()
		MOVQ(n, left)
		ADDQ(head, buf)
		xorNibbles(dst, src, buf, left, x)
	})
	buf := Load(Param("buf"), GP64())
	pieces := Load(Param("pieces"), GP64())
	sum := ZMM()
	bySize("sealMAC", pieces, []int{4, 6, 8}, func(label string, g int) {
		rk := offset(keys, macKey)
		x := c.pieceNibbles(rk, buf, g)
		c.encrypt(label, pass{rk, x})
		VMOVDQA64(sumPieces(pieces, x).AsX(), sum.AsX())
	})
	tag := c.tagOf("sealTag", keys, buf, pieces, sum)
	dst := Load(Param("dst"), GP64())
	n = Load(Param("n"), GP64())
	VMOVQ(tag, Mem{Base: dst, Index: n, Scale: 1})
	VZEROUPPER()
	RET()
}

// openSmall is the tag of a small message, and its key stream.
func openSmall() {
	TEXT("openAVX512", NOSPLIT, "func(keys *[96]uint64, stream *[64]byte, iv uint64, buf *byte, pieces int) uint64")
	Pragma("noescape")
	Doc("openAVX512 is the tag of buf, as in sealAVX512, its first byte lowest. In",
		"the same pass it sets stream to the first eight blocks of the key stream.")
	keys := Load(Param("keys"), GP64())
	iv := Load(Param("iv"), GP64())
	buf := Load(Param("buf"), GP64())
	pieces := Load(Param("pieces"), GP64())
	stream := Load(Param("stream"), GP64())
	c := loadNibbleTables()
	sum := ZMM()
	bySize("openMAC", pieces, []int{4, 6, 8}, func(label string, g int) {
		enc, mac := offset(keys, encKey), offset(keys, macKey)
		ks := c.counterNibbles(enc, iv, 2)
		x := c.pieceNibbles(mac, buf, g)
		c.encrypt(label, pass{enc, ks}, pass{mac, x})
		for i := range ks {
			VMOVDQU64(packed(ks[i]), Mem{Base: stream, Disp: 32 * i})
		}
		VMOVDQA64(sumPieces(pieces, x).AsX(), sum.AsX())
	})
	tag := c.tagOf("openTag", keys, buf, pieces, sum)
	out := GP64()
	VMOVQ(tag, out)
	Store(out, ReturnIndex(0))
	VZEROUPPER()
	RET()
}

// ctrSmall is counter mode for up to 128 bytes.
func ctrSmall() {
	TEXT("ctrSmallAVX512", NOSPLIT, "func(rk *[32]uint64, dst, src *byte, n int, iv uint64)")
	Pragma("noescape")
	Doc("ctrSmallAVX512 is ctrAVX512 for n up to 128, sooner done.")
	rk := Load(Param("rk"), GP64())
	iv := Load(Param("iv"), GP64())
	n := Load(Param("n"), GP64())
	c := loadNibbleTables()
	bySize("ctrSmall", blocksIn(n), []int{2, 4}, func(label string, g int) {
		x := c.counterNibbles(rk, iv, g)
		c.encrypt(label, pass{rk, x})
		dst := Load(Param("dst"), GP64())
		src := Load(Param("src"), GP64())
		left := GP64()
		MOVQ(n, left)
		xorNibbles(dst, src, nil, left, x)
	})
	VZEROUPPER()
	RET()
}

// encryptBlock encrypts one block, from memory to memory: a detour through
// general registers to turn the bytes round would take longer than a round.
func encryptBlock() {
	TEXT("encryptAVX512", NOSPLIT, "func(rk *[32]uint64, dst, src *[8]byte)")
	Pragma("noescape")
	Doc("encryptAVX512 encrypts one block.")
	rk := Load(Param("rk"), GP64())
	dst := Load(Param("dst"), GP64())
	src := Load(Param("src"), GP64())
	c := loadNibbleTables()
	x, k := XMM(), c.spread(Mem{Base: rk})
	VPBROADCASTQ(Mem{Base: src}, x)
	VPMULTISHIFTQB(x, c.shiftsBE(), x)
	VPANDD(c.low.AsX(), x, x)
	VPXORD(k.AsX(), x, x)
	c.encrypt("oneRounds", pass{rk, []VecVirtual{x}})
	VMOVQ(packX(x), Mem{Base: dst})
	VZEROUPPER()
	RET()
}
