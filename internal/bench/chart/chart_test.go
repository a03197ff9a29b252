package chart

import (
	"bytes"
	"encoding/xml"
	"errors"
	"image/color"
	"image/png"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func sample() *Figure {
	panel := Panel{
		Title:  "v5, QoS 1",
		Groups: []string{"64 B", "1024 B"},
		Values: [][]float64{{100, 0, 50}, {12_345, math.NaN(), 9.5}},
	}
	return &Figure{
		Title:  "Delay <of> a message",
		Unit:   "µs",
		Series: []string{"plain", "a & b", "TLS"},
		Panels: [][]Panel{{panel, panel}, {panel, panel}},
	}
}

// A mark is a rectangle or a text of an SVG.
type mark struct {
	X      float64 `xml:"x,attr"`
	Y      float64 `xml:"y,attr"`
	Width  float64 `xml:"width,attr"`
	Height float64 `xml:"height,attr"`
	Fill   string  `xml:"fill,attr"`
	Text   string  `xml:",chardata"`
}

type document struct {
	Width  float64 `xml:"width,attr"`
	Height float64 `xml:"height,attr"`
	Rects  []mark  `xml:"rect"`
	Texts  []mark  `xml:"text"`
}

func parse(t *testing.T, f *Figure) document {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, f.SVG(&b))
	var d document
	require.NoError(t, xml.Unmarshal(b.Bytes(), &d))
	return d
}

func TestBarsAreAsHighAsTheirValues(t *testing.T) {
	d := parse(t, sample())
	var heights []float64
	for _, r := range d.Rects {
		if r.Fill == hex(palette[0]) || r.Fill == hex(palette[2]) {
			if r.Width != swatch {
				heights = append(heights, r.Height)
			}
		}
	}
	require.Len(t, heights, 4*4)
	require.InDelta(t, 100./50, heights[0]/heights[1], 0.3, "two digits behind the point are drawn")
	require.InEpsilon(t, 12_345./100, heights[2]/heights[0], 0.02)
	labels := 0
	for _, text := range d.Texts {
		require.LessOrEqual(t, text.X, d.Width)
		require.LessOrEqual(t, text.Y, d.Height)
		if text.Text == "12.3k" {
			labels++
		}
		require.NotContains(t, text.Text, "NaN")
	}
	require.Equal(t, 4, labels)
}

func TestTextIsEscaped(t *testing.T) {
	d := parse(t, sample())
	var all []string
	for _, text := range d.Texts {
		all = append(all, text.Text)
	}
	require.Contains(t, all, "Delay <of> a message")
	require.Contains(t, all, "a & b")
}

// TestBothFormatsAreAlike looks for the middle of each bar of the SVG in the pixels.
func TestBothFormatsAreAlike(t *testing.T) {
	d := parse(t, sample())
	var b bytes.Buffer
	require.NoError(t, sample().PNG(&b))
	image, err := png.Decode(&b)
	require.NoError(t, err)
	require.Equal(t, pixel(d.Width), image.Bounds().Dx())
	require.Equal(t, pixel(d.Height), image.Bounds().Dy())
	looked := 0
	for _, r := range d.Rects {
		if r.Width < 10 || r.Height < 10 || r.Fill == hex(paper) {
			continue
		}
		looked++
		at := image.At(pixel(r.X+r.Width/2), pixel(r.Y+r.Height/2))
		require.Equal(t, r.Fill, hex(color.RGBAModel.Convert(at).(color.RGBA)))
	}
	require.Equal(t, 4+3, looked, "the high bars and the legend")
}

func TestLegendWraps(t *testing.T) {
	f := sample()
	f.Series = nil
	for range 30 {
		f.Series = append(f.Series, strings.Repeat("long ", 6))
	}
	for _, row := range f.Panels {
		for i := range row {
			row[i].Values = [][]float64{make([]float64, 30), make([]float64, 30)}
		}
	}
	d, lines := parse(t, f), map[float64]bool{}
	for _, r := range d.Rects {
		if r.Width == swatch && r.Height == swatch {
			require.Less(t, r.X, d.Width-100)
			lines[r.Y] = true
		}
	}
	require.Greater(t, len(lines), 2)
}

func TestRefusesWhatItCannotDraw(t *testing.T) {
	for name, spoil := range map[string]func(*Figure){
		"no series":        func(f *Figure) { f.Series = nil },
		"no panels":        func(f *Figure) { f.Panels = nil },
		"an empty row":     func(f *Figure) { f.Panels = [][]Panel{{}} },
		"ragged rows":      func(f *Figure) { f.Panels[1] = f.Panels[1][:1] },
		"a missing group":  func(f *Figure) { f.Panels[0][0].Groups = f.Panels[0][0].Groups[:1] },
		"a missing value":  func(f *Figure) { f.Series = f.Series[:2] },
		"a negative value": func(f *Figure) { f.Panels[0][0].Values[0][0] = -1 },
		"an infinite one":  func(f *Figure) { f.Panels[0][0].Values[0][0] = math.Inf(1) },
	} {
		f := sample()
		spoil(f)
		require.ErrorContains(t, f.SVG(io.Discard), "chart: ", name)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

var errFull = errors.New("full")

func TestWriteErrors(t *testing.T) {
	require.ErrorIs(t, sample().SVG(full{}), errFull)
	require.ErrorIs(t, sample().PNG(full{}), errFull)
}

func TestScale(t *testing.T) {
	for highest, want := range map[float64]scale{
		0: {1, 1}, 1: {1.1, 0.2}, 6: {6.6, 1}, 7: {7.7, 2}, 100: {110, 20}, 12_345: {13_579.5, 5000},
	} {
		s := newScale(highest)
		require.InEpsilon(t, want.top, s.top, 1e-9, "%v", highest)
		require.InEpsilon(t, want.step, s.step, 1e-9, "%v", highest)
	}
	for highest := 1e-3; highest < 1e9; highest *= 1.07 {
		n := len(newScale(highest).ticks())
		require.GreaterOrEqual(t, n, 3, "%v", highest)
		require.LessOrEqual(t, n, 8, "%v", highest)
	}
}

func TestNumbers(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0.00", 0.994: "0.99", 0.996: "1.0", 9.94: "9.9", 9.96: "10", 82.1: "82", 9949: "9949", 9951: "10.0k", 12345: "12.3k",
		99499: "99.5k", 99501: "100k",
	} {
		require.Equal(t, want, brief(v))
	}
	for v, want := range map[float64]string{0: "0", 3 * 0.1: "0.3", 0.25: "0.25", 1500: "1500", 12_500: "12.5k", 2_000_000: "2000k"} {
		require.Equal(t, want, round(v))
	}
}
