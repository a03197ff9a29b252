package report

import (
	"context"
	"fmt"
	"strings"

	"github.com/mqttsec/mqttsec/internal/bench/link"
	"github.com/mqttsec/mqttsec/internal/bench/meter"
)

// Connecting is what it costs to connect one client, from dialing to CONNACK, TCP's own connect included on loopback
// alone. CPU, Allocs and Memory are of both sides. Medians, but for CPU, a mean, and RoundTrips, the least.
type Connecting struct {
	Client link.Client `json:"client"`
	Way    string      `json:"way"`
	// Time is on loopback, Far over a link on which a round trip takes Config.RoundTrip.
	Time   float64 `json:"time_us"`
	Far    float64 `json:"far_us"`
	CPU    float64 `json:"cpu_us"`
	Allocs float64 `json:"allocs"`
	Memory float64 `json:"memory_bytes"`
	// Wire is both directions together: TLS counts, TCP and IP headers do not.
	Wire float64 `json:"wire_bytes"`
	// RoundTrips is how often the client waits for the broker.
	RoundTrips float64 `json:"round_trips"`
}

// connecting measures the Ways of one client, which take turns.
func (m *measurement) connecting(ctx context.Context, client link.Client) error {
	near, far := m.config.Connects, m.config.Trips
	turns := float64(1 + near + far)
	costs := make([]costs, len(m.doors))
	trips := make([][]link.Trip, len(m.doors))
	for i := range 1 + near {
		m.progress(float64(i)/turns, "%s, connecting", client)
		for j, d := range m.doors {
			b, err := m.connect(ctx, d.config(client))
			if err != nil {
				return fmt.Errorf("%s: %w", d.name, err)
			}
			if i > 0 { // the first has warmed up
				costs[j].add(b)
			}
		}
	}
	for i := range far {
		m.progress(float64(1+near+i)/turns, "%s, connecting over a long way", client)
		for j, d := range m.doors {
			trip, err := link.Travel(ctx, d.config(client), m.config.RoundTrip/2)
			if err != nil {
				return fmt.Errorf("%s: %w", d.name, err)
			}
			trips[j] = append(trips[j], trip)
		}
	}
	for j, d := range m.doors {
		c := Connecting{
			Client: client, Way: d.name, Time: meter.Median(costs[j].wall) / 1000, CPU: costs[j].cpu(),
			Allocs: meter.Median(costs[j].allocs), Memory: meter.Median(costs[j].memory),
		}
		c.travelled(trips[j])
		m.report.Connecting = append(m.report.Connecting, c)
	}
	m.done++
	return nil
}

// travelled fills in what connections over a long way have shown. A machine that is busy can make a packet of two, and
// so one round trip too many, but never one too few.
func (c *Connecting) travelled(trips []link.Trip) {
	var times, counts, sizes []float64
	for _, t := range trips {
		times, counts, sizes = append(times, micros(t.Time)), append(counts, float64(t.RoundTrips)), append(sizes, float64(t.Bytes))
	}
	c.Far, c.RoundTrips, c.Wire = meter.Median(times), meter.Quantile(counts, 0), meter.Median(sizes)
}

// config is that of a client that only connects.
func (d door) config(client link.Client) link.Config {
	return link.Config{Broker: d.broker, Client: client, Scheme: d.link}
}

func (r *Report) connectingTable(b *strings.Builder) {
	if len(r.Connecting) == 0 {
		return
	}
	fmt.Fprintf(b, "\n## Connecting\n\n")
	fmt.Fprintf(b, "| client | way | on the wire, B | round trips | CPU, both sides, ms | memory, KiB | allocations | time on loopback, ms | with %.0f ms a round trip, ms |\n", r.RoundTrip/1000)
	b.WriteString("|---|---|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, c := range r.Connecting {
		fmt.Fprintf(b, "| %s | %s | %.0f | %.0f | %.2f | %.1f | %.0f | %.2f | %.0f |\n",
			c.Client, c.Way, c.Wire, c.RoundTrips, c.CPU/1000, c.Memory/1024, c.Allocs, c.Time/1000, c.Far/1000)
	}
	b.WriteString("\n")
	b.WriteString(connectingLegend)
	for _, client := range r.clients() {
		r.findings(b, client)
	}
}

const connectingLegend = `From dialing to CONNACK. Round trips and times over the long way are without the one that TCP itself needs
for each connection: the two-phase login, for a broker as it is with an authority beside it, makes two, the others one.
X25519 everywhere in TLS, ECDSA on P-256, no session tickets; ace is over TLS 1.3 with a server certificate, with a
signed token (CWT) and a key of its own that the broker sees for the first time; getting the token is not counted;
mqttauth is without TLS below, for a secret that needs no stretching, and stretched with Argon2id as passwords are. The
account of the second phase costs nothing here: this broker has none, others do what they do.

`

// findings says in a sentence each what the comparisons show that the schemes' authors have made.
func (r *Report) findings(b *strings.Builder, client link.Client) {
	way := map[string]Connecting{}
	for _, c := range r.Connecting {
		if c.Client == client {
			way[c.Way] = c
		}
	}
	say := func(format string, name string, beside ...string) {
		for _, other := range append([]string{name}, beside...) {
			if _, measured := way[other]; !measured {
				return
			}
		}
		args := []any{client}
		for _, other := range beside {
			args = append(args, way[name].beside(way[other]))
		}
		fmt.Fprintf(b, format, args...)
	}
	say("* %s: ECDHE-PSK takes, of what ECDHE-ECDSA with a certificate at each end takes, %s; of what it takes with the server's alone, %s (TLS 1.3).\n",
		wayPSK, wayMutual, wayServer)
	say("* %s: ACE takes, of what plain takes, %s; of the TLS that it needs below it, %s.\n", wayACE, wayPlain, wayServer)
	say("* %s: MQTT-Auth's two-phase login takes, of what TLS 1.3 with a certificate at each end takes, %s; of ACE, %s; of its login in one phase, %s. It does not hide messages, as the first two do.\n",
		wayTwo, wayMutual, wayACE, wayAuth)
}

// beside is how a Connecting compares with another.
func (c Connecting) beside(other Connecting) string {
	ratio := func(a, b float64) string {
		if b == 0 {
			return "an unknown part"
		}
		return fmt.Sprintf("%.2f", a/b)
	}
	return fmt.Sprintf("%s of the bytes, %s of the CPU, %s of the memory, %s of the time on loopback and %s over the long way",
		ratio(c.Wire, other.Wire), ratio(c.CPU, other.CPU), ratio(c.Memory, other.Memory),
		ratio(c.Time, other.Time), ratio(c.Far, other.Far))
}
