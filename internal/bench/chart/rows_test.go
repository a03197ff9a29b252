package chart

import (
	"bytes"
	"encoding/xml"
	"image/png"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func rows() *Rows {
	return &Rows{
		Title: "What it costs", Names: []string{"plain", "TLS", "stretched"}, Kinds: []int{0, 1, 1},
		Blocks: []Block{
			{"one client", []Column{{"bytes", []float64{40, 80, math.NaN()}}, {"ms", []float64{1, 2, 214}}}},
			{"the other", []Column{{"bytes", []float64{0, 0, 0}}, {"ms", []float64{0.25, 3, 2}}}},
		},
	}
}

func parseRows(t *testing.T, r *Rows) (d document) {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, r.SVG(&b))
	require.NoError(t, xml.Unmarshal(b.Bytes(), &d))
	return d
}

func TestLyingBarsAreAsLongAsTheirValues(t *testing.T) {
	d := parseRows(t, rows())
	var lengths []float64
	slits := 0
	for _, r := range d.Rects {
		switch {
		case r.Fill == hex(palette[0]) || r.Fill == hex(palette[1]):
			lengths = append(lengths, r.Width)
		case r.Fill == hex(paper) && r.Width < 10:
			slits++
		}
	}
	const full = columnWidth - valueWidth
	require.InDeltaSlice(t, []float64{full / 2, full, full / 2, full, full, 0, 0, 0, full / 12., full, full * 2 / 3.}, lengths, 0.02)
	require.Equal(t, 3, slits, "the bar that is cut off, and no other, says so")
	labels := map[string]int{}
	for _, text := range d.Texts {
		require.LessOrEqual(t, text.X, d.Width)
		require.LessOrEqual(t, text.Y, d.Height)
		labels[text.Text]++
	}
	require.Equal(t, 1, labels["214"], "its value stands there")
	require.Equal(t, 2, labels["stretched"], "every block has the names")
	require.Zero(t, labels["NaN"])
}

func TestRowsAsPNG(t *testing.T) {
	d := parseRows(t, rows())
	var b bytes.Buffer
	require.NoError(t, rows().PNG(&b))
	image, err := png.Decode(&b)
	require.NoError(t, err)
	require.Equal(t, pixel(d.Width), image.Bounds().Dx())
	require.Equal(t, pixel(d.Height), image.Bounds().Dy())
}

func TestRowsThatAreWrong(t *testing.T) {
	for name, change := range map[string]func(*Rows){
		"no names":       func(r *Rows) { r.Names = nil },
		"no blocks":      func(r *Rows) { r.Blocks = nil },
		"no columns":     func(r *Rows) { r.Blocks[0].Columns = nil },
		"kinds":          func(r *Rows) { r.Kinds = r.Kinds[1:] },
		"negative kind":  func(r *Rows) { r.Kinds[0] = -1 },
		"narrow block":   func(r *Rows) { r.Blocks[1].Columns = r.Blocks[1].Columns[1:] },
		"values":         func(r *Rows) { r.Blocks[1].Columns[0].Values = []float64{1} },
		"negative value": func(r *Rows) { r.Blocks[1].Columns[0].Values[0] = -1 },
		"infinite value": func(r *Rows) { r.Blocks[1].Columns[0].Values[0] = math.Inf(1) },
	} {
		r := rows()
		change(r)
		require.Error(t, r.SVG(new(bytes.Buffer)), name)
	}
}
