// Package presentcipher is the lightweight block cipher PRESENT and authenticated
// encryption made of it, in constant time on every processor. It knows nothing of MQTT
// and needs nothing but the standard library and, on amd64 and arm64, the features of
// the processor.
//
// [NewAEAD] is a cipher.AEAD, which is what most callers want. [NewCipher] is the bare
// block cipher, for protocols that define their own mode. Whole MQTT messages are sealed
// by package present, above it.
//
// Choose PRESENT when a peer has it in hardware or firmware, or when the host
// has no AES instructions and its caches are shared with others: AES in Go then
// looks up tables by secrets, which PRESENT here never does. It is not a choice
// for speed. Where AES instructions exist AES-GCM is faster; where they do not,
// PRESENT takes about as long on 64-bit processors and several times as long on
// 32-bit ones. AES-GCM's 128-bit block also allows far more data under a key:
// PRESENT's 64-bit block makes outputs of one key distinguishable from random
// near 2^32 blocks, so keys must be changed early; see [NewAEAD] for the limits.
//
// No memory access and no branch depends on a key or on a message's content,
// except on whether its tag is right: the cipher is computed bit-sliced or, where a
// processor has them, by shuffles within registers, without tables in memory. On amd64 it
// uses AVX-512 with GFNI, or AVX2, when processor and operating system have them;
// on arm64 it uses NEON, which is always there. The build tag purego keeps to
// portable Go. Round keys that the code for amd64 lays out on the stack it clears there.
// Keys and what else is computed from them are not erased: they stay in memory until it
// is used again, as is usual in Go.
//
// Sources: A. Bogdanov et al., "PRESENT: An Ultra-Lightweight Block Cipher",
// CHES 2007; ISO/IEC 29192-2 (PRESENT) and 29192-6 (LightMAC).
package presentcipher
