//go:build (!amd64 && !arm64) || purego

package presentcipher

const fastest = portable

func (b *block) encrypt(dst, src *[BlockSize]byte) { b.encryptGeneric(dst, src) }

func (a *aead) derive(*[KeySize]byte) bool { return false }

func (a *aead) ctr(dst, src []byte, iv uint64) { ctrGeneric(a.enc(), &a.lanes.enc, dst, src, iv) }

func (a *aead) macPieces(p []byte, next uint64) uint64 {
	return macGeneric(a.mac(), &a.lanes.mac, p, next)
}

func (a *aead) macFinal(v uint64) uint64 { return a.lanes.fin.encryptBlock(v) }

func (a *aead) sealSmall(_, _, _ []byte, _ uint64) bool { return false }

func (a *aead) openSmall(_, _, _ []byte, _ uint64) (ok, done bool) { return false, false }
