package present

import "encoding/binary"

// setKey derives Ke, K1 and K2 from key and expands them.
func (a *aead) setKey(key *[KeySize]byte) {
	var rk roundKeys
	var lk laneKeys
	rk.expand128(key)
	lk.expand(&rk)
	x, y := lk.encrypt2(derivationBlocks(0), derivationBlocks(4))
	x, y = x.exchangeC(), y.exchangeC()
	a.lanes = new(aeadLanes)
	a.lanes.enc.expandPair(&a.enc, x.r1, x.r2)
	a.lanes.mac.expandPair(&a.mac, x.r3, y.r0)
	a.lanes.fin.expandPair(&a.fin, y.r1, y.r2)
}

func derivationBlocks(i uint64) group { return counters(i) }

func (lk *laneKeys) expandPair(rk *roundKeys, hi, lo uint64) {
	var key [KeySize]byte
	binary.BigEndian.PutUint64(key[:8], hi)
	binary.BigEndian.PutUint64(key[8:], lo)
	rk.expand128(&key)
	lk.expand(rk)
}

func (a *aead) ctr(dst, src []byte, iv uint64) { ctrGeneric(&a.enc, &a.lanes.enc, dst, src, iv) }

func (a *aead) macPieces(p []byte, next uint64) uint64 {
	return macGeneric(&a.mac, &a.lanes.mac, p, next)
}

func (a *aead) macFinal(v uint64) uint64 { return a.lanes.fin.encryptBlock(v) }
