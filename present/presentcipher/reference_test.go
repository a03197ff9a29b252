package presentcipher

import "encoding/binary"

// The cipher a second time, bit by bit as the papers have it, so that what
// the package computes is not only compared with itself.

var referenceSbox = [16]byte{0xC, 5, 6, 0xB, 9, 0, 0xA, 0xD, 3, 0xE, 0xF, 8, 4, 7, 1, 2}

// A bitString is b_0 first.
type bitString []byte

func bitsOf(octets []byte) bitString {
	b := make(bitString, 8*len(octets))
	for i := range b {
		b[i] = octets[len(octets)-1-i/8] >> (i % 8) & 1
	}
	return b
}

func (b bitString) octets() []byte {
	o := make([]byte, len(b)/8)
	for i, bit := range b {
		o[len(o)-1-i/8] |= bit << (i % 8)
	}
	return o
}

func (b bitString) substitute(at int) {
	v := b[at] | b[at+1]<<1 | b[at+2]<<2 | b[at+3]<<3
	for j := range 4 {
		b[at+j] = referenceSbox[v] >> j & 1
	}
}

// referenceRoundKeys is the key schedule for keys of 80 and 128 bits.
func referenceRoundKeys(key []byte) (rk []bitString) {
	k := bitsOf(key)
	n := len(k)
	for i := 1; i <= 32; i++ {
		rk = append(rk, append(bitString(nil), k[n-64:]...))
		turned := make(bitString, n)
		for j := range k {
			turned[(j+61)%n] = k[j]
		}
		k = turned
		k.substitute(n - 4)
		counter := 15
		if n == 128 {
			k.substitute(n - 8)
			counter = 62
		}
		for j := range 5 {
			k[counter+j] ^= byte(i >> j & 1)
		}
	}
	return rk
}

func referenceEncrypt(key, block []byte) []byte {
	s := bitsOf(block)
	for i, k := range referenceRoundKeys(key) {
		for j := range s {
			s[j] ^= k[j]
		}
		if i == 31 {
			break
		}
		for j := 0; j < 64; j += 4 {
			s.substitute(j)
		}
		moved := make(bitString, 64)
		for j := range s {
			to := 63
			if j < 63 {
				to = 16 * j % 63
			}
			moved[to] = s[j]
		}
		s = moved
	}
	return s.octets()
}

func referenceLightMAC(k1, k2, msg []byte) []byte {
	sum := make([]byte, BlockSize)
	for i := 1; len(msg) > 6; i++ {
		block := append(binary.BigEndian.AppendUint16(nil, uint16(i)), msg[:6]...)
		msg = msg[6:]
		for j, b := range referenceEncrypt(k1, block) {
			sum[j] ^= b
		}
	}
	for j, b := range append(append([]byte(nil), msg...), 0x80) {
		sum[j] ^= b
	}
	return referenceEncrypt(k2, sum)
}

func referenceSeal(key, nonce, plaintext, ad []byte) []byte {
	var d []byte
	for i := uint64(1); i <= 6; i++ {
		d = append(d, referenceEncrypt(key, binary.BigEndian.AppendUint64(nil, i))...)
	}
	ke, k1, k2 := d[:16], d[16:32], d[32:]
	c := append([]byte(nil), plaintext...)
	for i := range c {
		block := binary.BigEndian.AppendUint16(append([]byte(nil), nonce...), uint16(i/8))
		if i%8 == 0 {
			for j, b := range referenceEncrypt(ke, block) {
				if i+j < len(c) {
					c[i+j] ^= b
				}
			}
		}
	}
	msg := binary.BigEndian.AppendUint64(append([]byte(nil), nonce...), uint64(len(ad)))
	msg = append(append(msg, ad...), c...)
	return append(c, referenceLightMAC(k1, k2, msg)...)
}
