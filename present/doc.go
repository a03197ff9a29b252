// Package present seals MQTT payloads end to end with the lightweight block cipher PRESENT:
// it is used as package aesmsg is, with the same keys, and differs in the cipher.
//
// [New] makes a [Sealer], which protects what aesmsg.Sealer protects, in the same message
// format and for the same reasons not more. The cipher and the AEAD below it, for other
// messages than those of MQTT, are in package presentcipher, which links no MQTT client.
//
// Choose it when a peer has PRESENT in hardware or firmware, or when the host has no AES
// instructions and its caches are shared with others; package presentcipher says more about
// that. It is not a choice for speed. A message has at most 256 KiB, and its tag 64 bits
// where aesmsg's has 128.
//
// Sources: A. Bogdanov et al., "PRESENT: An Ultra-Lightweight Block Cipher",
// CHES 2007; ISO/IEC 29192-2 (PRESENT) and 29192-6 (LightMAC).
package present
