package chart

import (
	"image/color"
	"math"
)

// What the parts of a figure measure, in pixels of CSS.
const (
	margin      = 24
	titleHeight = 30
	swatch      = 12 // a square of colour in the legend
	legendRow   = 22
	panelWidth  = 640
	panelHeight = 270
	panelGap    = 28
	axisWidth   = 48 // room for the figures of an axis
	headHeight  = 40 // room for a panel's title and its unit
	footHeight  = 26 // room for the names of the groups
)

var (
	ink      = color.RGBA{0x22, 0x22, 0x22, 0xFF}
	faintInk = color.RGBA{0x66, 0x66, 0x66, 0xFF}
	grid     = color.RGBA{0xE4, 0xE4, 0xE4, 0xFF}
	paper    = color.RGBA{0xFF, 0xFF, 0xFF, 0xFF}

	titleStyle  = style{size: 19, bold: true, fill: ink}
	panelStyle  = style{size: 14, bold: true, fill: ink}
	legendStyle = style{size: 13, fill: ink}
	groupStyle  = style{size: 13, fill: ink}
	columnStyle = style{size: 12, fill: faintInk}
	axisStyle   = style{size: 11, fill: faintInk}
	valueStyle  = style{size: 10, fill: ink}
)

// palette is the colours of Okabe and Ito, which people who do not see all colours tell apart too, and four more for
// those who do.
var palette = []color.RGBA{
	{0x99, 0x99, 0x99, 0xFF},
	{0xE6, 0x9F, 0x00, 0xFF},
	{0x00, 0x72, 0xB2, 0xFF},
	{0x56, 0xB4, 0xE9, 0xFF},
	{0x00, 0x9E, 0x73, 0xFF},
	{0xCC, 0x79, 0xA7, 0xFF},
	{0xD5, 0x5E, 0x00, 0xFF},
	{0xF0, 0xE4, 0x42, 0xFF},
	{0x33, 0x22, 0x88, 0xFF},
	{0x88, 0x22, 0x55, 0xFF},
	{0x99, 0x99, 0x33, 0xFF},
	{0x22, 0x22, 0x22, 0xFF},
}

// A layout is where the parts of a figure stand.
type layout struct {
	*Figure
	width, height float64
	legend        []point // the upper left corners of its swatches
	top           float64 // of the panels
}

type point struct{ x, y float64 }

func (f *Figure) layout(fonts *fonts) *layout {
	columns, rows := float64(len(f.Panels[0])), float64(len(f.Panels))
	l := &layout{Figure: f, width: 2*margin + columns*panelWidth + (columns-1)*panelGap}
	at := point{margin, margin + titleHeight}
	for _, name := range f.Series {
		room := swatch + 6 + fonts.width(legendStyle, name)
		if at.x > margin && at.x+room > l.width-margin {
			at = point{margin, at.y + legendRow}
		}
		l.legend = append(l.legend, at)
		at.x += room + 20
	}
	l.top = at.y + legendRow + 10
	l.height = l.top + rows*panelHeight + (rows-1)*panelGap + margin
	return l
}

func (f *Figure) arrange(fonts *fonts) arrangement {
	l := f.layout(fonts)
	return arrangement{l.width, l.height, func(c canvas) { l.draw(c, fonts) }}
}

func (l *layout) draw(c canvas, fonts *fonts) {
	c.text(margin, margin+16, titleStyle, left, l.Title)
	for i, at := range l.legend {
		c.rectangle(at.x, at.y, swatch, swatch, palette[i%len(palette)])
		c.text(at.x+swatch+6, at.y+swatch-1, legendStyle, left, l.Series[i])
	}
	for i, row := range l.Panels {
		for j, p := range row {
			x, y := margin+float64(j)*(panelWidth+panelGap), l.top+float64(i)*(panelHeight+panelGap)
			l.drawPanel(c, fonts, p, x, y)
		}
	}
}

// drawPanel draws a panel whose upper left corner is x, y.
func (l *layout) drawPanel(c canvas, fonts *fonts, p Panel, x, y float64) {
	c.text(x+axisWidth, y+14, panelStyle, left, p.Title)
	if l.Unit != "" {
		c.text(x+axisWidth-6, y+headHeight-12, axisStyle, right, l.Unit)
	}
	area := box{x: x + axisWidth, y: y + headHeight, width: panelWidth - axisWidth, height: panelHeight - headHeight - footHeight}
	scale := newScale(p.highest())
	for _, tick := range scale.ticks() {
		at := area.y + area.height*(1-tick/scale.top)
		c.rectangle(area.x, at, area.width, 1, grid)
		c.text(area.x-6, at+4, axisStyle, right, round(tick))
	}
	group := area.width / float64(len(p.Groups))
	for i, name := range p.Groups {
		start := area.x + float64(i)*group
		c.text(start+group/2, area.y+area.height+18, groupStyle, centre, name)
		l.drawGroup(c, fonts, p.Values[i], box{start + group*0.05, area.y, group * 0.9, area.height}, scale)
	}
	c.rectangle(area.x, area.y+area.height, area.width, 1, faintInk)
}

type box struct{ x, y, width, height float64 }

// widest is what a bar of few series is not wider than.
const widest = 56

// drawGroup draws the bars of a group into the middle of area.
func (l *layout) drawGroup(c canvas, fonts *fonts, values []float64, area box, scale scale) {
	width := min(area.width/float64(len(values)), widest)
	start := area.x + (area.width-width*float64(len(values)))/2
	for i, v := range values {
		if math.IsNaN(v) {
			continue
		}
		x, height := start+float64(i)*width, area.height*v/scale.top
		c.rectangle(x+1, area.y+area.height-height, width-2, height, palette[i%len(palette)])
		label, look := brief(v), valueStyle
		room := fonts.width(look, label)
		if room > width-1 {
			look.size *= (width - 1) / room // so that neighbours do not run into each other
			room = width - 1
		}
		foot := area.y + area.height - height - 4
		c.rectangle(x+width/2-room/2, foot-look.size, room, look.size+2, paper) // hides the line of a tick
		c.text(x+width/2, foot, look, centre, label)
	}
}

func (p Panel) highest() float64 {
	highest := 0.0
	for _, values := range p.Values {
		for _, v := range values {
			if !math.IsNaN(v) {
				highest = max(highest, v)
			}
		}
	}
	return highest
}
