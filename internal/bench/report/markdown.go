package report

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/mqttsec/mqttsec/internal/bench/link"
)

// titles are what the clients are called.
var titles = map[link.Client]string{
	link.V5: "paho.golang (MQTT 5)",
	link.V3: "paho.mqtt.golang (MQTT 3.1.1)",
}

// JSON writes the report as one JSON object.
func (r *Report) JSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

// Markdown writes the report as tables. plots are the file names of images to show
// below them.
func (r *Report) Markdown(w io.Writer, plots []string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# What security costs\n\n")
	fmt.Fprintf(&b, "Measured %s with %s on %s, %d processors.\n", r.Time.Format("2006-01-02 15:04 UTC"), r.Go, r.Platform, r.Processors)
	fmt.Fprintf(&b, "Broker: %s. Each figure is the median of %d rounds in which all schemes took turns;\n", r.Broker, r.Rounds)
	b.WriteString("times are of this machine, compare them with each other only.\n")
	r.connectingTable(&b)
	for _, client := range distinct(r.Connects, func(c Connect) link.Client { return c.Client }) {
		fmt.Fprintf(&b, "\n## %s\n\n### To connect\n\n", titles[client])
		r.connectTable(&b, client)
		for _, qos := range r.qualities() {
			r.messageTable(&b, client, qos)
		}
	}
	b.WriteString(legend)
	if len(plots) > 0 {
		b.WriteString("\n## Plots\n")
	}
	for _, name := range plots {
		fmt.Fprintf(&b, "\n![%s](%s)\n", strings.TrimSuffix(name, ".svg"), name)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

const legend = `
## How to read this

* **Delay** is the time from Publish to the subscriber's callback with nothing else
  under way; 99 % of the messages are faster than the second figure.
* **Rate** is one publisher to one subscriber, flow-controlled so that nothing is lost.
  At QoS 1, paho.golang waits for each acknowledgement before it publishes again.
* **CPU**, **allocations** and **memory** (allocated, not held) are of the process that
  measures: both clients and, if it runs here, the broker. What a scheme adds is the
  difference to plain or to TLS. CPU is 0 where the system does not tell.
* **On the wire** is what one client and the broker exchange, both directions together,
  TLS included, TCP and IP headers not.
* TLS protects the way to the broker, which reads everything; a sealed message is closed
  to everybody without the topic's key, the broker included.
`

func (r *Report) connectTable(b *strings.Builder, client link.Client) {
	b.WriteString("| scheme | time, ms | CPU, ms | allocations | memory, KiB | on the wire, B |\n")
	b.WriteString("|---|--:|--:|--:|--:|--:|\n")
	for _, c := range r.Connects {
		if c.Client == client {
			fmt.Fprintf(b, "| %s | %.2f | %.2f | %.0f | %.1f | %.0f |\n",
				c.Scheme, c.Time/1000, c.CPU/1000, c.Allocs, c.Memory/1024, c.Wire)
		}
	}
}

func (r *Report) messageTable(b *strings.Builder, client link.Client, qos byte) {
	size := -1
	for _, m := range r.Messages {
		if m.Client != client || m.QoS != qos {
			continue
		}
		if size < 0 {
			fmt.Fprintf(b, "\n### Per message, QoS %d\n\n", qos)
			b.WriteString("| payload, B | scheme | delay, µs | 99 % | rate, 1/s | CPU, µs | allocations | memory, B | on the wire, B |\n")
			b.WriteString("|--:|---|--:|--:|--:|--:|--:|--:|--:|\n")
		}
		payload := ""
		if m.Size != size {
			size, payload = m.Size, fmt.Sprint(m.Size)
		}
		fmt.Fprintf(b, "| %s | %s | %.0f | %.0f | %.0f | %.1f | %.1f | %.0f | %.0f |\n",
			payload, m.Scheme, m.Delay, m.Delay99, m.Rate, m.CPU, m.Allocs, m.Memory, m.Wire)
	}
}
