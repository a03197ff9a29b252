// Package chart draws bars as SVG and as PNG, with the same layout: in a [Figure] for each group of a panel one bar for
// each series, its value above it; in [Rows] lying, each beside its name. It needs a font and nothing else that draws.
package chart

import (
	"errors"
	"fmt"
	"image/color"
	"io"
	"math"
)

// A Figure is one image: panels that show the same quantity of the same series.
type Figure struct {
	Title string
	// Unit is the one of all values; it may be empty.
	Unit string
	// Series are the names of the bars of a group, in order.
	Series []string
	// Panels are rows of panels, each row as long as the first.
	Panels [][]Panel
}

// A Panel has an axis of its own, from 0 to a bit above its largest value.
type Panel struct {
	Title  string
	Groups []string
	// Values are those of each group, in the order of Series. NaN leaves a bar out; there are no negative ones.
	Values [][]float64
}

// SVG writes the figure as a Scalable Vector Graphics document.
func (f *Figure) SVG(w io.Writer) error { return drawSVG(w, f) }

// PNG writes the figure as a Portable Network Graphics image, two pixels for each unit of the SVG.
func (f *Figure) PNG(w io.Writer) error { return drawPNG(w, f) }

// A drawing is a figure of either kind.
type drawing interface {
	check() error
	arrange(*fonts) arrangement
}

// An arrangement is where the parts of a drawing stand.
type arrangement struct {
	width, height float64
	draw          func(canvas)
}

func drawSVG(w io.Writer, d drawing) error {
	return render(w, d, func(width, height float64, _ *fonts) canvas { return newSVG(width, height) })
}

func drawPNG(w io.Writer, d drawing) error {
	return render(w, d, func(width, height float64, fonts *fonts) canvas { return newPNG(width, height, fonts) })
}

func render(w io.Writer, d drawing, blank func(width, height float64, fonts *fonts) canvas) error {
	if err := d.check(); err != nil {
		return err
	}
	fonts, err := newFonts()
	if err != nil {
		return err
	}
	a := d.arrange(fonts)
	c := blank(a.width, a.height, fonts)
	c.rectangle(0, 0, a.width, a.height, paper)
	a.draw(c)
	_, err = c.WriteTo(w)
	return err
}

// A canvas takes what a figure is made of. Its unit is the pixel of CSS, y grows downwards.
type canvas interface {
	rectangle(x, y, width, height float64, fill color.RGBA)
	// text stands on the line y, and begins, ends or is centred at x.
	text(x, y float64, s style, at alignment, text string)
	io.WriterTo
}

// A style is how text looks.
type style struct {
	size float64
	bold bool
	fill color.RGBA
}

type alignment int

const (
	left alignment = iota
	centre
	right
)

func (f *Figure) check() error {
	if len(f.Series) == 0 || len(f.Panels) == 0 || len(f.Panels[0]) == 0 {
		return errors.New("chart: nothing to draw")
	}
	for _, row := range f.Panels {
		if len(row) != len(f.Panels[0]) {
			return errors.New("chart: rows of different length")
		}
		for _, p := range row {
			if err := f.checkPanel(p); err != nil {
				return fmt.Errorf("chart: panel %q: %w", p.Title, err)
			}
		}
	}
	return nil
}

func (f *Figure) checkPanel(p Panel) error {
	if len(p.Groups) == 0 || len(p.Values) != len(p.Groups) {
		return errors.New("values are not those of its groups")
	}
	for _, values := range p.Values {
		if len(values) != len(f.Series) {
			return errors.New("values are not those of the series")
		}
		if err := checkValues(values); err != nil {
			return err
		}
	}
	return nil
}

func checkValues(values []float64) error {
	for _, v := range values {
		if v < 0 || math.IsInf(v, 0) {
			return fmt.Errorf("a bar of %v", v)
		}
	}
	return nil
}
