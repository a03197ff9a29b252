package report

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

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

// drawing is an image of either kind.
type drawing interface {
	SVG(io.Writer) error
	PNG(io.Writer) error
}

// figure has a panel for each client beside each other, and one for each QoS below each
// other. It is nil if nothing of the kind was measured.
func (r *Report) figure(f figure) drawing {
	switch {
	case f.connect != nil && len(r.Connects) > 0:
		drawn := &chart.Figure{Title: f.title, Unit: f.unit, Series: r.schemes(), Panels: [][]chart.Panel{nil}}
		for _, client := range r.clients() {
			drawn.Panels[0] = append(drawn.Panels[0], r.connectPanel(f, client))
		}
		return drawn
	case f.message != nil && len(r.Messages) > 0:
		drawn := &chart.Figure{Title: f.title, Unit: f.unit, Series: r.schemes()}
		for _, qos := range r.qualities() {
			var row []chart.Panel
			for _, client := range r.clients() {
				row = append(row, r.messagePanel(f, client, qos))
			}
			drawn.Panels = append(drawn.Panels, row)
		}
		return drawn
	case f.connect == nil && f.message == nil && len(r.Connecting) > 0:
		return r.connectingRows(f.title)
	}
	return nil
}

// connectingRows has the Ways below each other, what each costs beside each other, and a block for each client.
func (r *Report) connectingRows(title string) *chart.Rows {
	drawn := &chart.Rows{Title: title, Names: distinct(r.Connecting, func(c Connecting) string { return c.Way })}
	for _, name := range drawn.Names {
		drawn.Kinds = append(drawn.Kinds, kind(name))
	}
	for _, client := range r.clients() {
		block := chart.Block{Title: titles[client]}
		for _, quantity := range []struct {
			title string
			value func(Connecting) float64
		}{
			{"bytes on the wire", func(c Connecting) float64 { return c.Wire }},
			{"CPU of both sides, ms", func(c Connecting) float64 { return c.CPU / 1000 }},
			{"memory of both sides, KiB", func(c Connecting) float64 { return c.Memory / 1024 }},
			{"time on loopback, ms", func(c Connecting) float64 { return c.Time / 1000 }},
			{fmt.Sprintf("time with %.0f ms a round trip, ms", r.RoundTrip/1000), func(c Connecting) float64 { return c.Far / 1000 }},
		} {
			column := chart.Column{Title: quantity.title}
			for _, name := range drawn.Names {
				value := math.NaN()
				if c, measured := r.way(client, name); measured {
					value = quantity.value(c)
				}
				column.Values = append(column.Values, value)
			}
			block.Columns = append(block.Columns, column)
		}
		drawn.Blocks = append(drawn.Blocks, block)
	}
	return drawn
}

// kind gives Ways that are much the same one colour.
func kind(way string) int {
	for i, prefix := range []string{"aesmsg", "TLS", "tlspsk", "ace", "mqttauth"} {
		if strings.HasPrefix(way, prefix) {
			return i + 1
		}
	}
	return 0
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
			if m, measured := r.message(client, scheme, qos, size); measured {
				values[i] = f.message(m)
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

// clients are those that anything was measured with.
func (r *Report) clients() []link.Client {
	all := distinct(r.Connecting, func(c Connecting) link.Client { return c.Client })
	for _, c := range r.Connects {
		all = append(all, c.Client)
	}
	for _, m := range r.Messages {
		all = append(all, m.Client)
	}
	return distinct(all, func(c link.Client) link.Client { return c })
}

func (r *Report) schemes() []string {
	return distinct(r.Messages, func(m Message) string { return m.Scheme })
}

func (r *Report) qualities() []byte {
	return distinct(r.Messages, func(m Message) byte { return m.QoS })
}

func (r *Report) sizes() []int { return distinct(r.Messages, func(m Message) int { return m.Size }) }
