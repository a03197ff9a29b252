package soak

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"
)

// Result is what became of the messages of one publisher.
type Result struct {
	Name string
	// Sealed messages cannot be forged, and an attacker's copies of them are not shown. Plain is for clients without
	// protection, Tokens for those whose connection ends with a token that cannot be renewed.
	Sealed, Plain, Tokens bool
	// Sent were tried, Acknowledged those of them that the client library reported as delivered, and Received those
	// that the subscriber saw, however often.
	Sent, Acknowledged, Received int
	// Lost were acknowledged and never seen; LostByBroker too, but the broker was killed between their first PUBLISH
	// and two seconds after the acknowledgement.
	Lost, LostByBroker int
	// TwiceQoS1 and TwiceQoS2 were seen more than once; at QoS 1 MQTT allows it.
	TwiceQoS1, TwiceQoS2 int
	// Forged are messages that the subscriber saw and the publisher did not send.
	Forged int
	// Recovered tells that messages of QoS 1 and 2 were acknowledged when all faults were over.
	Recovered bool
	// Rejected is how many messages the scheme withheld, by client, direction and reason.
	Rejected map[string]int
	// Ended is why connections of the subscriber ended, and how often.
	Ended map[string]int
	// Missing are all that were acknowledged and never seen.
	Missing []Missing
}

// Missing is a message that was acknowledged and never seen.
type Missing struct {
	QoS            byte
	Sent, Reported time.Time // when it was handed to the client library, and reported as delivered
}

// Gateway is the size of the gateway.
type Gateway struct {
	Memory, Goroutines, Descriptors float64
}

// Report is what a run found.
type Report struct {
	Duration time.Duration
	Results  []Result
	// Leaked says which text could be read where.
	Leaked []string
	// Refused is how often the attacker was refused a message, by listener, where tokens are asked for.
	Refused map[string]int
	// Faults are how often what was done, by name.
	Faults map[string]int
	// Before is the gateway at its start, During at its largest and After when all clients have gone, of a gateway
	// that was last started anew in the first half of the time.
	Before, During, After Gateway
	// Deaf says that the listeners did not even see what is not protected, or that the attacker got nowhere at all.
	Deaf []string
}

// Failures says what must not have happened, a line each; none is a good run.
func (r *Report) Failures() []string {
	var lines []string
	wrong := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	// What plain clients are shown twice on the same cuts, at QoS 1 and 2, and what dies with a broker of theirs.
	var once, twice, dead int
	for _, p := range r.Results {
		if p.Plain {
			once, twice, dead = max(once, p.TwiceQoS1), max(twice, p.TwiceQoS2), max(dead, p.LostByBroker)
		}
	}
	for _, p := range r.Results {
		if p.Lost > 0 {
			wrong("%s: %d acknowledged messages lost", p.Name, p.Lost)
		}
		if p.LostByBroker > allowed(dead) {
			wrong("%s: %d acknowledged messages lost with the broker, and of plain clients %d", p.Name, p.LostByBroker, dead)
		}
		if !p.Recovered {
			wrong("%s: nothing gets through after the faults", p.Name)
		}
		if p.Forged > 0 && !p.Plain {
			wrong("%s: %d forged messages", p.Name, p.Forged)
		}
		cuts := 0
		if p.Tokens { // ran out while the server was away, which no plain client notices
			cuts = 3 * r.Faults["AS killed"]
		}
		if p.TwiceQoS2 > allowed(twice)+cuts {
			wrong("%s: %d messages of QoS 2 shown twice, and to plain clients %d", p.Name, p.TwiceQoS2, twice)
		}
		if p.Sealed && p.TwiceQoS1 > allowed(once) { // each of which somebody replays
			wrong("%s: %d messages of QoS 1 shown twice, and to plain clients %d", p.Name, p.TwiceQoS1, once)
		}
		if n := p.rejected(); n > 2*p.Sent+endless {
			wrong("%s: %d messages withheld, more than there were: %v; connections ended: %v", p.Name, n, p.Rejected, p.Ended)
		}
		if p.Acknowledged == 0 {
			wrong("%s: nothing was acknowledged", p.Name)
		}
	}
	for _, leak := range r.Leaked {
		wrong("leaked: %s", leak)
	}
	for _, deaf := range r.Deaf {
		wrong("the run shows nothing: %s", deaf)
	}
	const slack, memory = 8, 64 << 20
	if r.After.Goroutines > r.Before.Goroutines+slack {
		wrong("the gateway has %.0f goroutines, and had %.0f", r.After.Goroutines, r.Before.Goroutines)
	}
	if r.After.Descriptors > r.Before.Descriptors+slack {
		wrong("the gateway has %.0f descriptors, and had %.0f", r.After.Descriptors, r.Before.Descriptors)
	}
	if r.After.Memory > r.Before.Memory+memory {
		wrong("the gateway has %.0f MiB, and had %.0f", r.After.Memory/(1<<20), r.Before.Memory/(1<<20))
	}
	return lines
}

// endless is how many messages may be withheld beyond those that there were. Whoever sends one again for ever is
// beyond it soon.
const endless = 1000

func (r *Result) rejected() (n int) {
	for _, more := range r.Rejected {
		n += more
	}
	return n
}

// allowed is how many repetitions others may show where plain clients show n: what is under way when a connection is
// cut differs from one client to the next.
func allowed(n int) int {
	const differ = 5
	return 2*n + differ
}

// Write writes it for people.
func (r *Report) Write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tsent\tacknowledged\treceived\tlost\twith the broker\ttwice, QoS 1\ttwice, QoS 2\tforged\trejected\t")
	for _, p := range r.Results {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t\n", p.Name, p.Sent, p.Acknowledged, p.Received, p.Lost, p.LostByBroker,
			p.TwiceQoS1, p.TwiceQoS2, p.Forged, p.rejected())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nin %v:", r.Duration.Round(time.Second))
	for _, f := range faults {
		fmt.Fprintf(w, " %s %d,", f.name, r.Faults[f.name])
	}
	fmt.Fprintf(w, " leaked %d\nforged and refused:", len(r.Leaked))
	for _, listener := range slices.Sorted(maps.Keys(r.Refused)) {
		fmt.Fprintf(w, " %s %d,", listener, r.Refused[listener])
	}
	fmt.Fprintln(w)
	_, err := fmt.Fprintf(w, "gateway: %s at the start, at most %s, %s afterwards\n", r.Before, r.During, r.After)
	return err
}

// String is for Write.
func (g Gateway) String() string {
	return fmt.Sprintf("%.0f MiB, %.0f goroutines, %.0f descriptors", g.Memory/(1<<20), g.Goroutines, g.Descriptors)
}
