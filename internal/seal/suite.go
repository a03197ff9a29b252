package seal

import "crypto/cipher"

// Suite is a cipher suite: all that differs between the payload schemes.
type Suite struct {
	// ID is the suite's number in the frame, 1 to 7.
	ID byte
	// Label derives the suite's key from a topic's node.
	Label string
	// New makes the AEAD of one session from the topic's leaf. It is used for
	// nothing but that session, under nonces that never repeat.
	New func(leaf *[32]byte, session *[12]byte) (cipher.AEAD, error)
	// NonceSize is that of the AEAD, at most 24. The nonce is the last NonceTail
	// bytes of the header (time and sequence number, 8; or only the latter, 4)
	// behind zeros.
	NonceSize, NonceTail int
	// TagSize is the AEAD's Overhead, at most 16.
	TagSize int
	// MaxPlaintext and MaxAD limit one message, in bytes.
	MaxPlaintext, MaxAD int
	// Calls counts the block cipher calls of one message; together those of a
	// session stay within Budget. A message that alone needs more gets a session
	// to itself. A Budget of 0 leaves only the limit of 2^32-1 messages.
	Calls  func(plaintext, ad int) int
	Budget int
}
