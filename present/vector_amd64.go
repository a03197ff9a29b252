//go:build !purego

package present

import "golang.org/x/sys/cpu"

//go:generate go -C _asm run ./avx512 -out ../avx512_amd64.s -stubs ../avx512_amd64.go -pkg present

var fastest = detect()

// detect asks the processor once, when the program starts.
func detect() path {
	switch x := &cpu.X86; {
	case x.HasAVX512F && x.HasAVX512BW && x.HasAVX512VL && x.HasAVX512DQ && x.HasAVX512VBMI &&
		x.HasAVX512BITALG && x.HasAVX512GFNI && x.HasBMI2:
		return avx512
	}
	return portable
}

// ctr is dst = src XOR the key stream from block 0 on.
func (a *aead) ctr(dst, src []byte, iv uint64) {
	if len(src) == 0 {
		return
	}
	switch a.path {
	case avx512:
		ctrAVX512((*[32]uint64)(&a.enc), &dst[0], &src[0], len(src), iv)
	default:
		ctrGeneric(&a.enc, &a.lanes.enc, dst, src, iv)
	}
}

// macPieces is the XOR of the pieces of p, numbered from next, encrypted.
func (a *aead) macPieces(p []byte, next uint64) uint64 {
	switch a.path {
	case avx512:
		return macAVX512((*[32]uint64)(&a.mac), &p[0], len(p)/macPiece, next)
	default:
		return macGeneric(&a.mac, &a.lanes.mac, p, next)
	}
}

// macFinal is the tag for the XOR v of all pieces.
func (a *aead) macFinal(v uint64) uint64 {
	switch a.path {
	case avx512:
		return encryptAVX512((*[32]uint64)(&a.fin), v)
	default:
		return a.lanes.fin.encryptBlock(v)
	}
}
