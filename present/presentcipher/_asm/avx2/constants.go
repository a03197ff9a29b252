package main

import (
	"encoding/binary"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

var (
	constKeyBytes, constKeyByte     Mem
	constKeyBit                     Mem
	constBlockBytes, constBlockBits Mem
	constTurn, constTurnBytes       Mem
	constStore, constLoad           Mem
	constValues                     Mem
	constCounter                    Mem
	constNumbers, constOne          Mem
	constNumbersOne                 Mem
	constValid                      Mem
	constTopNibble, constSubstitute Mem
	constSubstituteZero, constThree Mem
	constSchedule                   Mem
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
// turns the byte number n1 n0 n3 n2 into the nibble n3 n2 n1 n0.
func swapPairs(p int) int { return p&3<<2 | p>>2&3 }

// bitTables are where bit(i) of eight bytes is for byte i: in which byte, and
// under which mask.
func bitTables(name string, bit func(i int) int) (bytes, bits Mem) {
	bytes = table(name+"Bytes", 64, func(i int) byte { return byte(bit(i) >> 3) })
	bits = table(name+"Bits", 64, func(i int) byte { return 1 << (bit(i) & 7) })
	return bytes, bits
}

func declareConstants() {
	constBlockBytes, constBlockBits = bitTables("block", func(i int) int {
		return 4*swapPairs(i&15) + i>>4
	})
	// A key is added before P, which sends bit 4n+k to 16k+n.
	// The bytes are for r_k at 16*k, then for both lanes at 32*k; the bits are the same
	// for all four.
	constKeyBytes = table("keyBytes", 64, func(i int) byte { return byte(i>>4*2 + swapPairs(i&15)>>3) })
	constKeyByte = table("keyByte", 4*32, func(i int) byte { return byte(i>>5*2 + swapPairs(i&15)>>3) })
	constKeyBit = table("keyBit", 32, func(i int) byte { return 1 << (swapPairs(i&15) & 7) })
	constTurn = table("turnMasks", 8, func(i int) byte { return [8]byte{0x55, 0x33}[i] })
	constTurnBytes = table("turnBytes", 8, func(i int) byte {
		if i>>2 == 0 {
			return 0xf0
		}
		return 0
	})
	// Byte n1 j2 n3 n2 is byte b = n3 n2 n1 of the block j2. In memory it is
	// byte 7-b; a loaded piece has bytes 5 to 0 first, then its number.
	where := func(b, j2 int) int { return b&1<<3 | j2<<2 | b>>1 }
	constStore = table("storeBytes", 16, func(i int) byte { return byte(where(7-i&7, i>>3)) })
	constValues = table("valueBytes", 16, func(i int) byte { return byte(where(i&7, i>>3)) })
	var load [16]byte
	for b := range 8 {
		for j2 := range 2 {
			from := b
			if b < 6 {
				from = 5 - b
			}
			load[where(b, j2)] = byte(8*j2 + from)
		}
	}
	constLoad = table("loadBytes", 32, func(i int) byte { return load[i&15] })
	// What block 8L+j of a group adds to the counter: bits 0 to 3 are r_0 to
	// r_3 of nibble 0.
	constCounter = table("counters", 4*32, func(i int) byte {
		k, lane := i>>5, i>>4&1
		switch {
		case i&15 > 0:
			return 0
		case k < 3:
			return [3]byte{0xaa, 0xcc, 0xf0}[k]
		}
		return byte(-lane)
	})
	// Numbers are in words 3 and 7 of a lane: pieces 8L and 8L+4 for now.
	constNumbers = table("numbers", 32, func(i int) byte {
		if i&7 != 6 {
			return 0
		}
		return byte(i>>4*8 + i>>3&1*4)
	})
	constNumbersOne = table("numbersOne", 64, func(i int) byte {
		if i&7 != 6 {
			return 0
		}
		return byte(1 + i>>4*8 + i>>3&1*4)
	})
	constOne = table("one", 32, func(i int) byte { return byte(1 - i&1) })
	constValid = table("lanes", 32, func(i int) byte { return byte(i >> 4) })
	constTopNibble = table("topNibble", 32, func(i int) byte { return byte(i & 7 / 7 * 0x0f) })
	sbox := sboxTable()
	constSubstitute = table("substitute", 16, func(i int) byte { return sbox[i] ^ byte(i) ^ sbox[0] })
	constSubstituteZero = table("substituteZero", 32, func(i int) byte { return byte(i&7/7) * (sbox[0] | sbox[0]<<4) })
	constThree = table("threeBits", 32, func(i int) byte { return byte(i&7/7) * 0x1c })
	// The counter i is added to k66 to k62. Its lower two bits are in the lower half
	// and come to the upper one with the next round, three bits further down.
	constSchedule = table("schedule", 8*rounds, func(at int) byte {
		i := uint64(at>>3 + 1)
		return byte((i>>2 | (i-1)&3<<59) >> (at & 7 * 8))
	})
}

func sboxTable() [16]byte {
	return [16]byte{0xC, 5, 6, 0xB, 9, 0, 0xA, 0xD, 3, 0xE, 0xF, 8, 4, 7, 1, 2}
}
