package sidechannel

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"strings"

	"rsc.io/qr"
)

// QR is a token as a QR symbol (ISO/IEC 18004), in the alphanumeric mode, which keeps it small, and with error
// correction of level M.
type QR struct {
	text string
	code *qr.Code
}

// quiet is the width of the light margin that readers need, modules.
const quiet = 4

// NewQR makes the symbol of a token's text. A token with a filter of some 500 octets is the most that a symbol holds
// that cameras still read well; a longer one is an error when no symbol holds it.
func NewQR(t Token) (*QR, error) {
	text, err := t.MarshalText()
	if err != nil {
		return nil, err
	}
	code, err := qr.Encode(string(text), qr.M)
	if err != nil {
		return nil, fmt.Errorf("sidechannel: QR: %w", err)
	}
	return &QR{string(text), code}, nil
}

// Format writes the type alone: the symbol is a secret.
func (q *QR) Format(f fmt.State, _ rune) { io.WriteString(f, "sidechannel.QR") }

// Text returns what the symbol says, which is the token's text.
func (q *QR) Text() string { return q.text }

// Size returns the width of the symbol in modules, with its margin.
func (q *QR) Size() int { return q.code.Size + 2*quiet }

// dark tells a dark module, counted from the margin's corner.
func (q *QR) dark(x, y int) bool { return q.code.Black(x-quiet, y-quiet) }

// PNG returns an image with that many pixels to a module, 1 to 64.
func (q *QR) PNG(scale int) ([]byte, error) {
	if scale < 1 || scale > 64 {
		return nil, fmt.Errorf("sidechannel: QR: a scale of %d, not 1 to 64", scale)
	}
	side := q.Size() * scale
	img := image.NewPaletted(image.Rect(0, 0, side, side), color.Palette{color.White, color.Black})
	for y := range side {
		for x := range side {
			if q.dark(x/scale, y/scale) {
				img.SetColorIndex(x, y, 1)
			}
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		return nil, fmt.Errorf("sidechannel: QR: %w", err)
	}
	return b.Bytes(), nil
}

// Terminal returns the symbol in full blocks, two columns to a module, and its text below, for those who have no
// camera. The light modules are the blocks, which is right on a dark background; inverted is for a light one.
func (q *QR) Terminal(inverted bool) string {
	var b strings.Builder
	for y := range q.Size() {
		for x := range q.Size() {
			if q.dark(x, y) == inverted {
				b.WriteString("██")
			} else {
				b.WriteString("  ")
			}
		}
		b.WriteByte('\n')
	}
	b.WriteString(q.text)
	b.WriteByte('\n')
	return b.String()
}

// ReadText returns the token that a QR reader, or a person, hands on as text.
func ReadText(text []byte) (Token, error) {
	var t Token
	if t.UnmarshalText(text) != nil {
		return Token{}, ErrMalformed
	}
	return t, nil
}
