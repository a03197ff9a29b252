package soak

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// ClusterReport is what a run against a cluster found.
type ClusterReport struct {
	Duration time.Duration
	// Results are those of pairs of clients, whose names tell scheme, place and version. Those of "direct" go without
	// gateways.
	Results []Result
	// Died is when the node was killed.
	Died time.Time
	// Lacks is what is not a failure.
	Lacks Lacks
	// Leaked says whose text could be read behind the gateways or in the files of the nodes.
	Leaked []string
	// Deaf says that the listeners did not even see what is not protected, or that the attacker got nowhere at all.
	Deaf []string
}

// Failures says what must not have happened, a line each; none is a good run.
func (r *ClusterReport) Failures() []string {
	var lines []string
	wrong := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	var once, twice int
	for _, p := range r.Results {
		if strings.HasPrefix(p.Name, direct) {
			once, twice = max(once, p.TwiceQoS1), max(twice, p.TwiceQoS2)
		}
	}
	for _, p := range r.Results {
		if p.Lost > 0 {
			wrong("%s: %d acknowledged messages lost", p.Name, p.Lost)
		}
		if p.Forged > 0 && p.Sealed {
			wrong("%s: %d forged messages", p.Name, p.Forged)
		}
		if p.TwiceQoS2 > allowed(twice) && (p.Sealed || !r.Lacks.Twice) {
			wrong("%s: %d messages of QoS 2 shown twice, and %d without gateways", p.Name, p.TwiceQoS2, twice)
		}
		if p.Sealed && p.TwiceQoS1 > allowed(once) {
			wrong("%s: %d messages of QoS 1 shown twice, and %d without gateways", p.Name, p.TwiceQoS1, once)
		}
	}
	for _, leak := range r.Leaked {
		wrong("leaked: %s", leak)
	}
	for _, deaf := range r.Deaf {
		wrong("the run shows nothing: %s", deaf)
	}
	return lines
}

// Write writes it for people.
func (r *ClusterReport) Write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tsent\tacknowledged\treceived\tlost\twith the node\ttwice, QoS 1\ttwice, QoS 2\tforged\trejected\t")
	for _, p := range r.Results {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t\n",
			p.Name, p.Sent, p.Acknowledged, p.Received, p.Lost, p.LostByBroker, p.TwiceQoS1, p.TwiceQoS2, p.Forged, p.rejected())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, p := range r.Results {
		for _, m := range p.Missing {
			fmt.Fprintf(w, "never seen: %s, QoS %d, sent %v after the death of the node, reported as delivered %v later\n",
				p.Name, m.QoS, m.Sent.Sub(r.Died).Round(time.Millisecond), m.Reported.Sub(m.Sent).Round(time.Millisecond))
		}
	}
	_, err := fmt.Fprintf(w, "\nin %v: a node and a gateway killed, leaked %d\n", r.Duration.Round(time.Second), len(r.Leaked))
	return err
}
