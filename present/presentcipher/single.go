package presentcipher

// encryptBlock encrypts one block: the other three places of the group stay
// unused.
func (lk *laneKeys) encryptBlock(w uint64) uint64 {
	w = turn(w)
	x := lk.encrypt(group{w, w >> 1, w >> 2, w >> 3})
	return gather(x)
}

// decryptBlock is the inverse of encryptBlock, round by round.
func (lk *laneKeys) decryptBlock(w uint64) uint64 {
	x := group{w, w >> 1, w >> 2, w >> 3}
	x = x.xor(&lk[rounds]).exchangeA()
	x = inverseSbox(x).xor(&lk[rounds-1])
	for i := rounds - 3; i >= 0; i -= 2 {
		x = inverseSbox(x.exchangeB()).xor(&lk[i+1])
		x = inverseSbox(x.exchangeA()).xor(&lk[i])
	}
	return turn(gather(x))
}

// gather is the block in place 0 of a group.
func gather(x group) uint64 {
	const m = 0x1111111111111111
	return x.r0&m | x.r1&m<<1 | x.r2&m<<2 | x.r3&m<<3
}

// inverseSbox undoes sbox: it takes r2 and r3 complemented. It is the
// algebraic normal form of the inverse S-box with its products shared.
func inverseSbox(y group) group {
	a, b, c, d := y.r0, y.r1, ^y.r2, ^y.r3
	bd := b & d
	cd := c & d
	ab, ac, ad := a&b, a&c, a&d
	abc, abd, acd := ab&c, ab&d, ac&d
	x0 := ^(a ^ c ^ bd)
	x1 := a ^ b ^ ac ^ abc ^ d ^ bd ^ abd ^ cd ^ acd
	x2 := ^(ab ^ ac ^ b&c ^ abc ^ d ^ ad ^ bd ^ abd ^ acd)
	x3 := a ^ b ^ ab ^ c ^ abc ^ d ^ acd
	return group{x0, x1, x2, x3}
}
