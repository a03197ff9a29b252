package presentcipher

import "encoding/binary"

// LightMAC (A. Luykx, B. Preneel, E. Tischhauser, K. Yasuda, FSE 2016; ISO/IEC
// 29192-6) with a 16-bit counter: the message is cut into 6-byte pieces, each
// but the last is encrypted under K1 behind its number, counted from 1, and
// the XOR of these together with the padded last piece is encrypted under K2.
const macPiece = 6

// lightMAC takes a message in parts and computes its tag.
type lightMAC struct {
	keys *aead
	sum  uint64 // XOR of the pieces encrypted so far
	next uint64 // number of the next piece
	n    int    // bytes in buf
	buf  [192 * macPiece]byte
}

func (m *lightMAC) write(p []byte) {
	for len(p) > 0 {
		switch {
		case m.n == len(m.buf): // more follows, so no piece in buf is the last
			m.absorb(m.buf[:])
			m.n = 0
		case m.n == 0 && len(p) > len(m.buf):
			whole := (len(p) - 1) / macPiece * macPiece
			m.absorb(p[:whole])
			p = p[whole:]
		default:
			n := copy(m.buf[m.n:], p)
			m.n += n
			p = p[n:]
		}
	}
}

// absorb adds whole pieces, none of them the last of the message.
func (m *lightMAC) absorb(p []byte) {
	m.sum ^= m.keys.macPieces(p, m.next)
	m.next += uint64(len(p) / macPiece)
}

// tag ends the message. The last piece has 1 to 6 bytes, 0 only in the empty
// message.
func (m *lightMAC) tag() uint64 {
	whole := 0
	if m.n > 0 {
		whole = (m.n - 1) / macPiece * macPiece
	}
	if whole > 0 {
		m.absorb(m.buf[:whole])
	}
	var last [BlockSize]byte
	n := copy(last[:], m.buf[whole:m.n])
	last[n] = 0x80
	return m.keys.macFinal(m.sum ^ binary.BigEndian.Uint64(last[:]))
}

// macGeneric is the XOR of the pieces of p, numbered from next, encrypted.
func macGeneric(rk *roundKeys, lk *laneKeys, p []byte, next uint64) (sum uint64) {
	for len(p) >= pairMin*macPiece {
		n := min(len(p), 128*macPiece)
		sum ^= macPair(rk, p[:n], next)
		p, next = p[n:], next+128
	}
	for len(p) >= planesMin*macPiece {
		n := min(len(p), 64*macPiece)
		sum ^= macPlanes(rk, p[:n], next)
		p, next = p[n:], next+64
	}
	var acc group
	for len(p) >= 8*macPiece {
		x, y := lk.encrypt2(pieces(p, next), pieces(p[4*macPiece:], next+4))
		acc = acc.xor(&x)
		acc = acc.xor(&y)
		p, next = p[8*macPiece:], next+8
	}
	if len(p) >= 4*macPiece {
		x := lk.encrypt(pieces(p, next))
		acc = acc.xor(&x)
		p, next = p[4*macPiece:], next+4
	}
	acc = acc.exchangeC()
	sum ^= acc.r0 ^ acc.r1 ^ acc.r2 ^ acc.r3
	if len(p) == 0 {
		return sum
	}
	var rest [4 * macPiece]byte
	n := copy(rest[:], p) / macPiece
	x := lk.encrypt(pieces(rest[:], next)).exchangeC()
	sum ^= x.r0
	if n > 1 {
		sum ^= x.r1
	}
	if n > 2 {
		sum ^= x.r2
	}
	return sum
}

// macPlanes is macGeneric for up to 64 pieces.
func macPlanes(rk *roundKeys, p []byte, next uint64) uint64 {
	var a, b planes
	n := a.pieces(p, next)
	a.encrypt(&b, rk)
	return b.sum(n, rk.lastKey())
}

// macPair is macGeneric for 65 to 128 pieces.
func macPair(rk *roundKeys, p []byte, next uint64) uint64 {
	var a, b planePair
	a[0].pieces(p[:64*macPiece], next)
	n := a[1].pieces(p[64*macPiece:], next+64)
	a.encrypt(&b, rk)
	return b[0].sum(64, rk.lastKey()) ^ b[1].sum(n, rk.lastKey())
}

// pieces sets a to the planes of the numbered pieces in p and says how many
// they are.
func (a *planes) pieces(p []byte, next uint64) int {
	n := len(p) / macPiece
	for i := range n {
		a[i&63] = piece(p[i*macPiece:], next+uint64(i))
	}
	a.transpose()
	return n
}

// sum is the XOR of the first n blocks in a, each with k added.
func (a *planes) sum(n int, k uint64) (sum uint64) {
	a.transpose()
	for _, w := range a[:n] {
		sum ^= w ^ k
	}
	return sum
}

// pieces is the group of four numbered pieces in the turned layout.
func pieces(p []byte, next uint64) group {
	_ = p[4*macPiece-1]
	x := group{
		turn(piece(p, next)),
		turn(piece(p[macPiece:], next+1)),
		turn(piece(p[2*macPiece:], next+2)),
		turn(piece(p[3*macPiece:], next+3)),
	}
	return x.exchangeC()
}

func piece(p []byte, number uint64) uint64 {
	_ = p[5]
	return number<<48 | uint64(binary.BigEndian.Uint32(p))<<16 | uint64(binary.BigEndian.Uint16(p[4:]))
}
