// Package report measures what each scheme of the module costs the users of a broker:
// to connect and per message, in time, processor, memory and bytes on the wire. A
// [Report] is shown as Markdown, as JSON and as plots.
package report

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/mqttsec/mqttsec/internal/bench/link"
	"github.com/mqttsec/mqttsec/internal/brokers"
)

// Config says what to measure. The zero value of a number or list means the default.
type Config struct {
	// Broker is the broker to go through, nil for one in this process. With a broker
	// that is reached over TLS the schemes that use TLS are measured, otherwise the
	// others; the one in this process does both.
	Broker *link.Broker
	// Schemes are rows of [Schemes], all by default.
	Schemes []Scheme
	// Clients are both by default.
	Clients []link.Client
	// QoS are 0 and 1 by default.
	QoS []byte
	// Sizes are those of payloads in bytes: 64, 1024 and 16384 by default.
	Sizes []int
	// Rounds is how often each scheme gets its turn, 25 by default, and Batch how long
	// a turn is, 40 ms by default.
	Rounds int
	Batch  time.Duration
	// Connects and Delays are how many connections and single messages are timed, 40
	// and 300 by default. Slow ones are fewer.
	Connects, Delays int
	// Progress may be nil. It hears the fraction done and what is being measured.
	Progress func(fraction float64, what string)
}

// Report is what was measured. Times are in microseconds, sizes in bytes. CPU, Allocs
// and Memory are of this process: of both clients, and of the broker if that is in it.
type Report struct {
	Broker     string    `json:"broker"`
	Time       time.Time `json:"time"`
	Go         string    `json:"go"`
	Platform   string    `json:"platform"`
	Processors int       `json:"processors"`
	Rounds     int       `json:"rounds"`
	Connects   []Connect `json:"connects"`
	Messages   []Message `json:"messages"`
}

// Connect is what it costs to connect one client, from dialing to CONNACK; medians.
type Connect struct {
	Client link.Client `json:"client"`
	Scheme string      `json:"scheme"`
	Time   float64     `json:"time_us"`
	CPU    float64     `json:"cpu_us"`
	Allocs float64     `json:"allocs"`
	Memory float64     `json:"memory_bytes"`
	Wire   float64     `json:"wire_bytes"`
}

// Message is what it costs to send one message from a publisher to a subscriber; medians
// but for Delay99.
type Message struct {
	Client link.Client `json:"client"`
	Scheme string      `json:"scheme"`
	QoS    byte        `json:"qos"`
	Size   int         `json:"payload_bytes"`
	Rate   float64     `json:"messages_per_second"`
	// Delay is from Publish to the subscriber's callback when nothing else is under
	// way; one in a hundred takes longer than Delay99.
	Delay   float64 `json:"delay_us"`
	Delay99 float64 `json:"delay_99_us"`
	CPU     float64 `json:"cpu_us"`
	Allocs  float64 `json:"allocs"`
	Memory  float64 `json:"memory_bytes"`
	// Wire is what publisher and broker exchange for a message, both directions
	// together: TLS counts, TCP and IP headers do not.
	Wire float64 `json:"wire_bytes"`
}

// Run measures. An error names the scheme that it happened with.
func Run(ctx context.Context, cfg Config) (report *Report, err error) {
	cfg = cfg.withDefaults()
	plain, secure := link.Broker{}, link.Broker{}
	name := "mochi-mqtt in this process"
	if cfg.Broker != nil {
		plain, secure = *cfg.Broker, *cfg.Broker
		name = cfg.Broker.URL.Redacted()
	} else {
		broker, err := brokers.StartEmbedded(brokers.Config{})
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, broker.Close()) }()
		plain.URL, secure.URL = broker.URL(brokers.TCP), broker.URL(brokers.TLS)
		secure.TLS = &tls.Config{RootCAs: broker.RootCAs(), MinVersion: tls.VersionTLS12}
	}
	m := &measurement{
		config: cfg,
		prefix: "mqttsec-bench/" + rand.Text()[:12],
		report: &Report{
			Broker:     name,
			Time:       time.Now().UTC().Truncate(time.Second),
			Go:         runtime.Version(),
			Platform:   runtime.GOOS + "/" + runtime.GOARCH,
			Processors: runtime.GOMAXPROCS(0),
			Rounds:     cfg.Rounds,
		},
	}
	if err := m.choose(plain, secure); err != nil {
		return nil, err
	}
	return m.report, m.run(ctx)
}

func (cfg Config) withDefaults() Config {
	if len(cfg.Schemes) == 0 {
		cfg.Schemes = Schemes()
	}
	if len(cfg.Clients) == 0 {
		cfg.Clients = []link.Client{link.V5, link.V3}
	}
	if len(cfg.QoS) == 0 {
		cfg.QoS = []byte{0, 1}
	}
	if len(cfg.Sizes) == 0 {
		cfg.Sizes = []int{64, 1024, 16384}
	}
	for value, normal := range map[*int]int{&cfg.Rounds: 25, &cfg.Connects: 40, &cfg.Delays: 300} {
		if *value <= 0 {
			*value = normal
		}
	}
	if cfg.Batch <= 0 {
		cfg.Batch = 40 * time.Millisecond
	}
	if cfg.Progress == nil {
		cfg.Progress = func(float64, string) {}
	}
	return cfg
}

// IsTLS reports whether a broker's URL means TLS, and whether its scheme is known at all.
func IsTLS(scheme string) (secure, known bool) {
	switch scheme {
	case "mqtt", "tcp", "ws":
		return false, true
	case "mqtts", "tls", "ssl", "wss":
		return true, true
	}
	return false, false
}

// row is a scheme at work.
type row struct {
	Scheme
	link   link.Scheme
	broker link.Broker
}

// choose makes the rows that the broker can show.
func (m *measurement) choose(plain, secure link.Broker) error {
	for _, s := range m.config.Schemes {
		broker := plain
		if s.TLS {
			broker = secure
		}
		if usesTLS, _ := IsTLS(broker.URL.Scheme); usesTLS != s.TLS {
			continue
		}
		r := row{Scheme: s, broker: broker}
		if s.New != nil {
			var err error
			if r.link, err = s.New(m.prefix); err != nil {
				return fmt.Errorf("%s: %w", s.Name, err)
			}
		}
		m.rows = append(m.rows, r)
	}
	if len(m.rows) == 0 {
		return errors.New("none of these schemes goes with this broker: with a TLS URL those over TLS do, without one the others")
	}
	return nil
}
