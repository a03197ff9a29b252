package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// The second layout is for one block, where what counts is the time from the first
// round to the last: 16 bytes, a nibble in each, so that the S-box is one VPSHUFB.
// P sends bit k of nibble 4q+t to bit t of nibble 4k+q. For each j it is done for the
// bits with t = k+j mod 4: the S-box comes with its output rotated by j, which brings
// bit k to bit t, a byte shuffle brings nibble 4q+t to nibble 4k+q, and a mask leaves
// that bit. So P is no more than a shuffle, a mask and three additions.
//
// There are two ways to order the nibbles, "across" and "along", and rounds take one
// to the other. Where nibble 4q+t is byte 4t+q before a round, nibble 4k+q is byte
// 4k+q after it, and the other way round: for j = 0 nothing moves. This quarter is
// early, so the round key is added to it without delay. A round is five instructions
// long: look up, shuffle, mask, add, add.

// A nibbleOrder is how nibbles are ordered before a round.
type nibbleOrder int

const (
	across nibbleOrder = iota // nibble 4q+t is byte 4t+q
	along                     // nibble n is byte n
)

// nibbleTables are the constants of the nibble layout.
var nibbleTables struct {
	sbox, masks       [4]Mem // for j = 0 to 3; masks across, then along
	shuffle           [4]Mem // along
	low, cross        Mem
	load, pack, weigh Mem
	parity            [4]Mem
}

func declareNibbleTables() {
	t := &nibbleTables
	sbox := sboxTable()
	names := [4]string{"0", "1", "2", "3"}
	for j, name := range names {
		t.sbox[j] = table("sbox"+name, 16, func(i int) byte { return (sbox[i]<<j | sbox[i]>>(4-j)) & 15 })
		t.masks[j] = table("mask"+name, 32, func(i int) byte {
			k := i >> 2 & 3 // across: to byte 4k+q
			if nibbleOrder(i>>4) == along {
				k = i & 3 // to byte 4q+k
			}
			return 1 << ((k + j) & 3)
		})
		if j > 0 {
			t.shuffle[j] = table("shuffle"+name, 16, func(i int) byte { return byte(i&^3 | (i+j)&3) })
		}
		// 1<<j where the number of bits in i is odd.
		t.parity[j] = table("parity"+name, 16, func(i int) byte { return byte((i^i>>1^i>>2^i>>3)&1) << j })
	}
	t.low = table("lowNibble", 16, func(int) byte { return 0x0f })
	t.cross = table("cross", 16, func(i int) byte { return byte(swapPairs(i)) })
	// Nibble 2i of a block's bytes in memory is in nibbles 14-2i and 15-2i.
	t.load = table("loadNibbles", 16, func(i int) byte { return byte(14 - swapPairs(i)&^1 + i>>2&1) })
	t.pack = table("packNibbles", 16, func(i int) byte { return byte(14 - i&^1 + i&1) })
	t.weigh = table("weighNibbles", 16, func(i int) byte { return byte(1 + i&1*15) })
}

// nibbles holds what the rounds need in registers.
type nibbles struct {
	sbox [4]VecVirtual
	low  VecVirtual
}

func loadNibbleTables() *nibbles {
	load := func(m Mem) VecVirtual {
		v := XMM()
		VMOVDQU(m, v)
		return v
	}
	c := &nibbles{low: load(nibbleTables.low)}
	for j, m := range nibbleTables.sbox {
		c.sbox[j] = load(m)
	}
	return c
}

// halves splits the bytes of x, which is used up, into lower and upper nibbles.
func (c *nibbles) halves(x VecVirtual) (low, high VecVirtual) {
	low, high = XMM(), x
	VPAND(c.low, x, low)
	VPSRLW(Imm(4), x, high)
	VPAND(c.low, high, high)
	return low, high
}

// spread is the nibbles of the 64-bit value in memory.
func (c *nibbles) spread(m Mem, o nibbleOrder) VecVirtual {
	x := XMM()
	VMOVQ(m, x)
	low, high := c.halves(x)
	VPUNPCKLBW(high, low, x)
	if o == across {
		VPSHUFB(nibbleTables.cross, x, x)
	}
	return x
}

// spreadBytes is the nibbles of eight bytes, the first the uppermost.
func (c *nibbles) spreadBytes(m Mem) VecVirtual {
	x := XMM()
	VMOVQ(m, x)
	low, high := c.halves(x)
	VPUNPCKLBW(high, low, x)
	VPSHUFB(nibbleTables.load, x, x)
	return x
}

// encrypt does 31 rounds on x, across and with K1 added. It comes out along.
func (c *nibbles) encrypt(label string, rk Register, x VecVirtual) {
	Comment("31 rounds")
	at, end := GP64(), GP64()
	LEAQ(Mem{Base: rk, Disp: 8}, at)
	LEAQ(Mem{Base: rk, Disp: 8 * rounds}, end)
	Label(label)
	keys := XMM()
	VMOVDQU(Mem{Base: at}, keys)
	low, high := c.halves(keys)
	second := XMM()
	VPUNPCKHBW(high, low, second)
	VPUNPCKLBW(high, low, keys)
	VPSHUFB(nibbleTables.cross, second, second)
	c.round(x, keys, across)
	c.round(x, second, along)
	ADDQ(Imm(16), at)
	CMPQ(at, end)
	JNE(LabelRef(label))
	c.round(x, c.spread(Mem{Base: at}, along), across)
}

// round takes x through S-box, P and the addition of the next round key.
func (c *nibbles) round(x, key VecVirtual, o nibbleOrder) {
	var s [4]VecVirtual
	for _, j := range []int{1, 2, 0, 3} {
		s[j] = XMM()
		VPSHUFB(x, c.sbox[j], s[j])
	}
	for _, j := range []int{1, 2, 0, 3} {
		switch {
		case j == 0:
		case o == across:
			VPSHUFD(Imm(uint64(0b11100100>>(2*j)|0b11100100<<(8-2*j))&0xff), s[j], s[j])
		default:
			VPSHUFB(nibbleTables.shuffle[j], s[j], s[j])
		}
		VPAND(nibbleTables.masks[j].Offset(16*int(o)), s[j], s[j])
	}
	VPXOR(key, s[0], s[0])
	VPXOR(s[1], s[2], s[1])
	VPXOR(s[3], s[0], s[0])
	VPXOR(s[0], s[1], x)
}

// packed is the block in x, along, in memory order.
func packed(x VecVirtual) VecVirtual {
	VPSHUFB(nibbleTables.pack, x, x)
	weights := XMM()
	VMOVDQU(nibbleTables.weigh, weights)
	VPMADDUBSW(weights, x, x)
	VPACKUSWB(x, x, x)
	return x
}

// encryptBlock encrypts one block, from memory to memory.
func encryptBlock() {
	TEXT("encryptAVX2", NOSPLIT, "func(rk *[32]uint64, dst, src *[8]byte)")
	Pragma("noescape")
	Doc("encryptAVX2 encrypts one block.")
	rk := Load(Param("rk"), GP64())
	dst := Load(Param("dst"), GP64())
	src := Load(Param("src"), GP64())
	c := loadNibbleTables()
	x := c.spreadBytes(Mem{Base: src})
	VPXOR(c.spread(Mem{Base: rk}, across), x, x)
	c.encrypt("oneRounds", rk, x)
	VMOVQ(packed(x), Mem{Base: dst})
	RET()
}
