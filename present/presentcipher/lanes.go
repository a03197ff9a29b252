package presentcipher

// group is four blocks, bit-sliced: register r_k holds bit k of every nibble.
//
// A bit of a PRESENT state has the 6-bit index i = i5..i0; i1 i0 is its place
// in its nibble and therefore its register. Within a register a bit's position
// is (A, B, C): two bits each, C the number of the block. A and B are the two
// halves of the nibble number, i5 i4 and i3 i2, in an order that alternates.
//
// The permutation P rotates the index by two, (i5 i4)(i3 i2)(i1 i0) becomes
// (i1 i0)(i5 i4)(i3 i2): no more than an exchange of the register number with
// whichever of A and B holds i3 i2, after which the roles of A and B have
// swapped. So odd rounds begin with A = i3 i2 and B = i5 i4 ("turned"), even
// rounds and the final key addition with A = i5 i4 and B = i3 i2.
type group struct{ r0, r1, r2, r3 uint64 }

// laneKeys are the round keys in the layout of group, each key bit in all four
// blocks' positions.
type laneKeys [rounds + 1]group

// foldedNOTs are the key bits that undo the two complemented outputs of sbox.
// S-box output bits 2 and 3 become, by P, the upper half of the state.
const foldedNOTs = 0xffffffff_00000000

// expand lays out rk. The complements that sbox leaves in its outputs r2 and
// r3 are undone by the round key that follows.
func (lk *laneKeys) expand(rk *roundKeys) {
	for i, k := range rk {
		if i > 0 {
			k ^= foldedNOTs
		}
		if i%2 == 0 {
			k = turn(k)
		}
		lk[i] = spread(k)
	}
}

// turn exchanges the halves of every nibble number in w: it transposes the
// 4 by 4 matrix of nibbles. It is its own inverse.
func turn(w uint64) uint64 {
	t := (w>>12 ^ w) & 0x0000f0f0_0000f0f0
	w ^= t ^ t<<12
	t = (w>>24 ^ w) & 0x00000000_ff00ff00
	return w ^ t ^ t<<24
}

// spread puts the block w in all four places of a group.
func spread(w uint64) group {
	return group{fourfold(w), fourfold(w >> 1), fourfold(w >> 2), fourfold(w >> 3)}
}

// fourfold puts bit 0 of every nibble in all bits of it. A multiplication by 15
// would do that too, but on small processors it ends sooner for small operands.
func fourfold(w uint64) uint64 {
	w &= 0x1111111111111111
	w |= w << 1
	return w | w<<2
}

// sbox is the S-box on every nibble in 13 gates after Courtois, Hulme and
// Mourouzis ("Solving Circuit Optimisation Problems in Cryptography and
// Cryptanalysis"), with r2 and r3 of the result left complemented.
func sbox(x group) group {
	a := x.r1 ^ x.r2
	b := x.r2&a ^ x.r3
	y0 := x.r0 ^ b
	c := a&b ^ x.r2
	a ^= y0
	y1 := a ^ (x.r0 | c)
	c ^= x.r0
	return group{y0, y1, b ^ c&^a, y1 ^ c}
}

func (x group) xor(k *group) group {
	return group{x.r0 ^ k.r0, x.r1 ^ k.r1, x.r2 ^ k.r2, x.r3 ^ k.r3}
}

// exchange swaps the bits of a whose position has the bit n set with those of
// b whose position has it clear; m selects the latter positions.
func exchange(a, b uint64, n uint, m uint64) (uint64, uint64) {
	t := (a>>n ^ b) & m
	return a ^ t<<n, b ^ t
}

// exchangeA swaps the register number with A, exchangeB with B, exchangeC
// with C.
func (x group) exchangeA() group {
	x.r0, x.r2 = x.r0&0xffffffff|x.r2<<32, x.r0>>32|x.r2&^0xffffffff
	x.r1, x.r3 = x.r1&0xffffffff|x.r3<<32, x.r1>>32|x.r3&^0xffffffff
	x.r0, x.r1 = exchange(x.r0, x.r1, 16, 0x0000ffff0000ffff)
	x.r2, x.r3 = exchange(x.r2, x.r3, 16, 0x0000ffff0000ffff)
	return x
}

func (x group) exchangeB() group {
	x.r0, x.r2 = exchange(x.r0, x.r2, 8, 0x00ff00ff00ff00ff)
	x.r1, x.r3 = exchange(x.r1, x.r3, 8, 0x00ff00ff00ff00ff)
	x.r0, x.r1 = exchange(x.r0, x.r1, 4, 0x0f0f0f0f0f0f0f0f)
	x.r2, x.r3 = exchange(x.r2, x.r3, 4, 0x0f0f0f0f0f0f0f0f)
	return x
}

func (x group) exchangeC() group {
	x.r0, x.r2 = exchange(x.r0, x.r2, 2, 0x3333333333333333)
	x.r1, x.r3 = exchange(x.r1, x.r3, 2, 0x3333333333333333)
	x.r0, x.r1 = exchange(x.r0, x.r1, 1, 0x5555555555555555)
	x.r2, x.r3 = exchange(x.r2, x.r3, 1, 0x5555555555555555)
	return x
}

// encrypt takes a group in the turned layout and returns the ciphertexts in
// the other one. Rounds go in pairs because the layout has period two.
func (lk *laneKeys) encrypt(x group) group {
	for i := 0; i < rounds-1; i += 2 {
		x = sbox(x.xor(&lk[i])).exchangeA()
		x = sbox(x.xor(&lk[i+1])).exchangeB()
	}
	x = sbox(x.xor(&lk[rounds-1])).exchangeA()
	return x.xor(&lk[rounds])
}

// encrypt2 is encrypt on two groups at once: each alone leaves most of a
// superscalar processor idle.
func (lk *laneKeys) encrypt2(x, y group) (group, group) {
	for i := 0; i < rounds-1; i += 2 {
		x = sbox(x.xor(&lk[i])).exchangeA()
		y = sbox(y.xor(&lk[i])).exchangeA()
		x = sbox(x.xor(&lk[i+1])).exchangeB()
		y = sbox(y.xor(&lk[i+1])).exchangeB()
	}
	x = sbox(x.xor(&lk[rounds-1])).exchangeA()
	y = sbox(y.xor(&lk[rounds-1])).exchangeA()
	return x.xor(&lk[rounds]), y.xor(&lk[rounds])
}
