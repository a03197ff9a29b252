//go:build !purego

package presentcipher

// ctrNEON is dst = src XOR the key stream from block iv on, over n times 8 blocks;
// iv's three lowest bits are clear.
//
//go:noescape
func ctrNEON(rk *[32]uint64, dst, src *byte, n int, iv uint64)

// macNEON is the XOR of the n pieces at p, numbered from next, encrypted. It reads p
// as if n were rounded up to a multiple of 8.
//
//go:noescape
func macNEON(rk *[32]uint64, p *byte, n int, next uint64) uint64

// encryptNEON encrypts one block.
//
//go:noescape
func encryptNEON(rk *[32]uint64, v uint64) uint64
