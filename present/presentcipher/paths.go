package presentcipher

// A path is one way to compute the same thing.
type path uint8

const (
	portable path = iota // Go alone
	avx2
	avx512 // with GFNI, VBMI, VBMI2 and BITALG
	neon
)

func (p path) String() string {
	switch p {
	case avx2:
		return "avx2"
	case avx512:
		return "avx512"
	case neon:
		return "neon"
	}
	return "portable"
}

// setKey derives Ke, K1 and K2 from key and expands them for the path p.
func (a *aead) setKey(key *[KeySize]byte, p path) {
	a.path = p
	if a.rk == nil {
		a.rk = new([3 * (rounds + 1)]uint64)
	}
	if a.derive(key) {
		return
	}
	var rk roundKeys
	rk.expand128(key)
	d := firstBlocks(&rk)
	expandThree(a.enc(), a.mac(), a.fin(), &d)
	a.expandLanes()
}

// firstBlocks are the blocks 1 to 6 encrypted.
func firstBlocks(rk *roundKeys) (d [6]uint64) {
	var lk laneKeys
	lk.expand(rk)
	x, y := lk.encrypt2(counters(0), counters(4))
	x, y = x.exchangeC(), y.exchangeC()
	return [6]uint64{x.r1, x.r2, x.r3, y.r0, y.r1, y.r2}
}
