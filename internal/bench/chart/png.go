package chart

import (
	"bytes"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
	"math"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
)

// fonts are the faces of one figure.
type fonts struct {
	regular, bold *opentype.Font
	faces         map[face]font.Face
}

// A face is a font in one size, in pixels.
type face struct {
	size float64
	bold bool
}

func newFonts() (*fonts, error) {
	regular, err := opentype.Parse(goregular.TTF)
	if err != nil {
		return nil, err
	}
	bold, err := opentype.Parse(gobold.TTF)
	if err != nil {
		return nil, err
	}
	return &fonts{regular: regular, bold: bold, faces: make(map[face]font.Face)}, nil
}

// face returns a font in a size.
func (f *fonts) face(want face) font.Face {
	if known, ok := f.faces[want]; ok {
		return known
	}
	from := f.regular
	if want.bold {
		from = f.bold
	}
	// At 72 dots per inch a point is a pixel. NewFace fails for no options of this kind.
	made, err := opentype.NewFace(from, &opentype.FaceOptions{Size: want.size, DPI: 72})
	if err != nil {
		panic(err)
	}
	f.faces[want] = made
	return made
}

// width is that of text, in pixels of CSS.
func (f *fonts) width(s style, text string) float64 {
	return float64(font.MeasureString(f.face(face{s.size, s.bold}), text)) / 64
}

// sharpness is how many pixels of the image one of CSS has in each direction.
const sharpness = 2

// bitmap is a canvas of pixels.
type bitmap struct {
	image *image.RGBA
	fonts *fonts
}

func newPNG(width, height float64, fonts *fonts) *bitmap {
	return &bitmap{image.NewRGBA(image.Rect(0, 0, pixel(width), pixel(height))), fonts}
}

func pixel(v float64) int { return int(math.Round(v * sharpness)) }

func (b *bitmap) rectangle(x, y, width, height float64, fill color.RGBA) {
	area := image.Rect(pixel(x), pixel(y), pixel(x+width), pixel(y+height))
	draw.Draw(b.image, area, image.NewUniform(fill), image.Point{}, draw.Src)
}

func (b *bitmap) text(x, y float64, s style, at alignment, text string) {
	drawer := font.Drawer{Dst: b.image, Src: image.NewUniform(s.fill), Face: b.fonts.face(face{s.size * sharpness, s.bold})}
	advance := drawer.MeasureString(text)
	switch at {
	case centre:
		x -= float64(advance) / 64 / sharpness / 2
	case right:
		x -= float64(advance) / 64 / sharpness
	}
	drawer.Dot = fixed.P(pixel(x), pixel(y))
	drawer.DrawString(text)
}

func (b *bitmap) WriteTo(w io.Writer) (int64, error) {
	var encoded bytes.Buffer
	if err := png.Encode(&encoded, b.image); err != nil {
		return 0, err
	}
	return encoded.WriteTo(w)
}
