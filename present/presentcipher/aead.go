package presentcipher

import (
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"errors"
)

const (
	// KeySize is the size of an AEAD key in bytes.
	KeySize = 16
	// NonceSize is the size of an AEAD nonce in bytes.
	NonceSize = 6
	// Overhead is how many bytes longer a sealed message is: the tag.
	Overhead = 8
	// MaxPlaintext is the largest plaintext of one message in bytes.
	MaxPlaintext = 256 << 10
	// MaxAD is the most additional data of one message in bytes.
	MaxAD = 64 << 10
)

var (
	// ErrOpen is returned by Open when a message is not what was sealed with
	// this key, nonce and additional data. It says no more on purpose.
	ErrOpen = errors.New("presentcipher: message authentication failed")
	// ErrPlaintextSize is about a message of more than [MaxPlaintext] bytes.
	ErrPlaintextSize = errors.New("presentcipher: plaintext longer than 256 KiB")
	// ErrADSize is about more than [MaxAD] bytes of additional data.
	ErrADSize = errors.New("presentcipher: additional data longer than 64 KiB")
)

// aead is PRESENT-CTR with LightMAC on one path. It has what the path needs:
// the round keys as they stand, or lanes besides, which is nil elsewhere.
type aead struct {
	rk    *[3 * (rounds + 1)]uint64
	lanes *aeadLanes
	path  path
}

// vectorAEAD is an aead on the fastest path where that is not the portable
// one. It is the round keys and nothing else: 768 bytes without a pointer are
// a size of the allocator's, and memory is half of what a new key costs.
type vectorAEAD struct {
	rk [3 * (rounds + 1)]uint64
}

// enc, mac and fin are the round keys of Ke, K1 and K2.
func (a *aead) enc() *roundKeys { return (*roundKeys)(a.rk[0:]) }
func (a *aead) mac() *roundKeys { return (*roundKeys)(a.rk[rounds+1:]) }
func (a *aead) fin() *roundKeys { return (*roundKeys)(a.rk[2*(rounds+1):]) }

// aeadLanes are the three keys in the layout of the portable path.
type aeadLanes struct{ enc, mac, fin laneKeys }

func (a *aead) expandLanes() {
	a.lanes = new(aeadLanes)
	a.lanes.enc.expand(a.enc())
	a.lanes.mac.expand(a.mac())
	a.lanes.fin.expand(a.fin())
}

// NewAEAD returns authenticated encryption with PRESENT-128: counter mode for
// secrecy, then LightMAC over nonce, additional data and ciphertext, with
// three keys derived from key. It never returns an error today; the result has
// NonceSize 6 and Overhead 8, does not allocate when dst has room, and may be
// used by several goroutines at once.
//
// Never seal two different messages with the same key and nonce: that reveals
// both plaintexts. A message has at most [MaxPlaintext] bytes of plaintext and
// [MaxAD] of additional data. Seal panics with [ErrPlaintextSize] or
// [ErrADSize] beyond these, as cipher.AEAD leaves it no other way, and Open
// returns the same errors; callers that do not control lengths check them
// first. Both panic on a nonce of the wrong size or on buffers that overlap
// otherwise than in place. Open returns [ErrOpen] for a message that is not
// authentic and has then not written to dst.
//
// The 8-byte tag gives a forger one chance in 2^64 an attempt. With a 64-bit
// block the cipher calls under one key, one for each 8 bytes of plaintext and
// one for each 6 of everything authenticated, are to be kept well below 2^32:
// 2^16 keeps every collision term below 2^-31; [Calls] counts them. Lengths are
// not hidden.
//
// Definition, all integers big-endian, u64(i) the key derivation's block:
//
//	D_i = E_key(u64(i)), i = 1..6;  Ke = D_1‖D_2,  K1 = D_3‖D_4,  K2 = D_5‖D_6
//	C   = plaintext XOR E_Ke(nonce ‖ u16(0)) ‖ E_Ke(nonce ‖ u16(1)) ‖ …
//	tag = LightMAC_{K1,K2}(nonce ‖ u64(len(AD)) ‖ AD ‖ C), 16-bit counter
//
// LightMAC is as its paper has it: 1 to 6 bytes, never none, are left for the last
// block. The C code of its designers takes in every whole piece before that, so that its
// tags differ where the length is a multiple of the piece's.
func NewAEAD(key [KeySize]byte) (cipher.AEAD, error) {
	if fastest == portable {
		a := new(aead)
		a.setKey(&key, portable)
		return a, nil
	}
	v := new(vectorAEAD)
	a := v.aead()
	a.setKey(&key, fastest)
	return v, nil
}

// Calls counts the block cipher calls that a message of these lengths takes under
// the keys of an AEAD: key stream and LightMAC, as [NewAEAD] defines them. What a
// path computes besides and throws away is not counted, as nobody sees it; nor are
// the six calls of the key derivation, under a key of their own.
func Calls(plaintext, additionalData int) int {
	mac := macHeader + additionalData + plaintext
	return (plaintext+BlockSize-1)/BlockSize + (mac+macPiece-1)/macPiece
}

func (v *vectorAEAD) aead() aead { return aead{rk: &v.rk, path: fastest} }

func (v *vectorAEAD) NonceSize() int { return NonceSize }

func (v *vectorAEAD) Overhead() int { return Overhead }

func (v *vectorAEAD) Seal(dst, nonce, plaintext, additionalData []byte) []byte {
	a := v.aead()
	return a.Seal(dst, nonce, plaintext, additionalData)
}

func (v *vectorAEAD) Open(dst, nonce, ciphertext, additionalData []byte) ([]byte, error) {
	a := v.aead()
	return a.Open(dst, nonce, ciphertext, additionalData)
}

func (v *vectorAEAD) XORKeyStream(dst, src, nonce []byte) {
	a := v.aead()
	a.XORKeyStream(dst, src, nonce)
}

// Portable is v on the portable path. Like XORKeyStream it is there to be measured.
func (v *vectorAEAD) Portable() cipher.AEAD {
	a := &aead{rk: &v.rk, path: portable}
	a.expandLanes()
	return a
}

func (a *aead) NonceSize() int { return NonceSize }

func (a *aead) Overhead() int { return Overhead }

func (a *aead) Seal(dst, nonce, plaintext, additionalData []byte) []byte {
	iv := counterIV(nonce)
	if len(plaintext) > MaxPlaintext {
		panic(ErrPlaintextSize)
	}
	if len(additionalData) > MaxAD {
		panic(ErrADSize)
	}
	ret, out := grow(dst, len(plaintext)+Overhead)
	if inexactOverlap(out, plaintext) || anyOverlap(out, additionalData) {
		panic("presentcipher: invalid buffer overlap")
	}
	if a.sealSmall(out, plaintext, additionalData, iv) {
		return ret
	}
	c, tag := out[:len(plaintext)], out[len(plaintext):]
	a.ctr(c, plaintext, iv)
	binary.BigEndian.PutUint64(tag, a.tag(iv, c, additionalData))
	return ret
}

func (a *aead) Open(dst, nonce, ciphertext, additionalData []byte) ([]byte, error) {
	iv := counterIV(nonce)
	if len(ciphertext) < Overhead {
		return nil, ErrOpen
	}
	c, tag := ciphertext[:len(ciphertext)-Overhead], ciphertext[len(ciphertext)-Overhead:]
	if len(c) > MaxPlaintext {
		return nil, ErrPlaintextSize
	}
	if len(additionalData) > MaxAD {
		return nil, ErrADSize
	}
	ret, out := grow(dst, len(c))
	if inexactOverlap(out, ciphertext) || anyOverlap(out, additionalData) {
		panic("presentcipher: invalid buffer overlap")
	}
	if ok, done := a.openSmall(out, ciphertext, additionalData, iv); done {
		if !ok {
			return nil, ErrOpen
		}
		return ret, nil
	}
	var want [Overhead]byte
	binary.BigEndian.PutUint64(want[:], a.tag(iv, c, additionalData))
	if subtle.ConstantTimeCompare(want[:], tag) != 1 {
		return nil, ErrOpen
	}
	a.ctr(out, c, iv)
	return ret, nil
}

// XORKeyStream is the counter mode in Seal by itself, which protects nothing
// from change. cipher.AEAD does not show it: it is there to be measured.
func (a *aead) XORKeyStream(dst, src, nonce []byte) {
	if len(dst) < len(src) {
		panic("presentcipher: output smaller than input")
	}
	if len(src) > MaxPlaintext {
		panic(ErrPlaintextSize)
	}
	if inexactOverlap(dst[:len(src)], src) {
		panic("presentcipher: invalid buffer overlap")
	}
	a.ctr(dst[:len(src)], src, counterIV(nonce))
}

// counterIV is nonce ‖ u16(0).
func counterIV(nonce []byte) uint64 {
	if len(nonce) != NonceSize {
		panic("presentcipher: incorrect nonce length given to AEAD")
	}
	return uint64(binary.BigEndian.Uint32(nonce))<<32 | uint64(binary.BigEndian.Uint16(nonce[4:]))<<16
}

// tag is LightMAC over nonce ‖ u64(len(ad)) ‖ ad ‖ c.
func (a *aead) tag(iv uint64, c, ad []byte) uint64 {
	m := lightMAC{keys: a, next: 1}
	m.n = macHeader
	putHeader((*[macHeader]byte)(m.buf[:]), iv, len(ad))
	m.write(ad)
	m.write(c)
	return m.tag()
}

const macHeader = NonceSize + 8

// putHeader writes what precedes the additional data: nonce ‖ u64(len(ad)).
func putHeader(b *[macHeader]byte, iv uint64, ad int) {
	binary.BigEndian.PutUint64(b[:], iv)
	binary.BigEndian.PutUint64(b[NonceSize:], uint64(ad))
}

// grow appends n bytes to in, in its capacity if it can.
func grow(in []byte, n int) (whole, tail []byte) {
	total := len(in) + n
	if cap(in) >= total {
		whole = in[:total]
	} else {
		whole = make([]byte, total)
		copy(whole, in)
	}
	return whole, whole[len(in):]
}
