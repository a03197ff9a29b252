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
	// legendGroups is the room for the legend, right of the bars, in groups of them.
	legendGroups = 0.9
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
	clients := r.clients()
	if f.connect != nil {
		row := make([]*plot.Plot, len(clients))
		for i, client := range clients {
			var err error
			if row[i], err = r.connectPanel(f, client); err != nil {
				return nil, err
			}
		}
		return [][]*plot.Plot{row}, nil
	}
	var rows [][]*plot.Plot
	for _, qos := range r.qualities() {
		row := make([]*plot.Plot, len(clients))
		for i, client := range clients {
			var err error
			if row[i], err = r.messagePanel(f, client, qos); err != nil {
				return nil, err
			}
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func (r *Report) connectPanel(f figure, client link.Client) (*plot.Plot, error) {
	schemes := r.schemes()
	p := newPanel(f.title+", "+string(client), f.unit)
	for i, scheme := range schemes {
		var values plotter.Values
		for _, c := range r.Connects {
			if c.Client == client && c.Scheme == scheme {
				values = append(values, f.connect(c))
			}
		}
		// One scheme is a group here, of one bar.
		if _, err := addBars(p, values, bars{row: i, first: i, width: panelWidth / vg.Length(2*len(schemes))}); err != nil {
			return nil, err
		}
	}
	p.NominalX(schemes...)
	return p, nil
}

func (r *Report) messagePanel(f figure, client link.Client, qos byte) (*plot.Plot, error) {
	schemes := r.schemes()
	p := newPanel(fmt.Sprintf("%s, %s, QoS %d", f.title, client, qos), f.unit)
	groups := vg.Length(len(r.sizes())) + legendGroups
	width := panelWidth * 0.72 / (groups * vg.Length(len(schemes)))
	for i, scheme := range schemes {
		var values plotter.Values
		for _, m := range r.Messages {
			if m.Client == client && m.QoS == qos && m.Scheme == scheme {
				values = append(values, f.message(m))
			}
		}
		offset := width * (vg.Length(i) - vg.Length(len(schemes)-1)/2)
		thumbnail, err := addBars(p, values, bars{row: i, width: width, offset: offset})
		if err != nil {
			return nil, err
		}
		p.Legend.Add(scheme, thumbnail)
	}
	var names []string
	for _, size := range r.sizes() {
		names = append(names, fmt.Sprintf("%d B", size))
	}
	p.NominalX(names...)
	p.X.Max = float64(len(names)) - 0.5 + legendGroups
	return p, nil
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

// bars says where the bars of one scheme stand.
type bars struct {
	row           int // of the scheme
	first         int // group of the first bar; the others follow
	width, offset vg.Length
}

// addBars draws the values as bars with the figure above each.
func addBars(p *plot.Plot, values plotter.Values, at bars) (plot.Thumbnailer, error) {
	chart, err := plotter.NewBarChart(values, at.width)
	if err != nil {
		return nil, err
	}
	chart.Color = palette[at.row%len(palette)]
	chart.LineStyle.Width = 0
	chart.XMin, chart.Offset = float64(at.first), at.offset

	figures := plotter.XYLabels{XYs: make(plotter.XYs, len(values)), Labels: make([]string, len(values))}
	for i, v := range values {
		figures.XYs[i] = plotter.XY{X: float64(at.first + i), Y: v}
		figures.Labels[i] = brief(v)
		p.Y.Max = max(p.Y.Max, 1.12*v) // leaves room for the figure
	}
	labels, err := plotter.NewLabels(figures)
	if err != nil {
		return nil, err
	}
	labels.Offset = vg.Point{X: at.offset, Y: vg.Points(2)}
	for i := range labels.TextStyle {
		labels.TextStyle[i].Font.Size = vg.Points(7)
		labels.TextStyle[i].XAlign = draw.XCenter
	}
	limit := p.Y.Max
	p.Add(chart, labels)
	p.Y.Max = limit
	return chart, nil
}

// brief is a value in the few characters that fit above a bar.
func brief(v float64) string {
	switch {
	case v >= 99_950:
		return fmt.Sprintf("%.0fk", v/1000)
	case v >= 9_995:
		return fmt.Sprintf("%.1fk", v/1000)
	case v >= 99.95:
		return fmt.Sprintf("%.0f", v)
	case v >= 9.995:
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
