package chart

import (
	"errors"
	"fmt"
	"image/color"
	"io"
	"math"
	"slices"
)

// Rows is one image in which bars lie: a row for each name, a column for each quantity, and a block of both for each
// case. It suits many names, which stand beside their bars instead of in a legend.
type Rows struct {
	Title string
	Names []string
	// Kinds has a number for each name; those with the same have the same colour.
	Kinds  []int
	Blocks []Block
}

// A Block is one case, with the same columns as the others.
type Block struct {
	Title   string
	Columns []Column
}

// A Column has an axis of its own, which begins with 0.
type Column struct {
	Title string
	// Values are in the order of the names. NaN leaves a bar out; there are no negative ones. A bar that would make
	// all others short ends early, in slits.
	Values []float64
}

// SVG writes the figure as a Scalable Vector Graphics document.
func (r *Rows) SVG(w io.Writer) error { return drawSVG(w, r) }

// PNG writes the figure as a Portable Network Graphics image, two pixels for each unit of the SVG.
func (r *Rows) PNG(w io.Writer) error { return drawPNG(w, r) }

func (r *Rows) check() error {
	if len(r.Names) == 0 || len(r.Blocks) == 0 || len(r.Blocks[0].Columns) == 0 {
		return errors.New("chart: nothing to draw")
	}
	if len(r.Kinds) != len(r.Names) {
		return errors.New("chart: kinds are not those of the names")
	}
	for _, k := range r.Kinds {
		if k < 0 {
			return fmt.Errorf("chart: a kind of %d", k)
		}
	}
	for _, b := range r.Blocks {
		if len(b.Columns) != len(r.Blocks[0].Columns) {
			return errors.New("chart: blocks of different width")
		}
		for _, c := range b.Columns {
			if len(c.Values) != len(r.Names) {
				return fmt.Errorf("chart: column %q: values are not those of the names", c.Title)
			}
			if err := checkValues(c.Values); err != nil {
				return fmt.Errorf("chart: column %q: %w", c.Title, err)
			}
		}
	}
	return nil
}

// What the parts of lying bars measure, in pixels of CSS.
const (
	rowHeight   = 24
	rowGap      = 6 // between bars
	columnWidth = 250
	valueWidth  = 54 // room for the value behind the longest bar
	blockHead   = 62 // room for the titles of a block and of its columns
	blockGap    = 22
)

func (r *Rows) arrange(fonts *fonts) arrangement {
	names := 0.0
	for _, name := range r.Names {
		names = max(names, fonts.width(legendStyle, name))
	}
	names += 14
	columns, blocks := float64(len(r.Blocks[0].Columns)), float64(len(r.Blocks))
	height := float64(len(r.Names)) * rowHeight
	return arrangement{
		width:  2*margin + names + columns*columnWidth,
		height: 2*margin + titleHeight + blocks*(blockHead+height) + (blocks-1)*blockGap,
		draw: func(c canvas) {
			c.text(margin, margin+16, titleStyle, left, r.Title)
			for i, b := range r.Blocks {
				y := margin + titleHeight + float64(i)*(blockHead+height+blockGap)
				r.drawBlock(c, b, margin+names, y)
			}
		},
	}
}

// drawBlock draws a block whose bars begin at x, and whose title begins at y.
func (r *Rows) drawBlock(c canvas, b Block, x, y float64) {
	c.text(margin, y+22, panelStyle, left, b.Title)
	top := y + blockHead
	height := float64(len(r.Names)) * rowHeight
	for i, name := range r.Names {
		c.text(x-14, top+(float64(i)+0.5)*rowHeight+4, legendStyle, right, name)
	}
	for i, column := range b.Columns {
		at := x + float64(i)*columnWidth
		c.text(at, top-10, columnStyle, left, column.Title)
		c.rectangle(at-1, top, 1, height, faintInk)
		longest := column.longest()
		for j, v := range column.Values {
			if !math.IsNaN(v) {
				drawRow(c, at, top+float64(j)*rowHeight, v, longest, palette[r.Kinds[j]%len(palette)])
			}
		}
	}
}

// drawRow draws the bar of a value, and the value behind it.
func drawRow(c canvas, x, y, v, longest float64, fill color.RGBA) {
	const room = columnWidth - valueWidth
	width, height := room*min(v/longest, 1), float64(rowHeight-rowGap)
	c.rectangle(x, y+rowGap/2, width, height, fill)
	if v > longest {
		for i := range 3 { // three slits say that there is more of it
			c.rectangle(x+width-float64(10*i)-14, y+rowGap/2, 3, height, paper)
		}
	}
	c.text(x+width+5, y+rowHeight/2+4, valueStyle, left, brief(v))
}

// outlier is how many times as high as the next a value is that is not drawn in full.
const outlier = 4

// longest is the value of the longest bar.
func (c Column) longest() float64 {
	values := slices.DeleteFunc(slices.Clone(c.Values), math.IsNaN)
	slices.Sort(values)
	for len(values) > 1 && values[len(values)-1] > outlier*values[len(values)-2] && values[len(values)-2] > 0 {
		values = values[:len(values)-1]
	}
	if len(values) == 0 || values[len(values)-1] == 0 {
		return 1
	}
	return values[len(values)-1]
}
