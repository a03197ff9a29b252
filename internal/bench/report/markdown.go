package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
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
	fmt.Fprintf(&b, "Broker: %s. Schemes took turns, and figures are medians, of %d rounds for messages;\n", r.Broker, r.Rounds)
	b.WriteString("times are of this machine, compare them with each other only.\n")
	r.connectingTable(&b)
	r.againstTLS(&b)
	for _, client := range r.clients() {
		if len(r.Connects)+len(r.Messages) == 0 {
			break
		}
		fmt.Fprintf(&b, "\n## %s\n", titles[client])
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
* paho.golang hands a small message to its connection in pieces, of which TLS makes a record
  each. Whatever this module puts between them hands it on in one: that is why TLS with a
  scheme on top can be quicker, and no larger, than TLS alone.
* **ace** and **tlspsk** are over TLS, **mqttauth** is not; **mqttauth hop** seals payloads
  between client and broker under keys of the login.
* TLS protects the way to the broker, which reads everything; a sealed message is closed
  to everybody without the topic's key, the broker included.
`

// againstTLS compares what TLS and what sealing add to plain messages, in delay and on the network.
func (r *Report) againstTLS(b *strings.Builder) {
	head := "\n## TLS against sealed payloads\n\nWhat each adds to a plain message, in delay and on the wire.\n\n" +
		"| client | QoS | payload, B | aesmsg, µs | present, µs | TLS, µs | aesmsg, B | present, B | TLS, B |\n" +
		"|---|--:|--:|--:|--:|--:|--:|--:|--:|\n"
	for _, client := range r.clients() {
		for _, qos := range r.qualities() {
			for _, size := range r.sizes() {
				plain, found := r.message(client, "plain", qos, size)
				delays, sizes := "", ""
				for _, scheme := range []string{"aesmsg", "present", "TLS"} {
					m, measured := r.message(client, scheme, qos, size)
					found = found && measured
					delays += fmt.Sprintf(" %+.0f |", m.Delay-plain.Delay)
					sizes += fmt.Sprintf(" %+.0f |", m.Wire-plain.Wire)
				}
				if found {
					fmt.Fprintf(b, "%s| %s | %d | %d |%s%s\n", head, client, qos, size, delays, sizes)
					head = ""
				}
			}
		}
	}
	if plain, found := r.way(link.V5, wayPlain); found && head == "" {
		if secure, found := r.way(link.V5, wayServer); found {
			fmt.Fprintf(b, "\nTo these, TLS 1.3 adds %.0f B for each connection (v5), and sealed payloads nothing.\n", secure.Wire-plain.Wire)
		}
	}
}

// message is what a scheme costs a message, if that was measured.
func (r *Report) message(client link.Client, scheme string, qos byte, size int) (m Message, found bool) {
	i := slices.IndexFunc(r.Messages, func(m Message) bool {
		return m.Client == client && m.Scheme == scheme && m.QoS == qos && m.Size == size
	})
	if i < 0 {
		return m, false
	}
	return r.Messages[i], true
}

func (r *Report) connectTable(b *strings.Builder, client link.Client) {
	if len(r.Connects) == 0 {
		return
	}
	b.WriteString("\n### To connect\n\n| scheme | time, ms | CPU, ms | allocations | memory, KiB | on the wire, B |\n")
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
