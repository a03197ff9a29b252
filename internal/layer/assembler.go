package layer

import "github.com/mqttsec/mqttsec/internal/wire"

// Assembler makes packets of a byte stream that is pushed in pieces of any size. The zero value is ready. It is not
// safe for concurrent use.
type Assembler struct {
	partial []byte // the start of a packet that is not whole
	need    int    // length of that packet once its header is whole
}

// Push calls emit for each packet that b completes, in order. A packet that lies whole in b is handed on where it is,
// only split ones are copied; emit may not keep it. Push stops at the first error, which is emit's or wire.Scan's, and
// the Assembler is then of no more use until Reset.
func (a *Assembler) Push(b []byte, emit func(wire.Packet) error) error {
	for len(b) > 0 {
		if len(a.partial) == 0 {
			n, err := wire.Scan(b, wire.MaxPacket)
			if err != nil {
				return err
			}
			if n == 0 || n > len(b) {
				a.begin(b, n)
				return nil
			}
			if err := emit(b[:n:n]); err != nil {
				return err
			}
			b = b[n:]
			continue
		}
		n, err := a.fill(b)
		if err != nil {
			return err
		}
		b = b[n:]
		if len(a.partial) != a.need {
			continue
		}
		err = emit(a.partial)
		a.Reset()
		if err != nil {
			return err
		}
	}
	return nil
}

// Several tells whether b goes on behind the end of the packet that it completes.
func (a *Assembler) Several(b []byte) bool {
	if len(a.partial) > 0 {
		return a.need > 0 && len(b) > a.need-len(a.partial)
	}
	n, err := wire.Scan(b, wire.MaxPacket)
	return err == nil && n > 0 && n < len(b)
}

// Reset forgets the packet that is not whole yet.
func (a *Assembler) Reset() {
	putBuffer(a.partial)
	a.partial, a.need = nil, 0
}

// begin keeps the start of a packet of n bytes, 0 if that is not known yet. Its header is the local side's own, which
// has the rest in memory.
func (a *Assembler) begin(b []byte, n int) {
	a.partial = append(getBuffer(max(min(n, believed), len(b))), b...)
	a.need = n
}

// fill takes what belongs to the packet under way from the front of b, and returns how many bytes that is.
func (a *Assembler) fill(b []byte) (int, error) {
	if a.need > 0 {
		n := min(a.need-len(a.partial), len(b))
		a.partial = growBuffer(a.partial, len(a.partial)+n, a.need)
		a.partial = append(a.partial, b[:n]...)
		return n, nil
	}
	a.partial = append(a.partial, b[0]) // the fixed header, at most five bytes, comes to its end
	n, err := wire.Scan(a.partial, wire.MaxPacket)
	a.need = n
	return 1, err
}
