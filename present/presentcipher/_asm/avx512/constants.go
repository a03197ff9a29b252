package main

import (
	"encoding/binary"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

var (
	constKeyBits   Mem
	constBlockBits Mem
	constStateBits Mem
	constUnslice   Mem
	constSlice     Mem
	constUnit      Mem
	constBigEndian Mem
	constPieces    Mem
	constNumbers   Mem
	constLanes     Mem
	constCounter   Mem

	constTopNibble, constNotTop     Mem
	constSchedule                   Mem
	constHighHalves, constLowHalves Mem
)

// table declares read-only bytes.
func table(name string, size int, f func(i int) byte) Mem {
	m := GLOBL(name, RODATA|NOPTR)
	for i := 0; i < size; i += 8 {
		var b [8]byte
		for j := range b {
			b[j] = f(i + j)
		}
		DATA(i, U64(binary.LittleEndian.Uint64(b[:])))
	}
	return m
}

// swapPairs exchanges the upper and the lower two bits of a 4-bit number: it
// turns the byte number p into the nibble n and n into p.
func swapPairs(p int) int { return p&3<<2 | p>>2&3 }

func declareConstants() {
	// Bit 16k+p of the slices is bit 4n+k of the state.
	constBlockBits = table("blockBits", 64, func(i int) byte {
		return byte(4*swapPairs(i&15) + i>>4)
	})
	// And back: bit 4n+k of the state is bit 16k+p of the slices.
	constStateBits = table("stateBits", 64, func(i int) byte {
		return byte(16*(i&3) + swapPairs(i>>2))
	})
	// The same before P, which sends bit 4n+k to 16k+n.
	constKeyBits = table("keyBits", 64, func(i int) byte {
		return byte(i&^15 + swapPairs(i&15))
	})
	constUnslice = table("unsliceBytes", 16, func(i int) byte { return byte(swapPairs(i ^ 1)) })
	constSlice = table("sliceBytes", 16, func(i int) byte { return byte(swapPairs(i)) })
	constUnit = table("unit", 8, func(i int) byte { return 1 << i })
	// Byte c of block j is byte j of its row 7-c.
	constBigEndian = table("bigEndian", 64, func(i int) byte {
		return byte(8*(7-i&7) + i>>3)
	})
	// Rows of 8 pieces of 6 bytes: row b has byte b of each, counted from the
	// least significant. Rows 6 and 7 are the pieces' numbers, the second
	// source of the permutation. Rows are backwards for the bit transposition.
	constPieces = table("pieceRows", 4*64, func(i int) byte {
		lane, b, j := i>>6, i>>3&7, 7-i&7
		if b < 6 {
			return byte(6*j + 5 - b)
		}
		return byte(64 + 16*lane + 2*j + b - 6)
	})
	constNumbers = table("numbers", 64, func(i int) byte {
		if i&1 == 1 {
			return 0
		}
		return byte(i >> 1)
	})
	constLanes = table("lanes", 64, func(i int) byte { return byte(i >> 4) })
	// What block b of a group adds to the counter: bits 0 to 3 are r_0 to r_3
	// of nibble 0, bit 4 is r_0 of nibble 1 (byte 4).
	constCounter = table("counters", 4*64, func(i int) byte {
		k, lane, p := i>>6, i>>4&3, i&15
		switch {
		case p == 0 && k < 3:
			return [3]byte{0xaa, 0xcc, 0xf0}[k]
		case p == 0 && lane&1 == 1, p == 4 && k == 0 && lane&2 == 2:
			return 0xff
		}
		return 0
	})

	// The key schedule: what is left of its top byte, and what is not.
	top := func(in, others byte) func(i int) byte {
		return func(i int) byte {
			if i == 7 {
				return in
			}
			return others
		}
	}
	constTopNibble = table("topNibble", 8, top(0x0f, 0))
	constNotTop = table("notTop", 8, top(0, 0x80))
	// The counter i enters at k66..k62.
	constSchedule = table("scheduleCounters", 16*rounds, func(i int) byte {
		n := i>>4 + 1
		switch i & 15 {
		case 0:
			return byte(n >> 2)
		case 15:
			return byte(n << 6)
		}
		return 0
	})
	half := func(first int) func(i int) byte {
		return func(i int) byte {
			if i&7 > 0 {
				return 0
			}
			return byte(first + i>>3*2)
		}
	}
	constHighHalves = table("highHalves", 32, half(1))
	constLowHalves = table("lowHalves", 32, func(i int) byte { return half(2)(i) & 7 })
}
