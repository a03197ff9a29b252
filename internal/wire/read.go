package wire

import (
	"bytes"
	"io"
)

// Read reads one packet of at most limit bytes from r, and not a byte more, so that what follows can be read by someone
// else. It is for handshakes, tests and tools; whoever reads many packets has a buffer and uses [Scan].
//
// The error is io.EOF if r ends before the packet, io.ErrUnexpectedEOF if it ends inside, [ErrTooLarge] or
// [ErrMalformed] as of Scan. Memory grows with the bytes that arrive.
func Read(r io.Reader, limit int) (Packet, error) {
	p := make([]byte, 2, 64) // the shortest packet and header
	if _, err := io.ReadFull(r, p); err != nil {
		return nil, err
	}
	for {
		n, err := Scan(p, limit)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			return readBody(r, p, n)
		}
		p = append(p, 0)
		if _, err := io.ReadFull(r, p[len(p)-1:]); err != nil {
			return nil, inside(err)
		}
	}
}

// readBody reads what is missing of a packet of n bytes that begins with p.
func readBody(r io.Reader, p []byte, n int) (Packet, error) {
	const trusted = 64 << 10 // bytes that a peer may claim without sending them
	if n <= trusted {
		header := len(p)
		p = append(p, make([]byte, n-header)...)
		if _, err := io.ReadFull(r, p[header:]); err != nil {
			return nil, inside(err)
		}
		return p, nil
	}
	b := bytes.NewBuffer(p)
	if _, err := io.CopyN(b, r, int64(n-len(p))); err != nil {
		return nil, inside(err)
	}
	return b.Bytes(), nil
}

// inside is the error of a reader that failed inside a packet.
func inside(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
