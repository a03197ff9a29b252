package chart

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"image/color"
	"io"
	"strconv"
)

// svg is a canvas that writes a document.
type svg struct{ body bytes.Buffer }

func newSVG(width, height float64) *svg {
	s := new(svg)
	fmt.Fprintf(&s.body, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%[1]s\" height=\"%[2]s\" viewBox=\"0 0 %[1]s %[2]s\" "+
		"font-family=\"Go, Helvetica, Arial, sans-serif\">\n", number(width), number(height))
	return s
}

// number has no more digits than anybody sees.
func number(v float64) string {
	return strconv.FormatFloat(float64(int(v*100+0.5))/100, 'f', -1, 64)
}

func hex(c color.RGBA) string { return fmt.Sprintf("#%02x%02x%02x", c.R, c.G, c.B) }

func (s *svg) rectangle(x, y, width, height float64, fill color.RGBA) {
	fmt.Fprintf(&s.body, "<rect x=\"%s\" y=\"%s\" width=\"%s\" height=\"%s\" fill=\"%s\"/>\n",
		number(x), number(y), number(width), number(height), hex(fill))
}

func (s *svg) text(x, y float64, look style, at alignment, text string) {
	anchor := [...]string{left: "start", centre: "middle", right: "end"}[at]
	weight := ""
	if look.bold {
		weight = ` font-weight="bold"`
	}
	fmt.Fprintf(&s.body, "<text x=\"%s\" y=\"%s\" font-size=\"%s\" fill=\"%s\" text-anchor=\"%s\"%s>",
		number(x), number(y), number(look.size), hex(look.fill), anchor, weight)
	_ = xml.EscapeText(&s.body, []byte(text)) // a Buffer takes everything
	s.body.WriteString("</text>\n")
}

func (s *svg) WriteTo(w io.Writer) (int64, error) {
	s.body.WriteString("</svg>\n")
	return s.body.WriteTo(w)
}
