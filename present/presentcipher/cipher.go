package presentcipher

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
)

// BlockSize is the size of a PRESENT block in bytes.
const BlockSize = 8

// ErrKeySize is returned by [NewCipher] for a key that is not 10 or 16 bytes.
var ErrKeySize = errors.New("presentcipher: key must be 10 or 16 bytes")

type block struct {
	rk    roundKeys
	lanes laneKeys
	path  path
}

// NewCipher returns PRESENT-80 for a 10-byte key and PRESENT-128 for a 16-byte
// one, and an error that is [ErrKeySize] for any other. Blocks and keys are in
// the byte order of ISO/IEC 29192-2: most significant octet first.
//
// The result encrypts one block and may be used by several goroutines at once.
// It protects nothing by itself; use [NewAEAD] unless a protocol prescribes
// its own mode. With 64-bit blocks a mode must change keys long before 2^32
// blocks (NIST allows 64-bit TDEA 2^20), and PRESENT must not be made into a
// hash function. 80-bit keys are for peers that have no other; they are below
// what is safe to choose today.
func NewCipher(key []byte) (cipher.Block, error) {
	b := &block{path: fastest}
	switch len(key) {
	case 10:
		b.rk.expand80((*[10]byte)(key))
	case 16:
		b.rk.expand128((*[16]byte)(key))
	default:
		return nil, ErrKeySize
	}
	b.lanes.expand(&b.rk)
	return b, nil
}

func (b *block) BlockSize() int { return BlockSize }

func (b *block) Encrypt(dst, src []byte) {
	checkBlock(dst, src)
	b.encrypt((*[BlockSize]byte)(dst), (*[BlockSize]byte)(src))
}

func (b *block) Decrypt(dst, src []byte) {
	checkBlock(dst, src)
	w := binary.BigEndian.Uint64(src)
	binary.BigEndian.PutUint64(dst, b.lanes.decryptBlock(w))
}

func (b *block) encryptGeneric(dst, src *[BlockSize]byte) {
	w := binary.BigEndian.Uint64(src[:])
	binary.BigEndian.PutUint64(dst[:], b.lanes.encryptBlock(w))
}

// checkBlock panics as the standard library's block ciphers do.
func checkBlock(dst, src []byte) {
	if len(src) < BlockSize {
		panic("presentcipher: input not full block")
	}
	if len(dst) < BlockSize {
		panic("presentcipher: output not full block")
	}
	if inexactOverlap(dst[:BlockSize], src[:BlockSize]) {
		panic("presentcipher: invalid buffer overlap")
	}
}
