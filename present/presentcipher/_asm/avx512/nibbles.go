package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// The second layout is for few blocks, where what counts is the time from the
// first round to the last: one block in 16 bytes, a nibble in each, so that
// the S-box is one VPSHUFB. P sends bit k of nibble 4q+t to bit t of nibble
// 4k+q: for each q it transposes four nibbles, which VGF2P8AFFINEQB does when
// the data is the matrix and the vectors are the unit vectors 1<<k. Two byte
// shuffles bring the nibbles of q = 0, 1 and of q = 2, 3 to the two matrices
// of a lane; the results fill complementary halves of each eight bytes and are
// joined by the same instruction that adds the round key.
//
// Nibble 4k+2h+w is byte 8w+4h+k of the lane.

func nibbleByte(n int) int { return n&1<<3 | n&2<<1 | n>>2 }

func byteNibble(s int) int { return s&3<<2 | s&4>>1 | s>>3 }

// nibbleTables are the constants of the nibble layout.
var nibbleTables struct {
	sbox, gatherA, gatherB, unitA, unitB, low, shifts Mem
	shiftsBE                                          Mem
	pack, packLow, weigh                              Mem
	counters, numbers, pieces                         Mem
}

func declareNibbleTables() {
	t := &nibbleTables
	sbox := [16]byte{0xC, 5, 6, 0xB, 9, 0, 0xA, 0xD, 3, 0xE, 0xF, 8, 4, 7, 1, 2}
	t.sbox = table("sboxNibbles", 16, func(i int) byte { return sbox[i] })
	gather := func(firstQ int) func(i int) byte {
		return func(i int) byte {
			t, w := 7-i&7, i>>3
			if t > 3 {
				return 0x80 // zero
			}
			return byte(nibbleByte(4*(firstQ+w) + t))
		}
	}
	t.gatherA = table("gatherA", 16, gather(0))
	t.gatherB = table("gatherB", 16, gather(2))
	unit := func(half int) func(i int) byte {
		return func(i int) byte {
			if i>>2&1 != half {
				return 0
			}
			return 1 << (i & 3)
		}
	}
	t.unitA = table("unitA", 16, unit(0))
	t.unitB = table("unitB", 16, unit(1))
	t.low = table("lowNibble", 16, func(int) byte { return 0x0f })
	t.shifts = table("nibbleShifts", 16, func(i int) byte { return byte(4 * byteNibble(i)) })
	t.shiftsBE = table("nibbleShiftsBE", 16, func(i int) byte {
		n := byteNibble(i)
		return byte(8*(7-n>>1) + n&1*4)
	})
	t.pack = table("packNibbles", 16, func(i int) byte {
		return byte(nibbleByte(2*(7-i>>1) + i&1))
	})
	t.packLow = table("packNibblesLow", 16, func(i int) byte { return byte(nibbleByte(i)) })
	t.weigh = table("weighNibbles", 16, func(i int) byte { return byte(1 + i&1*15) })
	// Block b counts in nibbles 0 and 1, piece b+1 in nibbles 12 and 13.
	count := func(nibble, from int) func(i int) byte {
		return func(i int) byte {
			b := i>>4 + from
			switch byteNibble(i & 15) {
			case nibble:
				return byte(b & 15)
			case nibble + 1:
				return byte(b >> 4)
			}
			return 0
		}
	}
	t.counters = table("nibbleCounters", 8*64, count(0, 0))
	t.numbers = table("nibbleNumbers", 8*64, count(12, 1))
	t.pieces = table("nibblePieces", 64, func(i int) byte {
		if i&7 > 5 {
			return 0x80
		}
		return byte(i>>4*6 + 5 - i&7)
	})
}

// nibbles holds what the rounds need in registers.
type nibbles struct {
	sbox, gatherA, gatherB, unitA, unitB, low, shifts VecVirtual
}

func loadNibbleTables() *nibbles {
	load := func(m Mem) VecVirtual {
		v := ZMM()
		VBROADCASTI32X4(m, v)
		return v
	}
	t := &nibbleTables
	return &nibbles{load(t.sbox), load(t.gatherA), load(t.gatherB), load(t.unitA), load(t.unitB), load(t.low), load(t.shifts)}
}

// spread puts the nibbles of the 64-bit value in memory into every lane.
func (c *nibbles) spread(m Mem) VecVirtual {
	v := ZMM()
	VPMULTISHIFTQB_BCST(m, c.shifts, v)
	VPANDD(c.low, v, v)
	return v
}

// spreadBlock does the same to a 64-bit value in a register.
func (c *nibbles) spreadBlock(b Register) VecVirtual {
	v := ZMM()
	VPBROADCASTQ(b, v)
	c.spreadEach(v)
	return v
}

// shiftsBE is shifts for a block as it stands in memory.
func (c *nibbles) shiftsBE() VecVirtual {
	v := XMM()
	VMOVDQU64(nibbleTables.shiftsBE, v)
	return v
}

// spreadEach does it to one value in each lane, which is there twice.
func (c *nibbles) spreadEach(v VecVirtual) {
	VPMULTISHIFTQB(v, c.shifts, v)
	VPANDD(c.low, v, v)
}

// A pass is blocks that are encrypted under one key.
type pass struct {
	rk Register // K1 to K32
	x  []VecVirtual
}

// encrypt does 31 rounds on the blocks of all passes at once; K1 is added.
func (c *nibbles) encrypt(label string, passes ...pass) {
	Comment("31 rounds")
	i := GP64()
	MOVQ(I32(-rounds), i)
	Label(label)
	for _, p := range passes {
		k := c.spread(Mem{Base: p.rk, Index: i, Scale: 8, Disp: 8 * (rounds + 1)})
		for _, x := range p.x {
			c.round(x, k)
		}
	}
	INCQ(i)
	JNE(LabelRef(label))
}

// round takes one register of blocks, of any width, through S-box, P and the
// addition of the next round key.
func (c *nibbles) round(x, k VecVirtual) {
	as := func(v VecVirtual) VecVirtual { return v }
	s, a, b := ZMM(), ZMM(), ZMM()
	if x.Size() == 16 {
		as = func(v VecVirtual) VecVirtual { return v.AsX().(VecVirtual) }
		s, a, b = XMM(), XMM(), XMM()
	}
	VPSHUFB(x, as(c.sbox), s)
	VPSHUFB(as(c.gatherA), s, a)
	VPSHUFB(as(c.gatherB), s, b)
	VGF2P8AFFINEQB(Imm(0), a, as(c.unitA), x)
	VGF2P8AFFINEQB(Imm(0), b, as(c.unitB), b)
	ternary(xor3, 0, x, b, as(k))
}

// packed turns the nibbles of x into blocks in memory order.
func packed(x VecVirtual) VecVirtual {
	y := YMM()
	order, weights := ZMM(), ZMM()
	VBROADCASTI32X4(nibbleTables.pack, order)
	VBROADCASTI32X4(nibbleTables.weigh, weights)
	VPSHUFB(order, x, x)
	VPMADDUBSW(weights, x, x)
	VPMOVWB(x, y)
	return y
}
