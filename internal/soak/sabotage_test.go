package soak

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// liar stands before a broker and does everything that must not be: it swallows a message and acknowledges it, shows
// some twice, forges one, tells a secret, and after a while acknowledges nothing any more.
type liar struct {
	secret string // to tell

	mu     sync.Mutex
	seen   map[string]int // messages, by topic
	silent bool           // it has begun to acknowledge nothing
}

// done tells whether it has done everything.
func (l *liar) done() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.silent && l.seen["soak/"+robbed+"/qos1"] >= 10 && l.seen["soak/"+doubled+"/qos2"] >= repeated &&
		l.seen["soak/"+deceived+"/qos1"] >= 10 && l.seen["soak/plain-v3/qos1"] >= 10
}

// What it does to whom. repeated is more than what is forgiven where plain clients are shown nothing twice.
const (
	robbed, doubled, deceived, betrayed, ignored = "psk-v3", "psk-v5", "ace-v3", "aesmsg-v5", "mqttauth-v3"

	repeated = 20
)

// listen returns the address to come to.
func (l *liar) listen(t *testing.T, broker string) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go l.serve(conn, broker)
		}
	}()
	return listener.Addr().String()
}

// serve ends when either side does.
func (l *liar) serve(client net.Conn, broker string) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("tcp", broker)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	first, err := wire.Read(client, wire.MaxPacket)
	if err != nil {
		return
	}
	connect, err := wire.ParseConnect(first)
	if err != nil {
		return
	}
	var toServer sync.Mutex
	write := func(p []byte) error {
		toServer.Lock()
		defer toServer.Unlock()
		_, err := server.Write(p)
		return err
	}
	go func() {
		defer func() { _ = server.Close() }()
		for p, err := first, error(nil); err == nil; p, err = wire.Read(client, wire.MaxPacket) {
			if err := write(p); err != nil {
				return
			}
		}
	}()
	for acks := 0; ; {
		p, err := wire.Read(server, wire.MaxPacket)
		if err != nil {
			return
		}
		if t := p.Type(); t == wire.Puback || t == wire.Pubrec {
			if acks++; acks > 50 && string(connect.ClientID) == ignored+"-pub" {
				l.mu.Lock()
				l.silent = true
				l.mu.Unlock()
				continue
			}
		}
		forward, back := l.edit(p, connect.Version)
		if _, err := client.Write(forward); err != nil {
			return
		}
		if err := write(back); err != nil {
			return
		}
	}
}

// edit is what becomes of a packet of the broker's, and what the broker hears at once.
func (l *liar) edit(p wire.Packet, v wire.Version) (forward, back []byte) {
	if p.Type() != wire.Publish {
		return p, nil
	}
	m, err := wire.ParsePublish(p, v)
	if err != nil {
		return p, nil
	}
	topic := string(m.Topic)
	l.mu.Lock()
	l.seen[topic]++
	n := l.seen[topic]
	l.mu.Unlock()
	also := func(payload []byte) []byte { // at QoS 0, which needs no packet identifier
		more := wire.PublishPacket{Topic: m.Topic, Payload: payload}
		forward, err = more.Append(slices.Clone(p), v)
		if err != nil {
			return p
		}
		return forward
	}
	switch {
	case topic == "soak/"+robbed+"/qos1" && n == 10:
		ack := wire.AckPacket{Type: wire.Puback, ID: m.ID}
		if back, err = ack.Append(nil, v); err != nil {
			return p, nil
		}
		return nil, back
	case topic == "soak/"+doubled+"/qos2" && n <= repeated:
		return also(m.Payload), nil
	case topic == "soak/"+deceived+"/qos1" && n == 10:
		return also([]byte("forged")), nil
	case topic == "soak/plain-v3/qos1" && n == 10:
		return also([]byte(l.secret)), nil
	}
	return p, nil
}

// sabotaged is the report of a run with a liar, for as long as this machine needs for everything that it does.
func sabotaged(t *testing.T) *Report {
	for long := 5 * time.Second; ; long *= 2 {
		l := &liar{seen: make(map[string]int)}
		report, err := Run(t.Context(), Config{For: long, sabotage: func(pairs []*pair, broker string) string {
			for _, p := range pairs {
				switch p.name {
				case ignored:
					p.wait = 2 * time.Second // in vain
				case betrayed:
					l.secret = p.secret
				}
			}
			return l.listen(t, broker)
		}})
		require.NoError(t, err)
		if l.done() && len(report.Deaf) == 0 { // the attacker, too, has come to everybody
			return report
		}
		require.Less(t, long, time.Minute, "not everything was done in all that time")
	}
}

// TestSabotageIsSeen: each thing that must not be is counted, and a good run has none of them, since [TestSoak] is one.
func TestSabotageIsSeen(t *testing.T) {
	report := sabotaged(t)
	failures := report.Failures()
	for _, want := range []string{
		robbed + ": 1 acknowledged messages lost",
		fmt.Sprintf("%s: %d messages of QoS 2 shown twice", doubled, repeated),
		deceived + ": 1 forged messages",
		ignored + ": nothing gets through after the faults",
		"leaked: " + betrayed + " behind the gateway",
		"leaked: " + betrayed + " in front of the gateway",
	} {
		at := slices.IndexFunc(failures, func(s string) bool { return strings.HasPrefix(s, want) })
		require.GreaterOrEqual(t, at, 0, "%q is not among %q", want, failures)
		failures = slices.Delete(failures, at, at+1)
	}
	require.Empty(t, failures, "and nobody else is blamed")
	require.Greater(t, len(report.Refused), 1)
}

// TestExposed is the measure of what may die with a broker, however long it takes to kill it.
func TestExposed(t *testing.T) {
	begun := time.Now()
	at := func(d time.Duration) time.Time { return begun.Add(d) }
	kills := []kill{{at(0), at(time.Minute)}}
	for s, want := range map[span]bool{
		{at(-time.Hour), at(-unwritten)}:               false, // on disk
		{at(-time.Hour), at(1 - unwritten)}:            true,
		{at(time.Second), at(time.Hour)}:               true, // under way
		{at(time.Minute), at(time.Minute)}:             false,
		{at(-time.Hour), at(-time.Hour + time.Second)}: false,
	} {
		require.Equal(t, want, exposed(s, kills), "%v", s)
	}
}

// TestFailures: each figure of a report has a bound.
func TestFailures(t *testing.T) {
	good := func() *Report {
		return &Report{Faults: map[string]int{}, Results: []Result{
			{Name: "plain", Plain: true, Sent: 100, Acknowledged: 100, Recovered: true, Forged: 9, TwiceQoS1: 3, TwiceQoS2: 1, LostByBroker: 2},
			{Name: "sealed", Sealed: true, Sent: 100, Acknowledged: 100, Recovered: true},
			{Name: "tokens", Tokens: true, Sent: 100, Acknowledged: 100, Recovered: true},
		}}
	}
	require.Empty(t, good().Failures())
	for want, spoil := range map[string]func(r *Report){
		"plain: 1 acknowledged messages lost":                   func(r *Report) { r.Results[0].Lost = 1 },
		"tokens: 1 acknowledged messages lost":                  func(r *Report) { r.Results[2].Lost = 1 },
		"sealed: 10 acknowledged messages lost with the broker": func(r *Report) { r.Results[1].LostByBroker = 10 },
		"sealed: 1 forged messages":                             func(r *Report) { r.Results[1].Forged = 1 },
		"tokens: 1 forged messages":                             func(r *Report) { r.Results[2].Forged = 1 },
		"sealed: 12 messages of QoS 1 shown twice":              func(r *Report) { r.Results[1].TwiceQoS1 = 12 },
		"tokens: 8 messages of QoS 2 shown twice":               func(r *Report) { r.Results[2].TwiceQoS2 = 8 },
		"sealed: 1201 messages withheld":                        func(r *Report) { r.Results[1].Rejected = map[string]int{"why": 1201} },
		"tokens: nothing was acknowledged":                      func(r *Report) { r.Results[2].Acknowledged = 0 },
		"tokens: nothing gets through after the faults":         func(r *Report) { r.Results[2].Recovered = false },
		"leaked: sealed behind the gateway":                     func(r *Report) { r.Leaked = []string{"sealed behind the gateway"} },
		"the run shows nothing: plain was not overheard":        func(r *Report) { r.Deaf = []string{"plain was not overheard"} },
		"the gateway has 9 goroutines, and had 0":               func(r *Report) { r.After.Goroutines = 9 },
		"the gateway has 9 descriptors, and had 0":              func(r *Report) { r.After.Descriptors = 9 },
		"the gateway has 65 MiB, and had 0":                     func(r *Report) { r.After.Memory = 65 << 20 },
	} {
		r := good()
		spoil(r)
		lines := r.Failures()
		require.Len(t, lines, 1, want)
		require.Contains(t, lines[0], want)
	}
}
