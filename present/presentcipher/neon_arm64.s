//go:build !purego

#include "textflag.h"

// 8 blocks in four registers, up to four such groups at a time.
//
// A bit of a PRESENT state has the index i5..i0, where i1 i0 is its place in its
// nibble and n = n3..n0 = i5..i2 the nibble. Register r_k of a group holds the bits
// with i1 i0 = k, those of nibble n in byte n1 n0 n3 n2, one bit for each block
// j = j2 j1 j0. With the two bits that choose the register in front and the block
// behind, the address of a bit is
//
//	[k1 k0][n1 n0 n3 n2][j2 j1 j0]
//
// Interleaving the bytes of two registers (ZIP1, ZIP2) rotates the first two parts
// of the address by one: the bit that chose the register comes last, the first bit
// of the byte number chooses the register. Two such levels over four registers
// rotate by two, which is what the permutation P does to i5..i0.
//
// A round key is spread to a byte for each bit when its round comes, for all groups
// at once, so that nothing secret is written but the result.
//
// Registers: V0 to V3, V4 to V7, V8 to V11 and V12 to V15 are the groups, V16 to V23
// are for anything, V24 to V30 hold CONSTANTS; V31 holds two round keys in the rounds,
// another constant before and after them. R7 and R8 are the macros'.

// Which byte of two blocks holds nibble n of the first.
DATA spread<>+0(SB)/8, $0x0604020006040200
DATA spread<>+8(SB)/8, $0x0705030107050301
// Where in that byte bits 0, 1, 2 and 3 of the nibble are.
DATA spread<>+16(SB)/8, $0x1010101001010101
DATA spread<>+24(SB)/8, $0x1010101001010101
DATA spread<>+32(SB)/8, $0x2020202002020202
DATA spread<>+40(SB)/8, $0x2020202002020202
DATA spread<>+48(SB)/8, $0x4040404004040404
DATA spread<>+56(SB)/8, $0x4040404004040404
DATA spread<>+64(SB)/8, $0x8080808008080808
DATA spread<>+72(SB)/8, $0x8080808008080808
// What a round key has to complement: the S-box takes bits 2 and 3 of a nibble
// complemented and leaves its output 2 so, of which P makes bits 32 to 47.
DATA spread<>+80(SB)/8, $0xcccc3333cccccccc
DATA spread<>+88(SB)/8, $0xcccc3333cccccccc
// Which byte of two blocks holds nibble n of the second.
DATA spread<>+96(SB)/8, $0x0e0c0a080e0c0a08
DATA spread<>+104(SB)/8, $0x0f0d0b090f0d0b09
GLOBL spread<>(SB), RODATA|NOPTR, $112

// What the number of a block in its group adds to the counter: bits 0 to 2 of
// nibble 0.
DATA counters<>+0(SB)/8, $0xaa
DATA counters<>+8(SB)/8, $0
DATA counters<>+16(SB)/8, $0xcc
DATA counters<>+24(SB)/8, $0
DATA counters<>+32(SB)/8, $0xf0
DATA counters<>+40(SB)/8, $0
GLOBL counters<>(SB), RODATA|NOPTR, $48

// From byte n1 j0 n3 n2 of a register, which is byte n3 n2 n1 of its block j0, byte 0
// the least significant, to two blocks in memory.
DATA order<>+0(SB)/8, $0x00080109020a030b
DATA order<>+8(SB)/8, $0x040c050d060e070f
GLOBL order<>(SB), RODATA|NOPTR, $16

// The other way, from 48 bytes of pieces and eight 16-bit numbers behind them: pieces
// 0 and 1, 4 and 5, 2 and 3, 6 and 7.
DATA pieces<>+0(SB)/8, $0x3207090b30010305
DATA pieces<>+8(SB)/8, $0x3306080a31000204
DATA pieces<>+16(SB)/8, $0x3a1f212338191b1d
DATA pieces<>+24(SB)/8, $0x3b1e202239181a1c
DATA pieces<>+32(SB)/8, $0x36131517340d0f11
DATA pieces<>+40(SB)/8, $0x37121416350c0e10
DATA pieces<>+48(SB)/8, $0x3e2b2d2f3c252729
DATA pieces<>+56(SB)/8, $0x3f2a2c2e3d242628
GLOBL pieces<>(SB), RODATA|NOPTR, $64

DATA numbers<>+0(SB)/8, $0x0003000200010000
DATA numbers<>+8(SB)/8, $0x0007000600050004
GLOBL numbers<>(SB), RODATA|NOPTR, $16

#define CONSTANTS \
	MOVD $spread<>(SB), R7 \
	VLD1.P 64(R7), [V24.B16, V25.B16, V26.B16, V27.B16] \
	VLD1 (R7), [V28.B16, V29.B16, V30.B16]

// SPREAD sets every block of the group x to that one of the two in v which is meant by
// index, V24 or V30.
#define SPREAD(v, index, x0, x1, x2, x3) \
	VTBL index.B16, [v.B16], V20.B16 \
	VCMTST V25.B16, V20.B16, x0.B16 \
	VCMTST V26.B16, V20.B16, x1.B16 \
	VCMTST V27.B16, V20.B16, x2.B16 \
	VCMTST V28.B16, V20.B16, x3.B16

// COMPLEMENT complements what the S-box takes complemented.
#define COMPLEMENT(v) \
	VMOVI $0xcc, V20.B16 \
	VEOR V20.B16, v.B16, v.B16

#define ADDKEY(x0, x1, x2, x3) \
	VEOR V16.B16, x0.B16, x0.B16 \
	VEOR V17.B16, x1.B16, x1.B16 \
	VEOR V18.B16, x2.B16, x2.B16 \
	VEOR V19.B16, x3.B16, x3.B16

// ONCE and TWICE are one instruction for one group and for two side by side, which
// gives a processor that keeps to the order something to do while it waits.
#define ONCE(op, a, b, c, d, e, f) \
	op a.B16, b.B16, c.B16
#define TWICE(op, a, b, c, d, e, f) \
	op a.B16, b.B16, c.B16 \
	op d.B16, e.B16, f.B16

// ROUND is S-box and P on the group x, with t to work in, and perhaps on y with u.
//
// With multiplexers (BIT, BIF), x2 and x3 complemented, the S-box is ten gates:
//
//	b = x3 ^ (x1 | x2)    y0 = x0 ^ b        e = y0 ^ x1 ^ x2    m = x3 ? x1 : x2
//	y1 = x0 ? e : m       y3 = x0 ? m : e    y2 = ^(b ^ e & m)
//
// and an eleventh instruction, as e is overwritten before its last use.
#define ROUND(many, x0, x1, x2, x3, t0, t1, t2, t3, y0, y1, y2, y3, u0, u1, u2, u3) \
	many(VORR, x2, x1, t0, y2, y1, u0) \
	many(VEOR, x2, x1, t2, y2, y1, u2) \
	many(VEOR, x3, t0, t0, y3, u0, u0) \
	many(VBIT, x3, x1, x2, y3, y1, y2) \
	many(VEOR, x0, t0, t1, y0, u0, u1) \
	many(VEOR, t1, t2, t2, u1, u2, u2) \
	many(VORR, t2, t2, x1, u2, u2, y1) \
	many(VAND, x2, t2, t3, y2, u2, u3) \
	many(VBIF, x0, x2, t2, y0, y2, u2) \
	many(VBIF, x0, x1, x2, y0, y1, y2) \
	many(VEOR, t3, t0, t0, u3, u0, u0) \
	many(VZIP1, x2, t2, t3, y2, u2, u3) \
	many(VZIP2, x2, t2, x3, y2, u2, y3) \
	many(VZIP1, t0, t1, t2, u0, u1, u2) \
	many(VZIP2, t0, t1, t1, u0, u1, u1) \
	many(VZIP1, t3, t2, x0, u3, u2, y0) \
	many(VZIP2, t3, t2, x1, u3, u2, y1) \
	many(VZIP1, x3, t1, x2, y3, u1, y2) \
	many(VZIP2, x3, t1, x3, y3, u1, y3)

// ROUND1, ROUND2 and ROUND4 are a round on so many groups, ADDKEY1, ADDKEY2 and
// ADDKEY4 the addition of the key spread to V16 to V19.
#define ROUND1 \
	ROUND(ONCE, V0, V1, V2, V3, V16, V17, V18, V19, V4, V5, V6, V7, V20, V21, V22, V23)
#define ROUND2 \
	ROUND(TWICE, V0, V1, V2, V3, V16, V17, V18, V19, V4, V5, V6, V7, V20, V21, V22, V23)
#define ROUND4 \
	ROUND2 \
	ROUND(TWICE, V8, V9, V10, V11, V16, V17, V18, V19, V12, V13, V14, V15, V20, V21, V22, V23)
#define ADDKEY1 \
	ADDKEY(V0, V1, V2, V3)
#define ADDKEY2 \
	ADDKEY1 \
	ADDKEY(V4, V5, V6, V7)
#define ADDKEY4 \
	ADDKEY2 \
	ADDKEY(V8, V9, V10, V11) \
	ADDKEY(V12, V13, V14, V15)

// ROUNDS is the 31 rounds on blocks with K1 added and complemented; rk points to K2.
#define ROUNDS(round, addKey, next, rk) \
	MOVD rk, R7 \
	MOVD $15, R8 \
next: \
	round \
	VLD1.P 16(R7), [V31.B16] \
	VEOR V29.B16, V31.B16, V31.B16 \
	SPREAD(V31, V24, V16, V17, V18, V19) \
	addKey \
	round \
	SPREAD(V31, V30, V16, V17, V18, V19) \
	addKey \
	SUB $1, R8 \
	CBNZ R8, next \
	round \
	VLD1 (R7), [V31.B8] \
	VEOR V29.B16, V31.B16, V31.B16 \
	COMPLEMENT(V31) \
	SPREAD(V31, V24, V16, V17, V18, V19) \
	addKey

// EXCHANGE swaps the bits of a whose number in their byte has the bit n set with
// those of b that have it clear; m selects the latter.
#define EXCHANGE(a, b, n, m) \
	VUSHR $n, a.B16, V16.B16 \
	VSHL $n, b.B16, V17.B16 \
	VBIT m.B16, V16.B16, b.B16 \
	VBIF m.B16, V17.B16, a.B16

#define TURNMASKS \
	VMOVI $0x55, V18.B16 \
	VMOVI $0x33, V19.B16

// TURN exchanges k1 k0 with j1 j0; it needs TURNMASKS.
#define TURN(x0, x1, x2, x3) \
	EXCHANGE(x0, x1, 1, V18) \
	EXCHANGE(x2, x3, 1, V18) \
	EXCHANGE(x0, x2, 2, V19) \
	EXCHANGE(x1, x3, 2, V19)

// TURNHALF exchanges what chooses between a and b with the highest bit of j.
#define TURNHALF(a, b) \
	VORR a.B16, a.B16, V16.B16 \
	VSLI $4, b.B16, a.B16 \
	VSRI $4, V16.B16, b.B16

// ORDER sets V31 to that constant.
#define ORDER \
	MOVD $order<>(SB), R7 \
	VLD1 (R7), [V31.B16]

// COUNTERS sets x to the blocks iv to iv+7 with k1 added.
#define COUNTERS(iv, k1, x0, x1, x2, x3) \
	EOR k1, iv, R7 \
	FMOVD R7, F16 \
	SPREAD(V16, V24, x0, x1, x2, x3) \
	MOVD $counters<>(SB), R7 \
	VLD1 (R7), [V17.B16, V18.B16, V19.B16] \
	VEOR V17.B16, x0.B16, x0.B16 \
	VEOR V18.B16, x1.B16, x1.B16 \
	VEOR V19.B16, x2.B16, x2.B16 \
	ADD $8, iv

// XORBLOCKS is dst = src XOR the blocks of x; it needs TURNMASKS and ORDER.
#define XORBLOCKS(dst, src, x0, x1, x2, x3) \
	TURN(x0, x1, x2, x3) \
	VTRN1 x1.S4, x0.S4, V20.S4 \
	VTRN2 x1.S4, x0.S4, V21.S4 \
	VTRN1 x3.S4, x2.S4, V22.S4 \
	VTRN2 x3.S4, x2.S4, V23.S4 \
	TURNHALF(V20, V21) \
	TURNHALF(V22, V23) \
	VLD1.P 64(src), [x0.B16, x1.B16, x2.B16, x3.B16] \
	VTBL V31.B16, [V20.B16], V20.B16 \
	VTBL V31.B16, [V21.B16], V21.B16 \
	VTBL V31.B16, [V22.B16], V22.B16 \
	VTBL V31.B16, [V23.B16], V23.B16 \
	VEOR V20.B16, x0.B16, x0.B16 \
	VEOR V22.B16, x1.B16, x1.B16 \
	VEOR V21.B16, x2.B16, x2.B16 \
	VEOR V23.B16, x3.B16, x3.B16 \
	VST1.P [x0.B16, x1.B16, x2.B16, x3.B16], 64(dst)

// NUMBERS sets V31 to that constant.
#define NUMBERS \
	MOVD $numbers<>(SB), R7 \
	VLD1 (R7), [V31.B16]

// PIECES sets x to the 8 pieces at p, numbered from next, as ROUNDS takes them; it
// needs NUMBERS, and rk points to K2.
#define PIECES(p, next, rk, x0, x1, x2, x3) \
	VLD1.P 48(p), [V16.B16, V17.B16, V18.B16] \
	VDUP next, V19.H8 \
	VADD V31.H8, V19.H8, V19.H8 \
	ADD $8, next \
	MOVD $pieces<>(SB), R7 \
	VLD1 (R7), [V20.B16, V21.B16, V22.B16, V23.B16] \
	VTBL V20.B16, [V16.B16, V17.B16, V18.B16, V19.B16], V20.B16 \
	VTBL V21.B16, [V16.B16, V17.B16, V18.B16, V19.B16], V21.B16 \
	VTBL V22.B16, [V16.B16, V17.B16, V18.B16, V19.B16], V22.B16 \
	VTBL V23.B16, [V16.B16, V17.B16, V18.B16, V19.B16], V23.B16 \
	TURNHALF(V20, V21) \
	TURNHALF(V22, V23) \
	VTRN1 V21.S4, V20.S4, x0.S4 \
	VTRN2 V21.S4, V20.S4, x1.S4 \
	VTRN1 V23.S4, V22.S4, x2.S4 \
	VTRN2 V23.S4, V22.S4, x3.S4 \
	TURNMASKS \
	TURN(x0, x1, x2, x3) \
	SUB $8, rk, R7 \
	VLD1 (R7), [V21.B8] \
	COMPLEMENT(V21) \
	SPREAD(V21, V24, V16, V17, V18, V19) \
	ADDKEY(x0, x1, x2, x3)

// ADDGROUP is x ^= y.
#define ADDGROUP(y0, y1, y2, y3, x0, x1, x2, x3) \
	VEOR y0.B16, x0.B16, x0.B16 \
	VEOR y1.B16, x1.B16, x1.B16 \
	VEOR y2.B16, x2.B16, x2.B16 \
	VEOR y3.B16, x3.B16, x3.B16

// GATHER sets v to the block whose bits are the lowest ones of the bytes of V0 to V3.
#define GATHER(v) \
	ORDER \
	VSLI $1, V1.B16, V0.B16 \
	VSLI $2, V2.B16, V0.B16 \
	VSLI $3, V3.B16, V0.B16 \
	VMOVI $0x0f, V1.B16 \
	VAND V1.B16, V0.B16, V0.B16 \
	VTBL V31.B16, [V0.B16], V0.B16 \
	VMOV V0.D[0], v \
	VMOV V0.D[1], R7 \
	ORR R7<<4, v, v \
	REV v, v

// SUMUP adds all blocks of the first group to sum.
#define SUMUP(sum) \
	VCNT V0.B16, V0.B16 \
	VCNT V1.B16, V1.B16 \
	VCNT V2.B16, V2.B16 \
	VCNT V3.B16, V3.B16 \
	GATHER(R8) \
	EOR R8, sum, sum

// func ctrNEON(rk *[32]uint64, dst, src *byte, n int, iv uint64)
TEXT ·ctrNEON(SB), NOSPLIT, $0-40
	MOVD rk+0(FP), R0
	MOVD dst+8(FP), R1
	MOVD src+16(FP), R2
	MOVD n+24(FP), R3
	MOVD iv+32(FP), R4
	MOVD.P 8(R0), R5
	EOR $0xcccccccccccccccc, R5
	CONSTANTS
	CMP $4, R3
	BLT two

four:
	COUNTERS(R4, R5, V0, V1, V2, V3)
	COUNTERS(R4, R5, V4, V5, V6, V7)
	COUNTERS(R4, R5, V8, V9, V10, V11)
	COUNTERS(R4, R5, V12, V13, V14, V15)
	ROUNDS(ROUND4, ADDKEY4, rounds4, R0)
	TURNMASKS
	ORDER
	XORBLOCKS(R1, R2, V0, V1, V2, V3)
	XORBLOCKS(R1, R2, V4, V5, V6, V7)
	XORBLOCKS(R1, R2, V8, V9, V10, V11)
	XORBLOCKS(R1, R2, V12, V13, V14, V15)
	SUB $4, R3
	CMP $4, R3
	BGE four

two:
	TBZ $1, R3, one
	COUNTERS(R4, R5, V0, V1, V2, V3)
	COUNTERS(R4, R5, V4, V5, V6, V7)
	ROUNDS(ROUND2, ADDKEY2, rounds2, R0)
	TURNMASKS
	ORDER
	XORBLOCKS(R1, R2, V0, V1, V2, V3)
	XORBLOCKS(R1, R2, V4, V5, V6, V7)

one:
	TBZ $0, R3, done
	COUNTERS(R4, R5, V0, V1, V2, V3)
	ROUNDS(ROUND1, ADDKEY1, rounds1, R0)
	TURNMASKS
	ORDER
	XORBLOCKS(R1, R2, V0, V1, V2, V3)

done:
	RET

// func macNEON(rk *[32]uint64, p *byte, n int, next uint64) uint64
TEXT ·macNEON(SB), NOSPLIT, $0-40
	MOVD rk+0(FP), R0
	MOVD p+8(FP), R1
	MOVD n+16(FP), R2
	MOVD next+24(FP), R3
	ADD $8, R0
	MOVD $0, R4
	CONSTANTS
	CMP $32, R2
	BLT two

four:
	NUMBERS
	PIECES(R1, R3, R0, V0, V1, V2, V3)
	PIECES(R1, R3, R0, V4, V5, V6, V7)
	PIECES(R1, R3, R0, V8, V9, V10, V11)
	PIECES(R1, R3, R0, V12, V13, V14, V15)
	ROUNDS(ROUND4, ADDKEY4, rounds4, R0)
	ADDGROUP(V12, V13, V14, V15, V8, V9, V10, V11)
	ADDGROUP(V8, V9, V10, V11, V4, V5, V6, V7)
	ADDGROUP(V4, V5, V6, V7, V0, V1, V2, V3)
	SUMUP(R4)
	SUB $32, R2
	CMP $32, R2
	BGE four

two:
	TBZ $4, R2, one
	NUMBERS
	PIECES(R1, R3, R0, V0, V1, V2, V3)
	PIECES(R1, R3, R0, V4, V5, V6, V7)
	ROUNDS(ROUND2, ADDKEY2, rounds2, R0)
	ADDGROUP(V4, V5, V6, V7, V0, V1, V2, V3)
	SUMUP(R4)

one:
	AND $15, R2
	CBZ R2, done

oneMore:
	NUMBERS
	PIECES(R1, R3, R0, V0, V1, V2, V3)
	ROUNDS(ROUND1, ADDKEY1, rounds1, R0)

	// A bit for each of the pieces there are, up to 8.
	MOVD $255, R6
	CMP $8, R2
	BGE all
	MOVD $1, R6
	LSL R2, R6, R6
	SUB $1, R6
all:
	VDUP R6, V4.B16
	VAND V4.B16, V0.B16, V0.B16
	VAND V4.B16, V1.B16, V1.B16
	VAND V4.B16, V2.B16, V2.B16
	VAND V4.B16, V3.B16, V3.B16
	SUMUP(R4)
	SUBS $8, R2
	BGT oneMore

done:
	MOVD R4, ret+32(FP)
	RET

// func encryptNEON(rk *[32]uint64, v uint64) uint64
TEXT ·encryptNEON(SB), NOSPLIT, $0-24
	MOVD rk+0(FP), R0
	MOVD v+8(FP), R1
	MOVD.P 8(R0), R2
	EOR $0xcccccccccccccccc, R2
	CONSTANTS
	EOR R2, R1
	FMOVD R1, F16
	SPREAD(V16, V24, V0, V1, V2, V3)
	ROUNDS(ROUND1, ADDKEY1, rounds1, R0)
	GATHER(R1)
	MOVD R1, ret+16(FP)
	RET
