package presentcipher

// planes is 64 blocks, bit-sliced all the way: word i holds bit i of every
// block, block b in bit b. The permutation P is then a renaming of words, and
// costs nothing. It takes the time of some 32 blocks of the four-block form,
// so it is for messages above 256 bytes.
type planes [64]uint64

const planesMin = 33 // blocks from which planes are faster than groups

// encrypt puts the 64 blocks encrypted in b, but for the last key addition,
// which is cheaper on blocks than on planes: see lastKey. a is used up.
func (a *planes) encrypt(b *planes, rk *roundKeys) {
	b.round(a, rk[0])
	for i := 1; i < rounds; i += 2 {
		a.round(b, rk[i]^foldedNOTs)
		b.round(a, rk[i+1]^foldedNOTs)
	}
}

// lastKey is what is left to be added to each block.
func (rk *roundKeys) lastKey() uint64 { return rk[rounds] ^ foldedNOTs }

// round sets a to x after a round with the round key k: key addition, S-box,
// and P, which sends bit 4n+j to 16j+n. Four nibbles a turn, so that nearly all
// addresses and shifts are constants.
func (a *planes) round(x *planes, k uint64) {
	for q := range 4 {
		in := (*[16]uint64)(x[16*q:])
		out := (*[52]uint64)(a[4*q:])
		y := sbox(group{in[0] ^ keyBit(k, 0), in[1] ^ keyBit(k, 1), in[2] ^ keyBit(k, 2), in[3] ^ keyBit(k, 3)})
		out[0], out[16], out[32], out[48] = y.r0, y.r1, y.r2, y.r3
		y = sbox(group{in[4] ^ keyBit(k, 4), in[5] ^ keyBit(k, 5), in[6] ^ keyBit(k, 6), in[7] ^ keyBit(k, 7)})
		out[1], out[17], out[33], out[49] = y.r0, y.r1, y.r2, y.r3
		y = sbox(group{in[8] ^ keyBit(k, 8), in[9] ^ keyBit(k, 9), in[10] ^ keyBit(k, 10), in[11] ^ keyBit(k, 11)})
		out[2], out[18], out[34], out[50] = y.r0, y.r1, y.r2, y.r3
		y = sbox(group{in[12] ^ keyBit(k, 12), in[13] ^ keyBit(k, 13), in[14] ^ keyBit(k, 14), in[15] ^ keyBit(k, 15)})
		out[3], out[19], out[35], out[51] = y.r0, y.r1, y.r2, y.r3
		k >>= 16
	}
}

// planePair is 128 blocks. To spread the key bits is a third of the work of
// planes alone; here two groups share it.
type planePair [2]planes

const pairMin = 64 + planesMin // blocks from which a pair is faster

// encrypt is planes.encrypt for both.
func (a *planePair) encrypt(b *planePair, rk *roundKeys) {
	b.round(a, rk[0])
	for i := 1; i < rounds; i += 2 {
		a.round(b, rk[i]^foldedNOTs)
		b.round(a, rk[i+1]^foldedNOTs)
	}
}

// round is planes.round for both.
func (a *planePair) round(x *planePair, k uint64) {
	for q := range 8 {
		in0, in1 := (*[8]uint64)(x[0][8*q:]), (*[8]uint64)(x[1][8*q:])
		out0, out1 := (*[50]uint64)(a[0][2*q:]), (*[50]uint64)(a[1][2*q:])
		k0, k1, k2, k3 := keyBit(k, 0), keyBit(k, 1), keyBit(k, 2), keyBit(k, 3)
		y := sbox(group{in0[0] ^ k0, in0[1] ^ k1, in0[2] ^ k2, in0[3] ^ k3})
		out0[0], out0[16], out0[32], out0[48] = y.r0, y.r1, y.r2, y.r3
		y = sbox(group{in1[0] ^ k0, in1[1] ^ k1, in1[2] ^ k2, in1[3] ^ k3})
		out1[0], out1[16], out1[32], out1[48] = y.r0, y.r1, y.r2, y.r3
		k0, k1, k2, k3 = keyBit(k, 4), keyBit(k, 5), keyBit(k, 6), keyBit(k, 7)
		y = sbox(group{in0[4] ^ k0, in0[5] ^ k1, in0[6] ^ k2, in0[7] ^ k3})
		out0[1], out0[17], out0[33], out0[49] = y.r0, y.r1, y.r2, y.r3
		y = sbox(group{in1[4] ^ k0, in1[5] ^ k1, in1[6] ^ k2, in1[7] ^ k3})
		out1[1], out1[17], out1[33], out1[49] = y.r0, y.r1, y.r2, y.r3
		k >>= 8
	}
}

// keyBit is bit i of k in all 64 places.
func keyBit(k uint64, i uint) uint64 { return uint64(int64(k<<(63-i)) >> 63) }

// transpose turns 64 blocks into planes and back: a 64 by 64 bit matrix, in
// two passes over eight words at a time.
func (a *planes) transpose() {
	for i := range 8 {
		x := (*[57]uint64)(a[i:])
		x0, x4 := exchange(x[0], x[32], 32, 0x00000000ffffffff)
		x1, x5 := exchange(x[8], x[40], 32, 0x00000000ffffffff)
		x2, x6 := exchange(x[16], x[48], 32, 0x00000000ffffffff)
		x3, x7 := exchange(x[24], x[56], 32, 0x00000000ffffffff)
		x0, x2 = exchange(x0, x2, 16, 0x0000ffff0000ffff)
		x1, x3 = exchange(x1, x3, 16, 0x0000ffff0000ffff)
		x4, x6 = exchange(x4, x6, 16, 0x0000ffff0000ffff)
		x5, x7 = exchange(x5, x7, 16, 0x0000ffff0000ffff)
		x[0], x[8] = exchange(x0, x1, 8, 0x00ff00ff00ff00ff)
		x[16], x[24] = exchange(x2, x3, 8, 0x00ff00ff00ff00ff)
		x[32], x[40] = exchange(x4, x5, 8, 0x00ff00ff00ff00ff)
		x[48], x[56] = exchange(x6, x7, 8, 0x00ff00ff00ff00ff)
	}
	for i := range 8 {
		x := (*[8]uint64)(a[8*i:])
		x0, x4 := exchange(x[0], x[4], 4, 0x0f0f0f0f0f0f0f0f)
		x1, x5 := exchange(x[1], x[5], 4, 0x0f0f0f0f0f0f0f0f)
		x2, x6 := exchange(x[2], x[6], 4, 0x0f0f0f0f0f0f0f0f)
		x3, x7 := exchange(x[3], x[7], 4, 0x0f0f0f0f0f0f0f0f)
		x0, x2 = exchange(x0, x2, 2, 0x3333333333333333)
		x1, x3 = exchange(x1, x3, 2, 0x3333333333333333)
		x4, x6 = exchange(x4, x6, 2, 0x3333333333333333)
		x5, x7 = exchange(x5, x7, 2, 0x3333333333333333)
		x[0], x[1] = exchange(x0, x1, 1, 0x5555555555555555)
		x[2], x[3] = exchange(x2, x3, 1, 0x5555555555555555)
		x[4], x[5] = exchange(x4, x5, 1, 0x5555555555555555)
		x[6], x[7] = exchange(x6, x7, 1, 0x5555555555555555)
	}
}

// counters sets a to the planes of iv to iv+63; iv's six lowest bits are clear.
func (a *planes) counters(iv uint64) {
	a[0], a[1], a[2] = 0xaaaaaaaaaaaaaaaa, 0xcccccccccccccccc, 0xf0f0f0f0f0f0f0f0
	a[3], a[4], a[5] = 0xff00ff00ff00ff00, 0xffff0000ffff0000, 0xffffffff00000000
	iv >>= 6
	for i := 6; i < 64; i++ {
		a[i] = -(iv & 1)
		iv >>= 1
	}
}

// counters sets a to the planes of iv to iv+127; iv's seven lowest bits are
// clear.
func (a *planePair) counters(iv uint64) {
	a[0].counters(iv)
	a[1] = a[0]
	a[1][6] = ^uint64(0)
}
