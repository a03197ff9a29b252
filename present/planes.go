package present

// planes is 64 blocks, bit-sliced all the way: word i holds bit i of every
// block, block b in bit b. The permutation P is then a renaming of words, and
// costs nothing. It takes the time of some 32 blocks of the four-block form,
// so it is for messages above 256 bytes.
type planes [64]uint64

const planesMin = 33 // blocks from which planes are faster than groups

// encrypt encrypts the 64 blocks in place.
func (a *planes) encrypt(rk *roundKeys) {
	var b planes
	b.round(a, rk[0])
	for i := 1; i < rounds; i += 2 {
		a.round(&b, rk[i]^foldedNOTs)
		b.round(a, rk[i+1]^foldedNOTs)
	}
	k := rk[rounds] ^ foldedNOTs
	for i := range a {
		a[i] = b[i] ^ -(k & 1)
		k >>= 1
	}
}

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

// keyBit is bit i of k in all 64 places.
func keyBit(k uint64, i uint) uint64 { return uint64(int64(k<<(63-i)) >> 63) }

// transpose turns 64 blocks into planes and back.
func (a *planes) transpose() {
	for i := 0; i < 32; i++ {
		a[i], a[i+32] = a[i]&0xffffffff|a[i+32]<<32, a[i]>>32|a[i+32]&^0xffffffff
	}
	for i := 0; i < 64; i += 32 {
		for j := i; j < i+16; j++ {
			a[j&63], a[(j+16)&63] = exchange(a[j&63], a[(j+16)&63], 16, 0x0000ffff0000ffff)
		}
	}
	for i := 0; i < 64; i += 16 {
		for j := i; j < i+8; j++ {
			a[j&63], a[(j+8)&63] = exchange(a[j&63], a[(j+8)&63], 8, 0x00ff00ff00ff00ff)
		}
	}
	for i := 0; i < 64; i += 8 {
		p := (*[8]uint64)(a[i:])
		p[0], p[4] = exchange(p[0], p[4], 4, 0x0f0f0f0f0f0f0f0f)
		p[1], p[5] = exchange(p[1], p[5], 4, 0x0f0f0f0f0f0f0f0f)
		p[2], p[6] = exchange(p[2], p[6], 4, 0x0f0f0f0f0f0f0f0f)
		p[3], p[7] = exchange(p[3], p[7], 4, 0x0f0f0f0f0f0f0f0f)
	}
	for i := 0; i < 64; i += 4 {
		p := (*[4]uint64)(a[i:])
		x := group{p[0], p[1], p[2], p[3]}.exchangeC()
		p[0], p[1], p[2], p[3] = x.r0, x.r1, x.r2, x.r3
	}
}

// counters sets a to the planes of iv to iv+63; iv's six lowest bits are clear.
func (a *planes) counters(iv uint64) {
	*a = planes{
		0xaaaaaaaaaaaaaaaa, 0xcccccccccccccccc, 0xf0f0f0f0f0f0f0f0,
		0xff00ff00ff00ff00, 0xffff0000ffff0000, 0xffffffff00000000,
	}
	iv >>= 6
	for i := 6; i < 64; i++ {
		a[i] = -(iv & 1)
		iv >>= 1
	}
}
