package report

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/mqttsec/mqttsec/internal/bench/chart"
	"github.com/mqttsec/mqttsec/internal/bench/link"
)

// A figure is one image: a quantity for every scheme, or all that connecting costs if it has none.
type figure struct {
	file, title, unit string
	connect           func(Connect) float64 // one of these two is nil, or both
	message           func(Message) float64
}

func figures() []figure {
	return []figure{
		{file: "connecting", title: "What connecting costs"},
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
		drawn := r.figure(f)
		if drawn == nil {
			continue
		}
		for format, draw := range map[string]func(io.Writer) error{".svg": drawn.SVG, ".png": drawn.PNG} {
			if err := write(filepath.Join(dir, f.file+format), draw); err != nil {
				return nil, fmt.Errorf("report: %s: %w", f.file, err)
			}
		}
		names = append(names, f.file+".svg")
	}
	return names, nil
}

func write(path string, draw func(io.Writer) error) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return draw(file)
}

// figure has a panel for each client beside each other, and one for each QoS below each
// other. It is nil if nothing of the kind was measured.
func (r *Report) figure(f figure) *chart.Figure {
	if f.connect == nil && f.message == nil {
		return r.connectingFigure(f.title)
	}
	if len(r.Connects) == 0 {
		return nil
	}
	drawn := &chart.Figure{Title: f.title, Unit: f.unit, Series: r.schemes()}
	if f.connect != nil {
		var row []chart.Panel
		for _, client := range r.clients() {
			row = append(row, r.connectPanel(f, client))
		}
		drawn.Panels = [][]chart.Panel{row}
		return drawn
	}
	for _, qos := range r.qualities() {
		var row []chart.Panel
		for _, client := range r.clients() {
			row = append(row, r.messagePanel(f, client, qos))
		}
		drawn.Panels = append(drawn.Panels, row)
	}
	return drawn
}

// connectingFigure has what connecting costs below each other, the clients beside each other. Stretching costs so much
// on purpose that nobody could see the other bars beside it: it is named instead.
func (r *Report) connectingFigure(title string) *chart.Figure {
	if len(r.Connecting) == 0 {
		return nil
	}
	drawn := &chart.Figure{Title: title, Series: distinct(r.Connecting, func(c Connecting) string { return c.Way })}
	for _, quantity := range []struct {
		title     string
		stretched bool
		value     func(Connecting) float64
	}{
		{"bytes on the wire", false, func(c Connecting) float64 { return c.Wire }},
		{"CPU of both sides, ms", true, func(c Connecting) float64 { return c.CPU / 1000 }},
		{"time on loopback, ms", true, func(c Connecting) float64 { return c.Time / 1000 }},
		{fmt.Sprintf("time with %.0f ms a round trip, ms", r.RoundTrip/1000), false, func(c Connecting) float64 { return c.Far / 1000 }},
	} {
		var row []chart.Panel
		for _, client := range r.clients() {
			title := string(client) + ": " + quantity.title
			var values []float64
			for _, c := range r.Connecting {
				if c.Client != client {
					continue
				}
				value := quantity.value(c)
				if quantity.stretched && c.Way == wayStretch {
					title += fmt.Sprintf(" (%s: %.0f, not drawn)", c.Way, value)
					value = math.NaN()
				}
				values = append(values, value)
			}
			row = append(row, chart.Panel{
				Title: title, Groups: []string{"one connection"}, Values: [][]float64{values},
			})
		}
		drawn.Panels = append(drawn.Panels, row)
	}
	return drawn
}

func (r *Report) connectPanel(f figure, client link.Client) chart.Panel {
	values := make([]float64, len(r.schemes()))
	for i, scheme := range r.schemes() {
		values[i] = math.NaN()
		for _, c := range r.Connects {
			if c.Client == client && c.Scheme == scheme {
				values[i] = f.connect(c)
			}
		}
	}
	return chart.Panel{Title: string(client), Groups: []string{"one connection"}, Values: [][]float64{values}}
}

func (r *Report) messagePanel(f figure, client link.Client, qos byte) chart.Panel {
	p := chart.Panel{Title: fmt.Sprintf("%s, QoS %d", client, qos)}
	for _, size := range r.sizes() {
		values := make([]float64, len(r.schemes()))
		for i, scheme := range r.schemes() {
			values[i] = math.NaN()
			for _, m := range r.Messages {
				if m.Client == client && m.QoS == qos && m.Scheme == scheme && m.Size == size {
					values[i] = f.message(m)
				}
			}
		}
		p.Groups = append(p.Groups, fmt.Sprintf("%d B", size))
		p.Values = append(p.Values, values)
	}
	return p
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
	if len(r.Connects) == 0 {
		return distinct(r.Connecting, func(c Connecting) link.Client { return c.Client })
	}
	return distinct(r.Connects, func(c Connect) link.Client { return c.Client })
}

func (r *Report) schemes() []string {
	return distinct(r.Connects, func(c Connect) string { return c.Scheme })
}

func (r *Report) qualities() []byte {
	return distinct(r.Messages, func(m Message) byte { return m.QoS })
}

func (r *Report) sizes() []int { return distinct(r.Messages, func(m Message) int { return m.Size }) }
