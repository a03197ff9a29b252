package report

import (
	"errors"
	"fmt"
	"image/color"
	"io"
	"os"
	"path/filepath"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/mqttsec/mqttsec/internal/bench/link"
)

// A figure is one image: a quantity for every scheme.
type figure struct {
	file, title, unit string
	connect           func(Connect) float64 // one of these two is nil
	message           func(Message) float64
}

func figures() []figure {
	return []figure{
		{file: "connect", title: "Time to connect", unit: "ms", connect: func(c Connect) float64 { return c.Time / 1000 }},
		{file: "connect-wire", title: "Bytes to connect", unit: "B", connect: func(c Connect) float64 { return c.Wire }},
		{file: "delay", title: "Delay of a message", unit: "µs", message: func(m Message) float64 { return m.Delay }},
		{file: "rate", title: "Messages per second", unit: "1/s", message: func(m Message) float64 { return m.Rate }},
		{file: "cpu", title: "CPU per message", unit: "µs", message: func(m Message) float64 { return m.CPU }},
		{file: "allocations", title: "Allocations per message", unit: "", message: func(m Message) float64 { return m.Allocs }},
		{file: "memory", title: "Memory allocated per message", unit: "KiB", message: func(m Message) float64 { return m.Memory / 1024 }},
		{file: "wire", title: "Bytes on the wire beside the payload", unit: "B", message: func(m Message) float64 { return m.Wire - float64(m.Size) }},
	}
}

// Plots writes every figure as SVG and as PNG into dir and returns the names of the
// SVG files.
func (r *Report) Plots(dir string) ([]string, error) {
	var names []string
	for _, f := range figures() {
		for _, format := range []string{"svg", "png"} {
			name := f.file + "." + format
			if err := r.write(filepath.Join(dir, name), f); err != nil {
				return nil, fmt.Errorf("report: %s: %w", name, err)
			}
			if format == "svg" {
				names = append(names, name)
			}
		}
	}
	return names, nil
}

const (
	panelWidth  = 15 * vg.Centimeter
	panelHeight = 7.5 * vg.Centimeter
	dotsPerInch = 120
	// legendRoom is the width of the legend, which stands right of the bars, as a
	// fraction of theirs.
	legendRoom = 0.3
)

// write draws the panels of a figure, one for each client beside each other and one
// for each QoS below each other.
func (r *Report) write(path string, f figure) (err error) {
	panels, err := r.panels(f)
	if err != nil {
		return err
	}
	width := panelWidth * vg.Length(len(panels[0]))
	height := panelHeight * vg.Length(len(panels))
	var canvas interface {
		vg.CanvasSizer
		io.WriterTo
	}
	if filepath.Ext(path) == ".svg" {
		canvas = vgsvg.New(width, height)
	} else {
		image := vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(dotsPerInch))
		canvas = vgimg.PngCanvas{Canvas: image}
	}
	tiles := draw.Tiles{Rows: len(panels), Cols: len(panels[0]), PadX: vg.Millimeter, PadY: 3 * vg.Millimeter,
		PadTop: 2 * vg.Millimeter, PadBottom: 2 * vg.Millimeter, PadLeft: 2 * vg.Millimeter, PadRight: 4 * vg.Millimeter}
	for i, row := range plot.Align(panels, tiles, draw.New(canvas)) {
		for j, c := range row {
			panels[i][j].Draw(c)
		}
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	_, err = canvas.WriteTo(file)
	return err
}

// panels makes a plot for each QoS (rows) and client (columns).
func (r *Report) panels(f figure) ([][]*plot.Plot, error) {
	if f.connect != nil {
		row, err := r.panelRow(func(client link.Client) (*plot.Plot, error) { return r.connectPanel(f, client) })
		return [][]*plot.Plot{row}, err
	}
	var rows [][]*plot.Plot
	for _, qos := range r.qualities() {
		row, err := r.panelRow(func(client link.Client) (*plot.Plot, error) { return r.messagePanel(f, client, qos) })
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func (r *Report) panelRow(panel func(link.Client) (*plot.Plot, error)) ([]*plot.Plot, error) {
	var row []*plot.Plot
	for _, client := range r.clients() {
		p, err := panel(client)
		if err != nil {
			return nil, err
		}
		row = append(row, p)
	}
	return row, nil
}

func (r *Report) connectPanel(f figure, client link.Client) (*plot.Plot, error) {
	p := newPanel(f.title+", "+string(client), f.unit)
	return p, r.drawBars(p, []string{"one connection"}, func(scheme string) (values plotter.Values) {
		for _, c := range r.Connects {
			if c.Client == client && c.Scheme == scheme {
				values = append(values, f.connect(c))
			}
		}
		return values
	})
}

func (r *Report) messagePanel(f figure, client link.Client, qos byte) (*plot.Plot, error) {
	var groups []string
	for _, size := range r.sizes() {
		groups = append(groups, fmt.Sprintf("%d B", size))
	}
	p := newPanel(fmt.Sprintf("%s, %s, QoS %d", f.title, client, qos), f.unit)
	return p, r.drawBars(p, groups, func(scheme string) (values plotter.Values) {
		for _, m := range r.Messages {
			if m.Client == client && m.QoS == qos && m.Scheme == scheme {
				values = append(values, f.message(m))
			}
		}
		return values
	})
}

func newPanel(title, unit string) *plot.Plot {
	p := plot.New()
	p.Title.Text = title
	p.Title.Padding = vg.Points(4)
	p.Y.Label.Text = unit
	p.Y.Min = 0
	p.Legend.Top = true
	p.Legend.TextStyle.Font.Size = vg.Points(9)
	p.Legend.Padding = vg.Points(1)
	return p
}

// palette is the colours of Okabe and Ito, which people who do not see all colours tell
// apart too; in the order of the rows.
var palette = []color.Color{
	color.RGBA{0x99, 0x99, 0x99, 0xFF},
	color.RGBA{0xE6, 0x9F, 0x00, 0xFF},
	color.RGBA{0x00, 0x72, 0xB2, 0xFF},
	color.RGBA{0x56, 0xB4, 0xE9, 0xFF},
	color.RGBA{0x00, 0x9E, 0x73, 0xFF},
	color.RGBA{0xCC, 0x79, 0xA7, 0xFF},
	color.RGBA{0xD5, 0x5E, 0x00, 0xFF},
	color.RGBA{0xF0, 0xE4, 0x42, 0xFF},
}

// drawBars draws groups of bars: in each one for every scheme, with its figure above it.
// The legend stands to the right of them.
func (r *Report) drawBars(p *plot.Plot, groups []string, values func(scheme string) plotter.Values) error {
	schemes := r.schemes()
	room := legendRoom * float64(len(groups)) // in groups
	width := panelWidth * 0.72 / (vg.Length(float64(len(groups))+room) * vg.Length(len(schemes)))
	highest := 0.0
	for i, scheme := range schemes {
		bars, figures, err := newBars(values(scheme))
		if err != nil {
			return err
		}
		bars.Color, bars.Width = palette[i%len(palette)], width
		bars.Offset = width * (vg.Length(i) - vg.Length(len(schemes)-1)/2)
		figures.Offset = vg.Point{X: bars.Offset, Y: vg.Points(2)}
		p.Add(bars, figures)
		p.Legend.Add(scheme, bars)
		highest = max(highest, slices.Max(bars.Values))
	}
	p.NominalX(groups...)
	p.X.Min, p.X.Max = -0.5, float64(len(groups))-0.5+room
	if highest > 0 {
		p.Y.Max = 1.12 * highest // leaves room for the figure above the highest bar
	}
	return nil
}

// newBars makes a bar for each value, and the label that goes above it.
func newBars(values plotter.Values) (*plotter.BarChart, *plotter.Labels, error) {
	bars, err := plotter.NewBarChart(values, vg.Centimeter)
	if err != nil {
		return nil, nil, err
	}
	bars.LineStyle.Width = 0
	above := plotter.XYLabels{XYs: make(plotter.XYs, len(values)), Labels: make([]string, len(values))}
	for i, v := range values {
		above.XYs[i] = plotter.XY{X: float64(i), Y: v}
		above.Labels[i] = brief(v)
	}
	figures, err := plotter.NewLabels(above)
	if err != nil {
		return nil, nil, err
	}
	for i := range figures.TextStyle {
		figures.TextStyle[i].Font.Size = vg.Points(6.5)
		figures.TextStyle[i].XAlign = draw.XCenter
	}
	return bars, figures, nil
}

// brief is a value in the few characters that fit above a bar.
func brief(v float64) string {
	switch {
	case v >= 99_500:
		return fmt.Sprintf("%.0fk", v/1000)
	case v >= 9_950:
		return fmt.Sprintf("%.1fk", v/1000)
	case v >= 9.95:
		return fmt.Sprintf("%.0f", v)
	case v >= 0.995:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// distinct is the values of key in the order in which they first occur.
func distinct[T any, K comparable](items []T, key func(T) K) []K {
	var found []K
	for _, item := range items {
		if k := key(item); !slices.Contains(found, k) {
			found = append(found, k)
		}
	}
	return found
}

func (r *Report) clients() []link.Client {
	return distinct(r.Connects, func(c Connect) link.Client { return c.Client })
}

func (r *Report) schemes() []string {
	return distinct(r.Connects, func(c Connect) string { return c.Scheme })
}

func (r *Report) qualities() []byte {
	return distinct(r.Messages, func(m Message) byte { return m.QoS })
}

func (r *Report) sizes() []int { return distinct(r.Messages, func(m Message) int { return m.Size }) }
