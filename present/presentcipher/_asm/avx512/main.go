// Command avx512 writes the AVX-512 path of package presentcipher: 32 blocks in four
// registers, on processors that also have GFNI, VBMI, VBMI2 and BITALG.
//
// Long messages are computed in the layout below: kernels.go is counter mode,
// mac.go LightMAC. Short ones, single blocks and the key set-up, in small.go and
// keys.go, use the layout of nibbles.go. Bits of an address that are written ^x
// count backwards.
//
// # Layout
//
// A bit of a PRESENT state has the index i5..i0, where i1 i0 is its place in
// its nibble and n = n3..n0 = i5..i2 the nibble. Register r_k holds the bits
// with i1 i0 = k. A register is four lanes of 16 bytes; each lane has eight
// blocks, one in each bit of a byte; the byte's number in the lane is
// p = n1 n0 n3 n2. With the two bits that choose the register written in front
// the address of a bit is
//
//	[k1 k0][n1 n0 n3 n2]
//
// Interleaving the bytes of two registers (VPUNPCKLBW, VPUNPCKHBW) rotates the
// address of what is in them left by one: the bit that chose the register
// comes last, the first bit of the byte number chooses the register. Two such
// levels over four registers rotate by two, which is what the permutation P
// does to i5..i0. So P is eight interleaves, the same ones in every round.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

const (
	rounds  = 31
	keySize = 64          // one round key, spread: 16 bytes for each r_k
	keys    = rounds * 64 // K2 to K32; K1 is added to the input
)

func main() {
	ConstraintExpr("!purego")
	declareConstants()
	declareNibbleTables()
	ctr()
	macPieces()
	ctrSmall()
	sealSmall()
	openSmall()
	encryptBlock()
	deriveKeys()
	Generate()
}

// A state is the four registers r_0 to r_3 of one group of blocks.
type state [4]VecVirtual

// A width is XMM, YMM or ZMM: 8, 16 or 32 blocks in a state.
type width func() VecVirtual

func (w width) state() (s state) {
	for k := range s {
		s[k] = w()
	}
	return s
}

// ternary computes f into the register args[into]; f's bit x<<2|y<<1|z is its
// value at (x, y, z) = args. The instruction wants the register it overwrites
// to be the first argument, so f's bits are put in that order.
func ternary(f uint8, into int, args ...VecVirtual) {
	order := []int{into}
	for i := range args {
		if i != into {
			order = append(order, i)
		}
	}
	var imm uint8
	for row := range 8 {
		var in [3]int
		for place, arg := range order {
			in[arg] = row >> (2 - place) & 1
		}
		imm |= f >> (in[0]<<2 | in[1]<<1 | in[2]) & 1 << row
	}
	VPTERNLOGD(U8(imm), args[order[2]], args[order[1]], args[into])
}

const xor3 = 0x96

// round is S-box, P and the addition of the next round key, which is in the
// layout of P's input and so can be added with the S-box's last gates.
//
// The S-box is six functions of three bits in a depth of two, then
//
//	y0 = t0^x0, y1 = t1^x2, y3 = t3^x1
//
// and y2, all of which take the key in the same instruction.
func (w width) round(x state, key state) {
	t0, a, b := w(), w(), w()
	VMOVDQA64(x[1], t0)
	ternary(0xa6, 0, t0, x[2], x[3])
	VMOVDQA64(x[0], a)
	ternary(0x36, 0, a, x[1], x[2])
	VMOVDQA64(x[0], b)
	ternary(0x6a, 0, b, x[1], x[2])
	y2 := x[3]
	ternary(0xc5, 0, y2, a, b)
	t1, t3 := a, b
	ternary(0x9e, 2, x[0], t0, t1)
	ternary(0x49, 2, x[0], t0, t3)
	y0, y1, y3 := t0, t1, t3
	ternary(xor3, 0, y0, x[0], key[0])
	ternary(xor3, 0, y1, x[2], key[1])
	VPXORD(key[2], y2, y2)
	ternary(xor3, 0, y3, x[1], key[3])
	w.interleave(state{y0, y1, y2, y3}, x)
}

// interleave rotates the addresses of y by two into x.
func (w width) interleave(y, x state) {
	t := w.state()
	VPUNPCKLBW(y[2], y[0], t[0])
	VPUNPCKHBW(y[2], y[0], t[1])
	VPUNPCKLBW(y[3], y[1], t[2])
	VPUNPCKHBW(y[3], y[1], t[3])
	VPUNPCKLBW(t[2], t[0], x[0])
	VPUNPCKHBW(t[2], t[0], x[1])
	VPUNPCKLBW(t[3], t[1], x[2])
	VPUNPCKHBW(t[3], t[1], x[3])
}

// encrypt does 31 rounds on the groups xs, whose first key addition is done.
func (w width) encrypt(label string, key Register, xs ...state) {
	Comment("31 rounds")
	at := GP64()
	MOVQ(key, at)
	end := GP64()
	LEAQ(Mem{Base: key, Disp: keys}, end)
	Label(label)
	k := w.state()
	for i := range k {
		w.broadcast(Mem{Base: at, Disp: 16 * i}, k[i])
	}
	for _, x := range xs {
		w.round(x, k)
	}
	ADDQ(Imm(keySize), at)
	CMPQ(at, end)
	JNE(LabelRef(label))
}

// broadcast loads 16 bytes into every lane.
func (w width) broadcast(m Mem, v VecVirtual) {
	switch v.Size() {
	case 16:
		VMOVDQU(m, v)
	case 32:
		VBROADCASTI128(m, v)
	default:
		VBROADCASTI32X4(m, v)
	}
}

// spreadKeys writes K2 to K32, spread to a byte for each bit, to the frame and
// returns their address, aligned so that no load crosses a cache line.
func spreadKeys(label string, rk Register) Register {
	Comment("Spread the round keys")
	frame := AllocLocal(keys + 64)
	at := GP64()
	LEAQ(frame, at)
	ADDQ(Imm(63), at)
	ANDQ(I8(-64), at)
	from, to, end := GP64(), GP64(), GP64()
	LEAQ(Mem{Base: rk, Disp: 8}, from)
	MOVQ(at, to)
	LEAQ(Mem{Base: rk, Disp: 8 * (rounds + 1)}, end)
	bits := ZMM()
	VMOVDQU64(constKeyBits, bits)
	Label(label)
	k, m := ZMM(), K()
	VPBROADCASTQ(Mem{Base: from}, k)
	VPSHUFBITQMB(bits, k, m)
	VPMOVM2B(m, k)
	VMOVDQA64(k, Mem{Base: to})
	ADDQ(Imm(8), from)
	ADDQ(Imm(keySize), to)
	CMPQ(from, end)
	JNE(LabelRef(label))
	return at
}

// wipe clears what spreadKeys has written.
func wipe(label string, key Register) {
	Comment("Wipe the round keys")
	end, zero := GP64(), ZMM()
	LEAQ(Mem{Base: key, Disp: keys}, end)
	VPXORD(zero, zero, zero)
	Label(label)
	VMOVDQA64(zero, Mem{Base: key})
	ADDQ(Imm(keySize), key)
	CMPQ(key, end)
	JNE(LabelRef(label))
}

// spreadBlock sets every block of the group x to the 64-bit value v.
func (w width) spreadBlock(v Register, x state) {
	all, m := ZMM(), K()
	VPBROADCASTQ(v, all)
	VPSHUFBITQMB(constBlockBits, all, m)
	VPMOVM2B(m, all)
	for k := range x {
		switch x[k].Size() {
		case 16:
			if k == 0 {
				VMOVDQA64(all.AsX(), x[k])
			} else {
				VEXTRACTI32X4(Imm(uint64(k)), all, x[k])
			}
		default:
			VSHUFI32X4(Imm(uint64(k*0x55)), all, all, x[k])
		}
	}
}

// transposeLanes makes register L's lane m from register m's lane L.
func transposeLanes(x state) {
	u := width(ZMM).state()
	VSHUFI32X4(Imm(0x44), x[1], x[0], u[0])
	VSHUFI32X4(Imm(0xee), x[1], x[0], u[1])
	VSHUFI32X4(Imm(0x44), x[3], x[2], u[2])
	VSHUFI32X4(Imm(0xee), x[3], x[2], u[3])
	VSHUFI32X4(Imm(0x88), u[2], u[0], x[0])
	VSHUFI32X4(Imm(0xdd), u[2], u[0], x[1])
	VSHUFI32X4(Imm(0x88), u[3], u[1], x[2])
	VSHUFI32X4(Imm(0xdd), u[3], u[1], x[3])
}

// unslice turns the group x into 32 blocks in memory order, eight in each
// register. A byte of a block is n3 n2 n1, its bits n0 k1 k0.
func unslice(x state) {
	Comment("From bit slices to bytes")
	swap, ones, order := ZMM(), ZMM(), ZMM()
	VBROADCASTI32X4(constUnslice, swap)
	VPBROADCASTQ(constUnit, ones)
	VMOVDQU64(constBigEndian, order)
	for k := range x {
		VPSHUFB(swap, x[k], x[k]) // [k1 k0][n3 n2 n1 ^n0]
	}
	// The instruction that transposes 8 by 8 bits reads its rows backwards, so
	// k and n0 are complemented on the way: [n3 n2][n1 ^n0 ^k1 ^k0].
	width(ZMM).interleave(state{x[3], x[2], x[1], x[0]}, x)
	for k := range x {
		VGF2P8AFFINEQB(Imm(0), x[k], ones, x[k])
	}
	transposeLanes(x)
	for k := range x {
		VPERMB(x[k], order, x[k])
	}
}
