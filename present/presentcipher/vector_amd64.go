//go:build !purego

package presentcipher

import (
	"crypto/subtle"
	"encoding/binary"

	"golang.org/x/sys/cpu"
)

//go:generate go -C _asm run ./avx2 -out ../avx2_amd64.s -stubs ../avx2_amd64.go -pkg presentcipher
//go:generate go -C _asm run ./avx512 -out ../avx512_amd64.s -stubs ../avx512_amd64.go -pkg presentcipher

var fastest = detect()

// detect asks the processor once, when the program starts. What it is told takes
// account of the registers that the operating system saves, and of GODEBUG=cpu.
func detect() path {
	switch x := &cpu.X86; {
	case x.HasAVX512F && x.HasAVX512BW && x.HasAVX512VL && x.HasAVX512DQ && x.HasAVX512VBMI && x.HasAVX512VBMI2 &&
		x.HasAVX512BITALG && x.HasAVX512GFNI && x.HasAVX2 && x.HasBMI2:
		return avx512
	case x.HasAVX2 && x.HasBMI2:
		return avx2
	}
	return portable
}

func (b *block) encrypt(dst, src *[BlockSize]byte) {
	switch b.path {
	case avx512:
		encryptAVX512((*[32]uint64)(&b.rk), dst, src)
	case avx2:
		encryptAVX2((*[32]uint64)(&b.rk), dst, src)
	default:
		b.encryptGeneric(dst, src)
	}
}

// derive is setKey if the path has a function for it.
func (a *aead) derive(key *[KeySize]byte) bool {
	switch a.path {
	case avx512:
		deriveAVX512(key, a.rk)
	case avx2:
		deriveAVX2(key, a.rk)
	default:
		return false
	}
	return true
}

// ctr is dst = src XOR the key stream from block 0 on.
func (a *aead) ctr(dst, src []byte, iv uint64) {
	if len(src) == 0 {
		return
	}
	switch a.path {
	case avx512:
		if len(src) <= ctrSmall {
			ctrSmallAVX512((*[32]uint64)(a.enc()), &dst[0], &src[0], len(src), iv)
			return
		}
		ctrAVX512((*[32]uint64)(a.enc()), &dst[0], &src[0], len(src), iv)
	case avx2:
		ctrGroupsAVX2(a.enc(), dst, src, iv)
	default:
		ctrGeneric(a.enc(), &a.lanes.enc, dst, src, iv)
	}
}

// macPieces is the XOR of the pieces of p, numbered from next, encrypted.
func (a *aead) macPieces(p []byte, next uint64) uint64 {
	switch a.path {
	case avx512:
		return macAVX512((*[32]uint64)(a.mac()), &p[0], len(p)/macPiece, next)
	case avx2:
		return macPiecesAVX2(a.mac(), p, next)
	default:
		return macGeneric(a.mac(), &a.lanes.mac, p, next)
	}
}

// macFinal is the tag for the XOR v of all pieces.
func (a *aead) macFinal(v uint64) uint64 {
	if a.path == portable {
		return a.lanes.fin.encryptBlock(v)
	}
	var b [BlockSize]byte
	binary.BigEndian.PutUint64(b[:], v)
	if a.path == avx2 {
		encryptAVX2((*[32]uint64)(a.fin()), &b, &b)
	} else {
		encryptAVX512((*[32]uint64)(a.fin()), &b, &b)
	}
	return binary.BigEndian.Uint64(b[:])
}

// ctrGroupsAVX2 gives the assembly whole groups of 16 blocks.
func ctrGroupsAVX2(rk *roundKeys, dst, src []byte, iv uint64) {
	const group = 16 * BlockSize
	if n := len(src) / group; n > 1 {
		ctrAVX2((*[32]uint64)(rk), &dst[0], &src[0], n, iv)
		dst, src, iv = dst[n*group:], src[n*group:], iv+uint64(n*16)
	}
	for len(src) > 0 {
		var stream [group]byte
		streamAVX2((*[32]uint64)(rk), &stream, iv)
		n := min(len(src), group)
		subtle.XORBytes(dst, src, stream[:n])
		dst, src, iv = dst[n:], src[n:], iv+16
	}
}

// macPiecesAVX2 gives the assembly 48 pieces at a time. The last it copies, as 2 bytes
// behind them are read.
func macPiecesAVX2(rk *roundKeys, p []byte, next uint64) uint64 {
	const group = 48 * macPiece
	var last [group + 2]byte
	n := len(p) / macPiece
	copy(last[:], p[(n-1)/48*group:])
	return macAVX2((*[32]uint64)(rk), &p[0], &last, n, next)
}

// Messages up to smallTotal bytes, header and additional data included, are
// authenticated in one call. Key streams up to ctrSmall bytes are made in one.
const (
	smallPieces = 32
	smallTotal  = (smallPieces + 1) * macPiece
	ctrSmall    = 128
)

// smallMessage is what LightMAC is over, padded, and what the assembly may
// read behind it.
type smallMessage struct {
	bytes        [smallTotal + 10]byte // 208, as the assembly has it
	head, pieces int                   // bytes before the ciphertext; whole pieces before the last
}

// set writes all but n bytes of ciphertext.
func (m *smallMessage) set(iv uint64, ad []byte, n int) {
	putHeader((*[macHeader]byte)(m.bytes[:]), iv, len(ad))
	m.head = macHeader + copy(m.bytes[macHeader:], ad)
	m.bytes[m.head+n] = 0x80
	m.pieces = (m.head + n - 1) / macPiece
}

// sealSmall is Seal into out if the message is small and the path has a
// function for that.
func (a *aead) sealSmall(out, plaintext, ad []byte, iv uint64) bool {
	n := len(plaintext)
	if a.path == portable || macHeader+len(ad)+n > smallTotal {
		return false
	}
	var m smallMessage
	m.set(iv, ad, n)
	if a.path == avx2 {
		a.ctr(out[:n], plaintext, iv)
		copy(m.bytes[m.head:], out[:n])
		binary.LittleEndian.PutUint64(out[n:], tagAVX2(a.rk, &m.bytes, m.pieces))
		return true
	}
	src := &out[0]
	if n > 0 {
		src = &plaintext[0]
	}
	sealAVX512(a.rk, &out[0], src, n, iv, &m.bytes[0], m.head, m.pieces)
	return true
}

// openSmall is Open into out under the same condition.
func (a *aead) openSmall(out, ciphertext, ad []byte, iv uint64) (ok, done bool) {
	n := len(out)
	if a.path == portable || macHeader+len(ad)+n > smallTotal {
		return false, false
	}
	var m smallMessage
	m.set(iv, ad, n)
	copy(m.bytes[m.head:], ciphertext[:n])
	var stream [64]byte
	var streamed int // bytes of stream that came with the tag
	var tag uint64
	if a.path == avx2 {
		tag = tagAVX2(a.rk, &m.bytes, m.pieces)
	} else {
		tag = openAVX512(a.rk, &stream, iv, &m.bytes[0], m.pieces)
		streamed = len(stream)
	}
	if tag^binary.LittleEndian.Uint64(ciphertext[n:]) != 0 {
		return false, true
	}
	if n > streamed {
		a.ctr(out, ciphertext[:n], iv)
	} else {
		subtle.XORBytes(out, ciphertext[:n], stream[:n])
	}
	return true, true
}
