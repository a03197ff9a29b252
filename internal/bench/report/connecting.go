package report

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/mqttsec/mqttsec/internal/bench/link"
	"github.com/mqttsec/mqttsec/internal/bench/meter"
)

// Connecting is what it costs to connect one client, from dialing to CONNACK, TCP's own connect included on loopback
// alone. CPU, Allocs and Memory are of both sides. Medians, but for CPU, a mean, and for Far and RoundTrips, the least.
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

// travelled fills in what connections over a long way have shown. A machine that is busy can make two packets of one,
// and so a round trip too many and a longer time, but never too few and a shorter one.
func (c *Connecting) travelled(trips []link.Trip) {
	var times, counts, sizes []float64
	for _, t := range trips {
		times, counts, sizes = append(times, micros(t.Time)), append(counts, float64(t.RoundTrips)), append(sizes, float64(t.Bytes))
	}
	c.Far, c.RoundTrips, c.Wire = meter.Quantile(times, 0), meter.Quantile(counts, 0), meter.Median(sizes)
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
	b.WriteString("\n" + connectingLegend)
	r.ratioTable(b)
}

const connectingLegend = `From dialing to CONNACK. Round trips and times over the long way are without the one that TCP itself needs
for each connection: the two-phase login, for a broker as it is with an authority beside it, makes two, the others one.
ECDSA is on P-256, with a certificate of the server or, mutual, of the client too, and there are no session tickets. The
key exchange is X25519 everywhere but in "TLS 1.3 hybrid", which is what crypto/tls does if it is told nothing:
X25519MLKEM768, whose shares take 2.3 KB. Ace is over TLS 1.3 with a server certificate, with a signed token (CWT) and a
key of its own that the broker sees for the first time; getting the token is not counted. Mqttauth is without TLS below,
for a secret that needs no stretching, and stretched with Argon2id as passwords are. The account of the second phase
costs nothing here: this broker has none, others do what they do. A payload scheme such as aesmsg has nothing to do here.
`

// pairs are what the schemes' authors compare: the first's cost as a part of the second's.
var pairs = [][2]string{
	{wayPSK, wayPlain}, {wayPSK, wayServer}, {wayPSK, wayMutual}, {wayACE, wayPlain}, {wayACE, wayServer},
	{wayTwo, wayMutual}, {wayTwo, wayACE}, {wayTwo, wayAuth},
}

// ratioTable has the comparisons of those pairs of which both were measured.
func (r *Report) ratioTable(b *strings.Builder) {
	head := "\n### Compared\n\nMQTT-Auth hides no messages by itself, as TLS does.\n\n" +
		"| client | way | costs, of | bytes | CPU | memory | time on loopback | time, long way |\n|---|---|---|--:|--:|--:|--:|--:|\n"
	for _, client := range distinct(r.Connecting, func(c Connecting) link.Client { return c.Client }) {
		for _, pair := range pairs {
			one, found := r.way(client, pair[0])
			other, both := r.way(client, pair[1])
			if !found || !both {
				continue
			}
			fmt.Fprintf(b, "%s| %s | %s | %s | %s | %s | %s | %s | %s |\n", head, client, one.Way, other.Way,
				ratio(one.Wire, other.Wire), ratio(one.CPU, other.CPU), ratio(one.Memory, other.Memory),
				ratio(one.Time, other.Time), ratio(one.Far, other.Far))
			head = ""
		}
	}
}

// way is what a Way costs a client, if that was measured.
func (r *Report) way(client link.Client, name string) (c Connecting, found bool) {
	i := slices.IndexFunc(r.Connecting, func(c Connecting) bool { return c.Client == client && c.Way == name })
	if i < 0 {
		return c, false
	}
	return r.Connecting[i], true
}

// ratio is empty where the system does not tell.
func ratio(a, b float64) string {
	switch {
	case a == 0 || b == 0:
		return ""
	case a < 10*b:
		return fmt.Sprintf("× %.2f", a/b)
	}
	return fmt.Sprintf("× %.0f", a/b)
}
